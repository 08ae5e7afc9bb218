/** Time series out of requests, the yard and machine samples; times in seconds, as the charts want them. */
import type { ActivityRow, GpuSample, SysSample } from '../api/types';
import { endOf, isFailed, waitedMs } from './activity';
import { percentile, sortedNumbers } from './stats';
import type { Count, Lane } from './yard';

export type Values = (number | null)[];

export interface Series {
  label: string;
  values: Values;
}

export interface Chart {
  times: number[];
  series: Series[];
  /** Where samples are missing: beginning and end in seconds. */
  gaps?: [number, number][];
}

/** The beginning of every bucket in the window. */
function grid(from: number, to: number, step: number): number[] {
  const out: number[] = [];
  for (let at = Math.floor(from / step) * step; at < to; at += step) out.push(at);
  return out;
}

/** A bucket length in milliseconds that gives about fifty points. */
export function bucketOf(windowMs: number): number {
  return [5000, 10_000, 20_000, 30_000, 60_000].find((step) => windowMs / step <= 60) ?? 60_000;
}

export interface RequestCharts {
  rate: Chart;
  tokens: Chart;
  first: Chart;
  waited: Chart;
}

export function requestCharts(rows: ActivityRow[], from: number, to: number): RequestCharts {
  const step = bucketOf(to - from);
  const starts = grid(from, to, step);
  const first = starts[0] ?? from;
  const groups: ActivityRow[][] = starts.map(() => []);
  const output: number[] = starts.map(() => 0);
  const prompt: number[] = starts.map(() => 0);
  for (const row of rows) {
    const end = endOf(row);
    groups[Math.floor((end - first) / step)]?.push(row);
    // Tokens are spread over the time in which they were made, so that a long answer is no spike at its end.
    const begin = end - row.duration_ms;
    const token = begin + (row.first_token_ms ?? waitedMs(row));
    spread(output, first, step, token, end, Math.max(0, row.tokens.output_tokens));
    spread(prompt, first, step, begin + waitedMs(row), token, Math.max(0, row.tokens.input_tokens));
  }
  const times = starts.map((at) => at / 1000);
  const perMinute = 60_000 / step;
  const perSecond = 1000 / step;
  const quantile = (value: (row: ActivityRow) => number | null | undefined, p: number): Values =>
    groups.map((group) => {
      const found = percentile(sortedNumbers(group.map(value)), p);
      return Number.isNaN(found) ? null : found / 1000;
    });
  return {
    rate: {
      times,
      series: [
        { label: 'answered', values: groups.map((group) => group.filter((row) => !isFailed(row)).length * perMinute) },
        { label: 'failed', values: groups.map((group) => group.filter(isFailed).length * perMinute) },
      ],
    },
    tokens: {
      times,
      series: [
        { label: 'generated', values: output.map((value) => value * perSecond) },
        { label: 'prompt', values: prompt.map((value) => value * perSecond) },
      ],
    },
    first: {
      times,
      series: [
        { label: 'p50', values: quantile((row) => row.first_token_ms, 0.5) },
        { label: 'p95', values: quantile((row) => row.first_token_ms, 0.95) },
      ],
    },
    waited: {
      times,
      series: [
        { label: 'p50', values: quantile(waitedMs, 0.5) },
        { label: 'p95', values: quantile(waitedMs, 0.95) },
      ],
    },
  };
}

function spread(buckets: number[], first: number, step: number, from: number, to: number, amount: number): void {
  if (amount === 0) return;
  const end = Math.max(to, from + 1);
  for (let index = Math.max(0, Math.floor((from - first) / step)); index < buckets.length; index++) {
    const low = Math.max(from, first + index * step);
    const high = Math.min(end, first + (index + 1) * step);
    if (low >= end) break;
    if (high > low) buckets[index] = (buckets[index] ?? 0) + (amount * (high - low)) / (end - from);
  }
}

function at(counts: Count[], time: number): number {
  return counts.findLast((entry) => entry.at <= time)?.count ?? 0;
}

/** Requests being served and waiting, all models together. */
export function loadChart(lanes: Lane[], from: number, to: number): Chart {
  const changes = new Set([from, to]);
  for (const lane of lanes) {
    for (const entry of [...lane.serving, ...lane.waiting]) if (entry.at > from && entry.at < to) changes.add(entry.at);
  }
  const times = [...changes].sort((a, b) => a - b);
  const sum = (pick: (lane: Lane) => Count[]): Values =>
    times.map((time) => lanes.reduce((total, lane) => total + at(pick(lane), time), 0));
  return {
    times: times.map((time) => time / 1000),
    series: [
      { label: 'served', values: sum((lane) => lane.serving) },
      { label: 'waiting', values: sum((lane) => lane.waiting) },
    ],
  };
}

