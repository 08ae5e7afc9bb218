/**
 * Text within a block, as document nodes.  HTML is never parsed: what looks like a tag is text, links lead only to
 * http, https and mail, and pictures are shown only when they are part of the text itself (data: URLs).
 */
import { math } from './math';

interface Item {
  node: Node;
  previous: Item | null;
  next: Item | null;
  delimiter: Delimiter | null;
}

interface Delimiter {
  item: Item;
  character: string;
  count: number;
  opens: boolean;
  closes: boolean;
  below: Delimiter | null;
  above: Delimiter | null;
}

interface Bracket {
  item: Item;
  image: boolean;
  delimiters: Delimiter | null;
}

const punctuation = /[!-/:-@[-`{-~\p{P}\p{S}]/u;
const plainText = /[^\\`*_~[\]!<&$\n\w]+|[^\\`*_~[\]!<&$\nhw]+|[hw]/y;
const url = /(?:https?:\/\/|www\.)[^\s<>"']+/y;
const autolink = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const entity = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(amp|lt|gt|quot|apos|nbsp|copy|mdash|ndash|hellip|times|rarr|larr|deg|middot));/iy;
const named: Record<string, string> = {
  amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©', mdash: '—', ndash: '–', hellip: '…',
  times: '×', rarr: '→', larr: '←', deg: '°', middot: '·',
};
const destination = /\(\s*(?:<([^<>\n]{0,2000})>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.){0,500}\)){0,2000}))(?:\s+(?:"((?:[^"\\]|\\.){0,500})"|'((?:[^'\\]|\\.){0,500})'))?\s*\)/y;
const lineBreak = /<br\s*\/?>/iy;
const maxMath = 2000;

/** The address if it may be followed; null otherwise.  Control characters and blanks hide schemes and are removed. */
export function safeHref(href: string): string | null {
  // eslint-disable-next-line no-control-regex
  const clean = href.replace(/[\u0000-\u0020\u007f-\u009f\u200b-\u200f\u2028\u2029\ufeff]/g, '');
  return /^(?:https?:\/\/|mailto:)/i.test(clean) ? clean : null;
}

export function safeImage(source: string): string | null {
  return /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/.test(source) ? source : null;
}

/** Renders `text` into `parent`, replacing what is there. */
export function renderInline(parent: Element, text: string): void {
  const fragment = parent.ownerDocument.createDocumentFragment();
  for (const node of new Inline(parent.ownerDocument, text).nodes()) fragment.append(node);
  parent.replaceChildren(fragment);
}

class Inline {
  private at = 0;
  private first: Item | null = null;
  private last: Item | null = null;
  private top: Delimiter | null = null;
  private readonly brackets: Bracket[] = [];
  private runs: Map<number, number[]> | null = null;

  constructor(
    private readonly document: Document,
    private readonly text: string,
  ) {}

  nodes(): Node[] {
    while (this.at < this.text.length) this.step();
    this.emphasise(null);
    const out: Node[] = [];
    for (let item = this.first; item !== null; item = item.next) out.push(item.node);
    return out;
  }

  private step(): void {
    const character = this.text[this.at] as string;
    switch (character) {
      case '\\':
        return this.backslash();
      case '`':
        return this.codeSpan();
      case '*':
      case '_':
      case '~':
        return this.run(character);
      case '$':
        return this.dollar();
      case '!':
        if (this.text[this.at + 1] === '[') return this.open(true);
        return this.plain(1);
      case '[':
        return this.open(false);
      case ']':
        return this.shut();
      case '<':
        return this.angle();
      case '&':
        return this.entity();
      case '\n':
        return this.newline();
      case 'h':
      case 'w':
        return this.bareUrl();
      default: {
        plainText.lastIndex = this.at;
        const match = plainText.exec(this.text);
        return this.plain(match === null ? 1 : match[0].length);
      }
    }
  }

  private add(node: Node): Item {
    const item: Item = { node, previous: this.last, next: null, delimiter: null };
    if (this.last === null) this.first = item;
    else this.last.next = item;
    this.last = item;
    return item;
  }

  private plain(length: number): void {
    this.words(this.text.slice(this.at, this.at + length));
    this.at += length;
  }

  private words(text: string): void {
    const before = this.last;
    if (before !== null && before.delimiter === null && before.node.nodeType === 3 && !this.isBracket(before)) {
      (before.node as Text).appendData(text);
    } else this.add(this.document.createTextNode(text));
  }

  private isBracket(item: Item): boolean {
    return this.brackets.length > 0 && this.brackets.at(-1)?.item === item;
  }

  private backslash(): void {
    const after = this.text[this.at + 1];
    if (after === '(' || after === '[') {
      const close = after === '(' ? '\\)' : '\\]';
      const end = this.text.indexOf(close, this.at + 2);
      if (end > 0 && end - this.at < maxMath && this.text.slice(this.at + 2, end).trim() !== '') {
        this.add(math(this.document, this.text.slice(this.at + 2, end), after === '['));
        this.at = end + 2;
        return;
      }
    }
    if (after === '\n') {
      this.add(this.document.createElement('br'));
      this.at += 2;
    } else if (after !== undefined && /[!-/:-@[-`{-~]/.test(after)) {
      this.words(after);
      this.at += 2;
    } else this.plain(1);
  }

  private backtickRuns(): Map<number, number[]> {
    if (this.runs === null) {
      this.runs = new Map();
      for (const match of this.text.matchAll(/`+/g)) {
        const starts = this.runs.get(match[0].length);
        if (starts === undefined) this.runs.set(match[0].length, [match.index]);
        else starts.push(match.index);
      }
    }
    return this.runs;
  }

  private codeSpan(): void {
    let length = 1;
    while (this.text[this.at + length] === '`') length++;
    const starts = this.backtickRuns().get(length) ?? [];
    // Runs are used up from the left, so all searches together walk the list once.
    while ((starts[0] ?? Infinity) <= this.at) starts.shift();
    const end = starts[0];
    if (end === undefined) return this.plain(length);
    let inside = this.text.slice(this.at + length, end).replace(/\n/g, ' ');
    if (inside.startsWith(' ') && inside.endsWith(' ') && inside.trim() !== '') inside = inside.slice(1, -1);
    const code = this.document.createElement('code');
    code.textContent = inside;
    this.add(code);
    this.at = end + length;
  }

  /** `$…$` as pandoc reads it: no blank inside the dollars, no digit behind them.  So prices stay text. */
  private dollar(): void {
    const display = this.text[this.at + 1] === '$';
    const width = display ? 2 : 1;
    const from = this.at + width;
    const limit = Math.min(this.text.length, from + maxMath);
    if (display) {
      const end = this.text.slice(from, limit).indexOf('$$');
      if (end > 0) {
        this.add(math(this.document, this.text.slice(from, from + end), true));
        this.at = from + end + 2;
        return;
      }
      return this.plain(2);
    }
    if (/\S/.test(this.text[from] ?? ' ')) {
      for (let index = from; index < limit; index++) {
        const here = this.text[index];
        if (here === '\\') index++;
        else if (here === '`' || (here === '\n' && this.text[index + 1] === '\n')) break;
        else if (here === '$') {
          if (/\s/.test(this.text[index - 1] ?? ' ') || /\d/.test(this.text[index + 1] ?? '')) break;
          this.add(math(this.document, this.text.slice(from, index), false));
          this.at = index + 1;
          return;
        }
      }
    }
    this.plain(1);
  }

  private run(character: string): void {
    let count = 1;
    while (this.text[this.at + count] === character) count++;
    const before = this.text[this.at - 1] ?? ' ';
    const after = this.text[this.at + count] ?? ' ';
    const [blankBefore, blankAfter] = [/\s/.test(before), /\s/.test(after)];
    const [pointBefore, pointAfter] = [punctuation.test(before), punctuation.test(after)];
    const left = !blankAfter && (!pointAfter || blankBefore || pointBefore);
    const right = !blankBefore && (!pointBefore || blankAfter || pointAfter);
    const item = this.add(this.document.createTextNode(character.repeat(count)));
    this.at += count;
    if (character === '~' && count !== 2) return;
    const delimiter: Delimiter = {
      item,
      character,
      count,
      opens: character === '_' ? left && (!right || pointBefore) : left,
      closes: character === '_' ? right && (!left || pointAfter) : right,
      below: this.top,
      above: null,
    };
    item.delimiter = delimiter;
    if (this.top !== null) this.top.above = delimiter;
    this.top = delimiter;
  }

  private open(image: boolean): void {
    const item = this.add(this.document.createTextNode(image ? '![' : '['));
    this.brackets.push({ item, image, delimiters: this.top });
    this.at += image ? 2 : 1;
    if (this.brackets.length > 50) this.brackets.shift();
  }

  private shut(): void {
    const bracket = this.brackets.pop();
    if (bracket === undefined) return this.plain(1);
    destination.lastIndex = this.at + 1;
    const match = this.text[this.at + 1] === '(' ? destination.exec(this.text) : null;
    if (match === null) return this.plain(1);
    this.emphasise(bracket.delimiters);
    const href = (match[1] ?? match[2] ?? '').replace(/\\([!-/:-@[-`{-~])/g, '$1');
    const inside: Node[] = [];
    for (let item = bracket.item.next; item !== null; item = item.next) inside.push(item.node);
    this.last = bracket.item.previous;
    if (this.last === null) this.first = null;
    else this.last.next = null;
    this.at = destination.lastIndex;
    if (bracket.image) this.image(href, inside.map((node) => node.textContent).join(''));
    else this.anchor(href, inside, match[3] ?? match[4]);
    if (!bracket.image) this.brackets.length = 0;
  }

  private anchor(href: string, inside: Node[], title?: string): void {
    const safe = safeHref(href);
    const element = this.document.createElement(safe === null ? 'span' : 'a');
    if (element instanceof HTMLAnchorElement && safe !== null) {
      element.href = safe;
      element.target = '_blank';
      element.rel = 'noopener noreferrer nofollow';
      if (title !== undefined) element.title = title;
    } else element.title = 'This link is not followed: only http, https and mail addresses are.';
    element.append(...inside);
    this.add(element);
  }

  private image(source: string, alternative: string): void {
    const safe = safeImage(source);
    if (safe !== null) {
      const image = this.document.createElement('img');
      image.src = safe;
      image.alt = alternative;
      this.add(image);
    } else this.anchor(source, [this.document.createTextNode(`🖼 ${alternative || source}`)]);
  }

  private angle(): void {
    lineBreak.lastIndex = this.at;
    if (lineBreak.test(this.text)) {
      this.add(this.document.createElement('br'));
      this.at = lineBreak.lastIndex;
      return;
    }
    autolink.lastIndex = this.at;
    const match = autolink.exec(this.text);
    if (match?.[1] === undefined) return this.plain(1);
    this.anchor(match[1], [this.document.createTextNode(match[1].replace(/^mailto:/, ''))]);
    this.at = autolink.lastIndex;
  }

  private bareUrl(): void {
    const before = this.text[this.at - 1] ?? ' ';
    url.lastIndex = this.at;
    const match = /\w/.test(before) ? null : url.exec(this.text);
    if (match === null || this.brackets.length > 0) {
      const rest = /[\w]+/y;
      rest.lastIndex = this.at;
      return this.plain(rest.exec(this.text)?.[0].length ?? 1);
    }
    // A closing mark of the sentence does not belong to the address, a closed bracket does.
    let found = match[0].replace(/[.,:;!?*_~`]+$/, '');
    while (found.endsWith(')') && found.split(')').length > found.split('(').length) found = found.slice(0, -1);
    this.anchor(found.startsWith('www.') ? `https://${found}` : found, [this.document.createTextNode(found)]);
    this.at += found.length;
  }

  private entity(): void {
    entity.lastIndex = this.at;
    const match = entity.exec(this.text);
    if (match === null) return this.plain(1);
    const code = match[1] !== undefined ? Number(match[1]) : match[2] !== undefined ? parseInt(match[2], 16) : NaN;
    const valid = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    this.words(match[3] !== undefined ? (named[match[3].toLowerCase()] ?? match[0]) : valid ? String.fromCodePoint(code) : '\ufffd');
    this.at = entity.lastIndex;
  }

  private newline(): void {
    const node = this.last?.node;
    if (node !== undefined && node.nodeType === 3 && (node as Text).data.endsWith('  ')) {
      (node as Text).data = (node as Text).data.trimEnd();
      this.add(this.document.createElement('br'));
      this.at++;
    } else this.plain(1);
  }

  /** Pairs the delimiter runs above `bottom`, CommonMark's way. */
  private emphasise(bottom: Delimiter | null): void {
    const floors = new Map<string, Delimiter | null>();
    let closer = bottom === null ? this.lowest() : bottom.above;
    while (closer !== null) {
      if (!closer.closes) {
        closer = closer.above;
        continue;
      }
      const kind = `${closer.character}${closer.opens}${closer.count % 3}`;
      const floor = floors.has(kind) ? (floors.get(kind) ?? null) : bottom;
      let opener = closer.below;
      while (opener !== null && opener !== floor && opener !== bottom && !pairs(opener, closer)) opener = opener.below;
      if (opener === null || opener === floor || opener === bottom) {
        floors.set(kind, closer.below);
        const above: Delimiter | null = closer.above;
        if (!closer.opens) this.drop(closer);
        closer = above;
        continue;
      }
      closer = this.wrap(opener, closer);
    }
    while (this.top !== null && this.top !== bottom) this.drop(this.top);
  }

  private lowest(): Delimiter | null {
    let found = this.top;
    while (found !== null && found.below !== null) found = found.below;
    return found;
  }

  /** Puts what stands between two runs into an element; hands back the run to go on with. */
  private wrap(opener: Delimiter, closer: Delimiter): Delimiter | null {
    const strong = opener.count >= 2 && closer.count >= 2;
    const used = strong ? 2 : 1;
    const element = this.document.createElement(opener.character === '~' ? 'del' : strong ? 'strong' : 'em');
    while (opener.above !== null && opener.above !== closer) this.drop(opener.above);
    for (let item = opener.item.next; item !== null && item !== closer.item; item = item.next) element.append(item.node);
    const item: Item = { node: element, previous: opener.item, next: closer.item, delimiter: null };
    opener.item.next = item;
    closer.item.previous = item;
    for (const side of [opener, closer]) {
      side.count -= used;
      (side.item.node as Text).data = side.character.repeat(side.count);
    }
    const after = closer.count > 0 ? closer : closer.above;
    if (opener.count === 0) this.drop(opener);
    if (closer.count === 0) this.drop(closer);
    return after;
  }

  private drop(delimiter: Delimiter): void {
    if (delimiter.below !== null) delimiter.below.above = delimiter.above;
    if (delimiter.above !== null) delimiter.above.below = delimiter.below;
    if (this.top === delimiter) this.top = delimiter.below;
    delimiter.item.delimiter = null;
  }
}

function pairs(opener: Delimiter, closer: Delimiter): boolean {
  if (opener.character !== closer.character || !opener.opens) return false;
  if ((opener.closes || closer.opens) && (opener.count + closer.count) % 3 === 0)
    return opener.count % 3 === 0 && closer.count % 3 === 0;
  return true;
}
