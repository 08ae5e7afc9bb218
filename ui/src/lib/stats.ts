/** Small statistics over measured values. */
import type { Histogram } from '../api/types';

/** Linear interpolation at rank p·(n−1); NaN for no values. */
export function percentile(sorted: number[], p: number): number {
  if (sorted.length === 0) return NaN;
  const rank = p * (sorted.length - 1);
  const low = Math.floor(rank);
  const a = sorted[low] as number;
  const b = sorted[Math.min(low + 1, sorted.length - 1)] as number;
  return a + (b - a) * (rank - low);
}

export function sortedNumbers(values: Iterable<number | null | undefined>): number[] {
  return [...values]
    .filter((value): value is number => typeof value === 'number' && Number.isFinite(value))
    .sort((a, b) => a - b);
}

export function mean(values: number[]): number {
  return values.length === 0 ? NaN : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Equal bins over values above zero; one bin of size 0 when all are equal. */
export function histogram(values: number[]): Histogram | null {
  const sorted = sortedNumbers(values).filter((value) => value > 0);
  const min = sorted[0];
  const max = sorted.at(-1);
  if (min === undefined || max === undefined) return null;
  const marks = { p50: percentile(sorted, 0.5), p95: percentile(sorted, 0.95), p99: percentile(sorted, 0.99) };
  if (min === max) return { bins: [sorted.length], min, max, binSize: 0, ...marks };
  const wanted = Math.min(20, Math.max(5, Math.ceil(Math.log2(sorted.length)) + 1));
  const binSize = (max - min) / wanted;
  const bins = new Array<number>(wanted).fill(0);
  for (const value of sorted) {
    const index = Math.min(wanted - 1, Math.floor((value - min) / binSize));
    bins[index] = (bins[index] ?? 0) + 1;
  }
  return { bins, min, max, binSize, ...marks };
}
