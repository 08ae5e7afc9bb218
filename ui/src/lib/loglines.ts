/** Log text cut into lines, bounded, with what a filter needs worked out once. */
import { pieces, plain, stripped, type Style } from './ansi';

export type Level = 'error' | 'warn' | 'info' | 'debug' | '';

export interface LogLine {
  /** Grows by one with every line of a source; stays when older lines are dropped. */
  number: number;
  source: string;
  raw: string;
  text: string;
  level: Level;
  /** The colours that the line before left switched on. */
  style: Style;
}

const levels: [Level, RegExp][] = [
  ['error', /\b(?:error|err|fatal|critical|panic|traceback)\b|^E[ \d]/i],
  ['warn', /\b(?:warn|warning)\b|^W[ \d]/i],
  ['debug', /\b(?:debug|trace)\b|^D[ \d]/i],
  ['info', /\b(?:info|notice)\b|^I[ \d]/i],
];

/** The level as far as the beginning of the line tells it. */
export function levelOf(text: string): Level {
  const head = text.slice(0, 120);
  for (const [level, pattern] of levels) if (pattern.test(head)) return level;
  return '';
}

/** The lines that name a request; the id of another one may begin with the same figures. */
export function linesOfRequest(log: string, requestId: string): string[] {
  const whole = new RegExp(requestFilter(requestId));
  return log.split('\n').map(stripped).filter((line) => whole.test(line));
}

/** The same as a filter: exactly this id, not another one that begins with it. */
export function requestFilter(requestId: string): string {
  return `(?<![\\w-])${requestId.replace(/[^\w-]/g, '\\$&')}(?![\\w-])`;
}

/** Stands in a log where the connection to it was lost and what was written meanwhile is no longer kept. */
export const lossMark = '──── the connection was lost here; what follows is what the gateway has kept ────';

/**
 * What a log says anew after a lost connection.  `before` are the last lines that were seen; `text` is the history that
 * comes with the new connection, the beginning of which may be known already.
 */
export function continued(before: string[], text: string): string {
  for (const count of [40, 10, 3]) {
    const known = before.slice(-count);
    if (known.length === 0) return text;
    const tail = `${known.join('\n')}\n`;
    const at = text.replaceAll('\r\n', '\n').lastIndexOf(tail);
    if (at >= 0) return text.replaceAll('\r\n', '\n').slice(at + tail.length);
  }
  return `${lossMark}\n${text}`;
}

export class LineBuffer {
  lines: LogLine[] = [];
  private partial = '';
  private next = 1;
  private style: Style = plain;
  /** Lines dropped at the beginning so far. */
  dropped = 0;

  constructor(
    readonly source: string,
    private readonly limit = 1_000_000,
  ) {}

  /** Appends text and hands back the lines that it completed. */
  push(text: string): LogLine[] {
    const parts = (this.partial + text).split('\n');
    this.partial = parts.pop() ?? '';
    // A "line" without end must not grow without bound either.
    if (this.partial.length > 100_000) {
      parts.push(this.partial);
      this.partial = '';
    }
    const added = parts.map((raw) => this.line(raw.endsWith('\r') ? raw.slice(0, -1) : raw));
    for (const line of added) this.lines.push(line);
    if (this.lines.length > this.limit) {
      const cut = this.lines.length - Math.floor(this.limit * 0.9);
      this.lines.splice(0, cut);
      this.dropped += cut;
    }
    return added;
  }

  /** The beginning of a line whose rest did not come. */
  dropPartial(): void {
    this.partial = '';
  }

  private line(raw: string): LogLine {
    // Progress bars rewrite their line with carriage returns: the last version counts.
    const shown = raw.includes('\r') ? raw.slice(raw.lastIndexOf('\r') + 1) : raw;
    const text = stripped(shown);
    const line: LogLine = { number: this.next++, source: this.source, raw: shown, text, level: levelOf(text), style: this.style };
    if (shown.includes('\x1b')) this.style = pieces(shown, this.style).style;
    return line;
  }
}

/** A filter text as expression; null for none, an Error when it is not a valid one. */
export function expression(text: string): RegExp | null | Error {
  if (text === '') return null;
  try {
    return new RegExp(text, 'i');
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
