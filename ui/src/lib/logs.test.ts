import { describe, expect, test } from 'vitest';
import { RowMap, rowPieces } from '../logs/rows';
import { pieces, stripped } from './ansi';
import { continued, expression, levelOf, LineBuffer, linesOfRequest, lossMark, requestFilter } from './loglines';

describe('terminal colours', () => {
  test('sixteen, 256 and 24-bit colours, and resets', () => {
    const { pieces: found } = pieces('\x1b[31mred\x1b[0m \x1b[38;5;196mx\x1b[39m\x1b[48;2;1;2;3my\x1b[m.');
    expect(found.map((piece) => [piece.text, piece.classes, piece.color, piece.background])).toEqual([
      ['red', 'f1', '', ''], [' ', '', '', ''], ['x', '', 'rgb(255 0 0)', ''], ['y', '', '', 'rgb(1 2 3)'], ['.', '', '', ''],
    ]);
  });

  test('weights end where they are switched off', () => {
    expect(pieces('\x1b[1;4mA\x1b[22mB\x1b[24mC').pieces.map((piece) => piece.classes)).toEqual(['b u', 'u', '']);
  });

  test('stray control sequences vanish, text stays', () => {
    expect(stripped('\x1b[2K\x1b[1Gload\x1b]0;title\x07ed\x1b[?25l \x1b[32mok\x1b[0m\x08')).toBe('loaded ok');
  });

  test('colours go on over lines', () => {
    const buffer = new LineBuffer('x');
    const lines = buffer.push('\x1b[31mone\ntwo\x1b[0m\nthree\n');
    expect(lines.map((line) => pieces(line.raw, line.style).pieces[0]?.classes)).toEqual(['f1', 'f1', '']);
  });
});

describe('a connection that was lost', () => {
  const seen = Array.from({ length: 50 }, (_, index) => `line ${index}`);

  test('what is known of the history is left out', () => {
    expect(continued(seen, `line 8\nline 9\n${seen.slice(10).join('\n')}\nnew\nha`)).toBe('new\nha');
    expect(continued(seen, `${seen.slice(46).join('\n')}\nnew\n`)).toBe('new\n');
  });

  test('where nothing is known any more, a mark says so', () => {
    expect(continued(seen, 'other\n')).toBe(`${lossMark}\nother\n`);
    expect(continued([], 'first\n')).toBe('first\n');
  });
});

describe('lines', () => {
  test('the filter for a request finds its id and no longer one', () => {
    const found = expression(requestFilter('ab12-7'));
    expect(found).toBeInstanceOf(RegExp);
    expect(['x ab12-7', 'x ab12-71', 'xab12-7', 'ab12-7 the client left'].map((line) => (found as RegExp).test(line))).toEqual([true, false, false, true]);
  });

  test('pieces of lines become whole ones', () => {
    const buffer = new LineBuffer('x');
    expect(buffer.push('ab')).toEqual([]);
    expect(buffer.push('c\nd').map((line) => line.text)).toEqual(['abc']);
  });

  test('a progress bar shows its last version', () => {
    expect(new LineBuffer('x').push('10%\r50%\r100%\r\n').map((line) => line.text)).toEqual(['100%']);
  });

  test('memory is bounded, numbers go on', () => {
    const buffer = new LineBuffer('x', 100);
    for (let index = 0; index < 1000; index++) buffer.push('line\n');
    expect(buffer.lines.length).toBeLessThanOrEqual(100);
    expect(buffer.lines.at(-1)?.number).toBe(1000);
  });

  test.each([['[ERROR] x', 'error'], ['2026 WARN y', 'warn'], ['I 12 z', 'info'], ['[DEBUG] d', 'debug'], ['plain', '']])(
    '%s has the level "%s"',
    (text, level) => {
      expect(levelOf(text)).toBe(level);
    },
  );

  test('an expression sees the text without colours, an invalid one is an error', () => {
    const line = new LineBuffer('x').push('\x1b[31m[ERROR]\x1b[0m bad\n')[0];
    const found = expression('^\\[error');
    expect(found instanceof RegExp && found.test(line?.text ?? '')).toBe(true);
    expect(expression('([')).toBeInstanceOf(Error);
    expect(expression('')).toBeNull();
  });
});

describe('rows', () => {
  const lines = new LineBuffer('x').push(`${'a'.repeat(25)}\n\nb\n`);

  test('without wrapping a line is a row', () => {
    const map = new RowMap(null);
    map.add(lines);
    expect(map.total).toBe(3);
    expect(map.at(2)).toEqual({ index: 2, part: 0 });
  });

  test('with wrapping a long line takes several', () => {
    const map = new RowMap(10);
    map.add(lines);
    expect(map.total).toBe(5);
    expect([0, 1, 2, 3, 4].map((row) => map.at(row))).toEqual([
      { index: 0, part: 0 }, { index: 0, part: 1 }, { index: 0, part: 2 }, { index: 1, part: 0 }, { index: 2, part: 0 },
    ]);
  });

  test('matches are marked across colours', () => {
    const line = new LineBuffer('x').push('an \x1b[31mer\x1b[0mror here\n')[0];
    if (line === undefined) throw new Error('no line');
    const found = rowPieces(line, 0, 100, /error/i).filter((piece) => piece.hit);
    expect(found.map((piece) => piece.text)).toEqual(['er', 'ror']);
  });
});

describe('the log lines of a request', () => {
  const log = '[INFO] "POST /v1/rerank HTTP/1.1" 200 1.356s a8ec0815-5\n[INFO] 200 2ms a8ec0815-50\n[WARN] \x1b[31ma8ec0815-5\x1b[0m: gone\n';

  test('every line with its id, and none of an id that only begins like it', () => {
    expect(linesOfRequest(log, 'a8ec0815-5')).toEqual(['[INFO] "POST /v1/rerank HTTP/1.1" 200 1.356s a8ec0815-5', '[WARN] a8ec0815-5: gone']);
  });

  test('an id that a client chose is taken as it is', () => {
    expect(linesOfRequest('GET a.c(1)\nGET abc(1)', 'a.c(1)')).toEqual(['GET a.c(1)']);
  });
});
