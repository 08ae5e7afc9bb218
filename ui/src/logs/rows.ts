/** Which piece of which line stands in which row of the screen, and how it is coloured. */
import { pieces, type Piece } from '../lib/ansi';
import type { LogLine } from '../lib/loglines';

/** Row numbers for lines that wrap after `columns` characters; null columns: one row for each line. */
export class RowMap {
  private ends: number[] = [];

  constructor(private readonly columns: number | null) {}

  get total(): number {
    return this.ends.at(-1) ?? 0;
  }

  add(lines: LogLine[]): void {
    if (this.columns === null) {
      let end = this.total;
      for (let index = 0; index < lines.length; index++) this.ends.push(++end);
      return;
    }
    let end = this.total;
    for (const line of lines) {
      end += Math.max(1, Math.ceil(line.text.length / this.columns));
      this.ends.push(end);
    }
  }

  /** The line and the part of it that row `row` shows. */
  at(row: number): { index: number; part: number } {
    let low = 0;
    let high = this.ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.ends[middle] ?? 0) > row) high = middle;
      else low = middle + 1;
    }
    return { index: low, part: row - (this.ends[low - 1] ?? 0) };
  }

  rowOf(index: number): number {
    return this.ends[index - 1] ?? 0;
  }
}

export interface Shown extends Piece {
  hit: boolean;
}

/** Characters `from` to `to` of a line as coloured pieces, with the matches of `search` marked. */
export function rowPieces(line: LogLine, from: number, to: number, search: RegExp | null): Shown[] {
  const out: Shown[] = [];
  const hits = search === null ? [] : matchesIn(line.text, search);
  let at = 0;
  for (const piece of pieces(line.raw, line.style).pieces) {
    const start = Math.max(from, at);
    const end = Math.min(to, at + piece.text.length);
    let cursor = start;
    while (cursor < end) {
      const hit = hits.find(([, stop]) => stop > cursor);
      const inside = hit !== undefined && hit[0] <= cursor;
      const stop = Math.min(end, hit === undefined ? end : inside ? hit[1] : hit[0]);
      out.push({ ...piece, text: piece.text.slice(cursor - at, stop - at), hit: inside });
      cursor = stop;
    }
    at += piece.text.length;
    if (at >= to) break;
  }
  return out;
}

function matchesIn(text: string, search: RegExp): [number, number][] {
  const out: [number, number][] = [];
  for (const match of text.slice(0, 20_000).matchAll(new RegExp(search.source, 'gi'))) {
    if (match[0] !== '') out.push([match.index, match.index + match[0].length]);
    if (out.length >= 200) break;
  }
  return out;
}
