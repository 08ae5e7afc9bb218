/** Colours for code, one pass, no backtracking: comments, strings, numbers, keywords, called names. */

export type TokenKind = '' | 'k' | 's' | 'n' | 'c' | 'f';
export type Token = [kind: TokenKind, text: string];

interface Language {
  /** Openers of comments that run to the end of the line. */
  line: string[];
  block: [string, string][];
  /** Quotes; the longer ones first. */
  quotes: string[];
  keywords: Set<string>;
  /** Keywords in any case. */
  loose?: boolean;
}

const words = (text: string): Set<string> => new Set(text.split(' '));

const cLike = { line: ['//'], block: [['/*', '*/']] as [string, string][] };
const javascript: Language = {
  ...cLike,
  quotes: ['"', "'", '`'],
  keywords: words(
    'abstract any as async await boolean break case catch class const constructor continue debugger declare default delete do else enum export extends false finally for from function get if implements import in infer instanceof interface is keyof let namespace never new null number object of private protected public readonly return satisfies set static string super switch this throw true try type typeof undefined unknown var void while with yield',
  ),
};
const python: Language = {
  line: ['#'],
  block: [],
  quotes: ['"""', "'''", '"', "'"],
  keywords: words(
    'False None True and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return self try while with yield',
  ),
};
const shell: Language = {
  line: ['#'],
  block: [],
  quotes: ['"', "'"],
  keywords: words(
    'alias case cd do done echo elif else esac eval exec exit export fi for function if in local read return set shift source sudo then trap unset until while',
  ),
};
const c: Language = {
  ...cLike,
  quotes: ['"', "'"],
  keywords: words(
    'alignas auto bool break case catch char class const constexpr consteval continue default define delete do double else enum explicit extern false final float for friend goto if ifdef ifndef include endif inline int long mutable namespace new noexcept nullptr operator override private protected public register return short signed sizeof static struct switch template this throw true try typedef typename union unsigned using virtual void volatile while',
  ),
};
const rust: Language = {
  ...cLike,
  quotes: ['"'],
  keywords: words(
    'as async await bool break char const continue crate dyn else enum extern f32 f64 false fn for i16 i32 i64 i8 if impl in let loop match mod move mut pub ref return self Self static str struct super trait true type u16 u32 u64 u8 unsafe use usize where while',
  ),
};
const go: Language = {
  ...cLike,
  quotes: ['"', "'", '`'],
  keywords: words(
    'any bool break byte case chan const continue default defer else error fallthrough false float64 for func go goto if import int int64 interface map nil package range return rune select string struct switch true type uint var',
  ),
};
const java: Language = {
  ...cLike,
  quotes: ['"""', '"', "'"],
  keywords: words(
    'abstract as boolean break byte case catch char class const continue data default do double else enum extends false final finally float for fun func guard if implements import in instanceof int interface internal let long namespace new nil null object open override package private protected public record return sealed short static string struct super switch this throw throws true try using val var void when where while',
  ),
};
const sql: Language = {
  line: ['--'],
  block: [['/*', '*/']],
  quotes: ["'", '"'],
  loose: true,
  keywords: words(
    'add all alter and as asc between by case check column commit constraint create cross default delete desc distinct drop else end exists foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer primary references returning right rollback select set table then transaction union unique update using values view when where with',
  ),
};
const data: Language = { line: ['#'], block: [], quotes: ['"', "'"], keywords: words('true false null yes no on off') };
const json: Language = { line: ['//'], block: [], quotes: ['"'], keywords: words('true false null') };
const lua: Language = {
  line: ['--'],
  block: [['--[[', ']]']],
  quotes: ['"', "'"],
  keywords: words('and break do else elseif end false for function goto if in local nil not or repeat return then true until while'),
};
const ruby: Language = {
  line: ['#'],
  block: [],
  quotes: ['"', "'"],
  keywords: words('alias and begin break case class def do else elsif end ensure false for if in module next nil not or redo require rescue retry return self super then true unless until when while yield'),
};
const css: Language = { line: [], block: [['/*', '*/']], quotes: ['"', "'"], keywords: words('important media supports import keyframes layer from to') };
const markup: Language = { line: [], block: [['<!--', '-->']], quotes: ['"', "'"], keywords: words('doctype html head body script style template') };