/** Video memory by model: each model's last measured size wherever it was loaded. */
export function memoryChart(lanes: Lane[], sizes: Record<string, number>, from: number, to: number): Chart {
  const changes = new Set([from, to]);
  const known = lanes.filter((lane) => (sizes[lane.model] ?? 0) > 0);
  for (const lane of known) {
    for (const span of lane.spans) {
      for (const edge of [span.from, span.to]) {
        if (edge !== null && edge > from && edge < to) {
          changes.add(edge - 1);
          changes.add(edge);
        }
      }
    }
  }
  const times = [...changes].sort((a, b) => a - b);
  const loaded = (lane: Lane, time: number): boolean =>
    lane.spans.some((span) => span.from <= time && (span.to ?? Infinity) > time && span.state !== 'stopped');
  return {
    times: times.map((time) => time / 1000),
    series: known.map((lane) => ({
      label: lane.model,
      values: times.map((time) => (loaded(lane, time) ? (sizes[lane.model] ?? 0) / 1024 ** 3 : 0)),
    })),
  };
}

/** Where samples are missing, one empty sample makes the gap visible. */
export function withGaps<T extends { timestamp: string }>(samples: T[]): { time: number; sample: T | null }[] {
  const out: { time: number; sample: T | null }[] = [];
  const times = samples.map((sample) => Date.parse(sample.timestamp));
  const steps = sortedNumbers(times.slice(1).map((time, index) => time - (times[index] ?? time)));
  const usual = Math.max(1000, percentile(steps, 0.5) || 5000);
  samples.forEach((sample, index) => {
    const before = times[index - 1];
    const time = times[index] ?? 0;
    if (before !== undefined && time - before > usual * 2.5) out.push({ time: (before + usual) / 1000, sample: null });
    out.push({ time: time / 1000, sample });
  });
  return out;
}

/** The stretches for which there is an empty sample. */
function gapsIn(points: { time: number; sample: unknown }[]): [number, number][] {
  return points.flatMap(({ sample }, index): [number, number][] => {
    const before = points[index - 1];
    const after = points[index + 1];
    return sample === null && before !== undefined && after !== undefined ? [[before.time, after.time]] : [];
  });
}

/** Samples of all GPUs on one time axis; GPUs of the same name keep apart by their number. */
export function gpuChart(samples: GpuSample[], value: (sample: GpuSample) => number | null): Chart {
  const ids = [...new Set(samples.map((sample) => sample.id))].sort((a, b) => a - b);
  const lines = ids.map((id) => withGaps(samples.filter((sample) => sample.id === id)));
  const times = [...new Set(lines.flatMap((line) => line.map((entry) => entry.time)))].sort((a, b) => a - b);
  return {
    times,
    series: ids.map((id, index) => {
      const name = samples.find((sample) => sample.id === id)?.name ?? '';
      const byTime = new Map((lines[index] ?? []).map((entry) => [entry.time, entry.sample === null ? null : value(entry.sample)]));
      // Undefined means "no sample at this instant": the line goes on; null is a gap.
      const values = times.map((time) => (byTime.has(time) ? (byTime.get(time) ?? null) : (undefined as unknown as null)));
      return { label: `GPU ${id} ${name}`, values };
    }),
  };
}

export function systemChart(samples: SysSample[], series: Record<string, (sample: SysSample) => number | null>): Chart {
  const points = withGaps(samples);
  return {
    gaps: gapsIn(points),
    times: points.map((point) => point.time),
    series: Object.entries(series).map(([label, value]) => ({
      label,
      values: points.map(({ sample }) => (sample === null ? null : value(sample))),
    })),
  };
}

/** Megabits per second from byte counters; a counter that went back starts anew. */
export function networkChart(samples: SysSample[]): Chart {
  const names = [...new Set(samples.flatMap((sample) => (sample.net_io ?? []).map((entry) => entry.name)))].sort();
  const points = withGaps(samples);
  const rate = (name: string, key: 'bytes_recv' | 'bytes_sent'): Values =>
    points.map(({ time, sample }, index) => {
      const before = points[index - 1];
      const now = sample?.net_io?.find((entry) => entry.name === name);
      const past = before?.sample?.net_io?.find((entry) => entry.name === name);
      if (now === undefined || past === undefined || before === undefined) return null;
      const bytes = now[key] - past[key];
      return bytes < 0 ? null : (bytes * 8) / 1e6 / Math.max(0.001, time - before.time);
    });
  return {
    times: points.map((point) => point.time),
    series: names.flatMap((name) => [
      { label: `${name} in`, values: rate(name, 'bytes_recv') },
      { label: `${name} out`, values: rate(name, 'bytes_sent') },
    ]),
  };
}
