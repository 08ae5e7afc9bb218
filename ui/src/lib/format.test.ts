import { describe, expect, test } from 'vitest';
import * as format from './format';

describe('numbers', () => {
  test('an unknown speed says so, zero is a number', () => {
    expect(format.speed(-1)).toBe('unknown');
    expect(format.speed(NaN)).toBe('unknown');
    expect(format.speed(0)).toBe('0.0 t/s');
    expect(format.speed(55.14)).toBe('55.1 t/s');
    expect(format.speed(432.1)).toBe('432 t/s');
  });

  test('no cached tokens are a dash', () => {
    expect(format.tokens(0)).toBe('–');
    expect(format.tokens(-1)).toBe('–');
    expect(format.tokens(7)).toBe('7');
  });

  test.each([
    [0.4, '0 ms'], [999, '999 ms'], [1500, '1.50 s'], [12_345, '12.3 s'], [61_000, '1m 01s'], [3_661_000, '1h 01m'], [90_000_000, '1d 01h'],
  ])('%d milliseconds are %s', (ms, text) => {
    expect(format.duration(ms)).toBe(text);
  });

  test.each([
    [0, '0 B'], [1023, '1023 B'], [1536, '2 KiB'], [5 * 1024 ** 2, '5.00 MiB'], [25_769_803_776, '24.0 GiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(format.bytes(bytes)).toBe(text);
  });

  test.each([[131_072, '131K'], [128_000, '128K'], [1_000_000, '1M'], [1_500_000, '1.5M'], [512, '512']])(
    'a context of %d is %s',
    (tokens, text) => {
      expect(format.context(tokens)).toBe(text);
    },
  );

  test('draft acceptance, and a dash when nothing was drafted', () => {
    expect(format.drafted(8, 10)).toBe('80.0% (8/10)');
    expect(format.drafted(-1, -1)).toBe('–');
  });
});

describe('time ago', () => {
  const at = new Date(2026, 0, 2, 3, 4, 5).getTime();

  test.each([[0, 'now'], [4999, 'now'], [5000, '5s ago'], [59_999, '59s ago'], [60_000, '1m ago'], [7_200_000, '2h ago']])(
    '%d milliseconds ago is %s',
    (ms, text) => {
      expect(format.ago(ms, at)).toBe(text);
    },
  );

  test('from a day on the date itself', () => {
    expect(format.ago(86_400_000, at)).toBe('2026-01-02 03:04:05');
  });
});