const languages: Record<string, Language> = {
  js: javascript, javascript, jsx: javascript, mjs: javascript, ts: javascript, typescript: javascript, tsx: javascript, svelte: javascript, vue: javascript,
  py: python, python, python3: python, pycon: python,
  sh: shell, bash: shell, shell, zsh: shell, console: shell, fish: shell, dockerfile: shell, docker: shell, makefile: shell, make: shell, powershell: shell, ps1: shell,
  c, h: c, cpp: c, 'c++': c, cc: c, hpp: c, cuda: c, cu: c, objc: c, glsl: c, arduino: c,
  rust, rs: rust, go, golang: go,
  java, kotlin: java, kt: java, swift: java, scala: java, cs: java, csharp: java, 'c#': java, dart: java, php: java,
  sql, postgresql: sql, mysql: sql, sqlite: sql,
  yaml: data, yml: data, toml: data, ini: data, conf: data, env: data, properties: data, r: data, nix: data,
  json, json5: json, jsonc: json,
  lua, ruby, rb: ruby, perl: ruby, elixir: ruby, css, scss: css, less: css,
  html: markup, xml: markup, svg: markup,
};

export function isKnown(name: string): boolean {
  return name.toLowerCase() in languages || name.toLowerCase() === 'diff';
}

const word = /[A-Za-z_][\w-]*/y;
const identifier = /[A-Za-z_$][\w$]*/y;
const numeric = /(?:0x[\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\w*/y;

/** Tokens of a piece of code; everything is plain in an unknown language. */
export function* tokens(code: string, name: string): Generator<Token> {
  if (name.toLowerCase() === 'diff') {
    yield* diff(code);
    return;
  }
  const language = languages[name.toLowerCase()];
  if (language === undefined) {
    yield ['', code];
    return;
  }
  const dashes = language === css || language === markup || language === data || language === shell;
  let at = 0;
  let plainFrom = 0;
  while (at < code.length) {
    const [kind, end] = next(code, at, language, dashes ? word : identifier);
    if (kind === '') {
      at = end;
      continue;
    }
    if (plainFrom < at) yield ['', code.slice(plainFrom, at)];
    yield [kind, code.slice(at, end)];
    at = end;
    plainFrom = end;
  }
  if (plainFrom < code.length) yield ['', code.slice(plainFrom)];
}

function next(code: string, at: number, language: Language, name: RegExp): [TokenKind, number] {
  for (const [open, close] of language.block) {
    if (code.startsWith(open, at)) return ['c', endOf(code, close, at + open.length)];
  }
  for (const open of language.line) {
    if (!code.startsWith(open, at)) continue;
    // `#` inside of a word, as in ${#name} or a colour, begins no comment.
    if (open === '#' && at > 0 && /[\w$"'({]/.test(code[at - 1] ?? '')) continue;
    const end = code.indexOf('\n', at);
    return ['c', end < 0 ? code.length : end];
  }
  for (const quote of language.quotes) if (code.startsWith(quote, at)) return ['s', stringEnd(code, at, quote)];
  const first = code.charCodeAt(at);
  if (first >= 48 && first <= 57) {
    numeric.lastIndex = at;
    return numeric.test(code) ? ['n', numeric.lastIndex] : ['', at + 1];
  }
  name.lastIndex = at;
  if (!name.test(code)) return ['', at + 1];
  const end = name.lastIndex;
  const text = code.slice(at, end);
  if (language.keywords.has(language.loose ? text.toLowerCase() : text)) return ['k', end];
  const after = code[end];
  if (after === '(' || (language === data && (after === ':' || after === '=')) || (language === markup && code[at - 1] === '<') || (language === markup && code[at - 1] === '/')) return ['f', end];
  return ['', end];
}

function endOf(code: string, close: string, from: number): number {
  const end = code.indexOf(close, from);
  return end < 0 ? code.length : end + close.length;
}

function stringEnd(code: string, at: number, quote: string): number {
  const lines = quote.length === 3 || quote === '`';
  let index = at + quote.length;
  while (index < code.length) {
    if (code[index] === '\\') index += 2;
    else if (code.startsWith(quote, index)) return index + quote.length;
    else if (code[index] === '\n' && !lines) return index;
    else index++;
  }
  return code.length;
}

function* diff(code: string): Generator<Token> {
  for (const line of code.split(/(?<=\n)/)) {
    const first = line[0];
    yield [first === '+' ? 's' : first === '-' ? 'n' : first === '@' ? 'k' : '', line];
  }
}
