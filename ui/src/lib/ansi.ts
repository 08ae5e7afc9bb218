/** Terminal text as styled pieces: colours and weights kept, every other control sequence dropped. */

export interface Piece {
  text: string;
  /** CSS class names, space separated; empty for plain text. */
  classes: string;
  /** Colours outside of the sixteen named ones, as CSS. */
  color: string;
  background: string;
}

export interface Style {
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  strike: boolean;
  inverse: boolean;
  /** A number 0–15, or CSS. */
  color: number | string | null;
  background: number | string | null;
}

export const plain: Style = {
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  strike: false,
  inverse: false,
  color: null,
  background: null,
};

// CSI sequences, OSC strings up to their terminator, and lone two-byte escapes.
const sequence = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;
// Control characters that a terminal acts upon and a page must not show.
const controls = /[\x00-\x08\x0b-\x1f\x7f]/g;

/** The text without any control sequence: what filters and copies see. */
export function stripped(text: string): string {
  return text.includes('\x1b') ? text.replace(sequence, '').replace(controls, '') : text.replace(controls, '');
}

/** One line as pieces.  `style` is what the line begins with; the style it ends with comes back too. */
export function pieces(line: string, style: Style = plain): { pieces: Piece[]; style: Style } {
  if (!line.includes('\x1b')) {
    const text = line.replace(controls, '');
    return { pieces: text === '' ? [] : [piece(text, style)], style };
  }
  const out: Piece[] = [];
  let now = style;
  let at = 0;
  const add = (text: string): void => {
    const clean = text.replace(controls, '');
    if (clean !== '') out.push(piece(clean, now));
  };
  for (const match of line.matchAll(sequence)) {
    add(line.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === 'm') now = restyled(now, match[1] ?? '');
  }
  add(line.slice(at));
  return { pieces: out, style: now };
}

function piece(text: string, style: Style): Piece {
  const [color, background] = style.inverse
    ? [style.background ?? 'var(--panel)', style.color ?? 'var(--text)']
    : [style.color, style.background];
  const classes = [
    style.bold && 'b',
    style.dim && 'd',
    style.italic && 'i',
    style.underline && 'u',
    style.strike && 's',
    typeof color === 'number' && `f${color}`,
    typeof background === 'number' && `k${background}`,
  ];
  return {
    text,
    classes: classes.filter(Boolean).join(' '),
    color: typeof color === 'string' ? color : '',
    background: typeof background === 'string' ? background : '',
  };
}

/** 256-colour index as one of the sixteen or as CSS. */
function indexed(index: number): number | string {
  if (index < 16) return index;
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const level = (value: number): number => (value === 0 ? 0 : 55 + value * 40);
  const cube = index - 16;
  return `rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`;
}

function restyled(style: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((part) => (part === '' ? 0 : Number(part)));
  let next: Style = { ...style };
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index] ?? 0;
    if (code === 38 || code === 48) {
      const kind = codes[index + 1];
      let color: number | string | null = null;
      if (kind === 5) {
        color = indexed(clamp(codes[index + 2] ?? 0));
        index += 2;
      } else if (kind === 2) {
        color = `rgb(${clamp(codes[index + 2] ?? 0)} ${clamp(codes[index + 3] ?? 0)} ${clamp(codes[index + 4] ?? 0)})`;
        index += 4;
      }
      next = code === 38 ? { ...next, color } : { ...next, background: color };
    } else next = applied(next, code);
  }
  return next;
}

function clamp(value: number): number {
  return Math.max(0, Math.min(255, Number.isFinite(value) ? Math.trunc(value) : 0));
}

function applied(style: Style, code: number): Style {
  if (code === 0) return plain;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 3) return { ...style, italic: true };
  if (code === 4) return { ...style, underline: true };
  if (code === 7) return { ...style, inverse: true };
  if (code === 9) return { ...style, strike: true };
  if (code === 22) return { ...style, bold: false, dim: false };
  if (code === 23) return { ...style, italic: false };
  if (code === 24) return { ...style, underline: false };
  if (code === 27) return { ...style, inverse: false };
  if (code === 29) return { ...style, strike: false };
  if (code >= 30 && code <= 37) return { ...style, color: code - 30 };
  if (code === 39) return { ...style, color: null };
  if (code >= 40 && code <= 47) return { ...style, background: code - 40 };
  if (code === 49) return { ...style, background: null };
  if (code >= 90 && code <= 97) return { ...style, color: code - 82 };
  if (code >= 100 && code <= 107) return { ...style, background: code - 92 };
  return style;
}
