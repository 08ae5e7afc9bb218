/**
 * The yard: what every model did over the last hour, as lanes of spans and counts.
 *
 * Pure: the server's answer and the live messages go in, lanes in milliseconds come out.
 */
import type { ModelState, StateChange, WaitingChange, Yard, YardLane } from '../api/types';

export const hour = 3_600_000;

export const windows = { '5m': 300_000, '15m': 900_000, '1h': hour } as const;
export type WindowName = keyof typeof windows;

/** The smallest window that holds everything that is known, with a little room. */
export function fittingWindow(lanes: Lane[], now: number): WindowName {
  const first = Math.min(now, ...lanes.flatMap((lane) => lane.spans.slice(0, 1).map((span) => span.from)));
  return now - first < 285_000 ? '5m' : now - first < 870_000 ? '15m' : '1h';
}

export interface Span {
  state: ModelState;
  from: number;
  /** Null while it lasts. */
  to: number | null;
  reason: string;
}

export interface Count {
  at: number;
  count: number;
  reason: string;
}

export interface Lane {
  model: string;
  spans: Span[];
  serving: Count[];
  waiting: Count[];
}

/** The server's lanes in this browser's time; `skew` is local time minus server time. */
export function lanesFrom(yard: Yard, localNow: number): Lane[] {
  const skew = localNow - Date.parse(yard.now);
  const at = (value: string): number => Date.parse(value) + skew;
  return yard.lanes.map((lane: YardLane) => ({
    model: lane.model,
    spans: lane.spans.map((span) => ({
      state: span.state,
      from: at(span.from),
      to: span.to === null ? null : at(span.to),
      reason: span.reason,
    })),
    serving: lane.serving.map((entry) => ({ at: at(entry.at), count: entry.count, reason: '' })),
    waiting: lane.waiting.map((entry) => ({ at: at(entry.at), count: entry.count, reason: entry.reason })),
  }));
}

function change(lanes: Lane[], model: string, update: (lane: Lane) => Lane): Lane[] {
  const known = lanes.some((lane) => lane.model === model);
  const all = known ? lanes : [...lanes, { model, spans: [], serving: [], waiting: [] }];
  return all.map((lane) => (lane.model === model ? update(lane) : lane));
}

export function withState(lanes: Lane[], event: Pick<StateChange, 'model' | 'new' | 'reason'>, now: number): Lane[] {
  return change(lanes, event.model, (lane) => {
    const last = lane.spans.at(-1);
    if (last !== undefined && last.to === null && last.state === event.new) return lane;
    const closed = lane.spans.map((span) => (span.to === null ? { ...span, to: now } : span));
    return { ...lane, spans: [...closed, { state: event.new, from: now, to: null, reason: event.reason }] };
  });
}

function withCount(counts: Count[], at: number, count: number, reason: string): Count[] {
  if ((counts.at(-1)?.count ?? 0) === count) return counts;
  return [...counts, { at, count, reason }];
}

export function withWaiting(lanes: Lane[], event: WaitingChange, now: number): Lane[] {
  return change(lanes, event.model, (lane) => ({
    ...lane,
    waiting: withCount(lane.waiting, now, event.count, event.reason),
  }));
}

/** `counts` holds only models with requests; all others serve none. */
export function withServing(lanes: Lane[], counts: Map<string, number>, now: number): Lane[] {
  return lanes.map((lane) => {
    const serving = withCount(lane.serving, now, counts.get(lane.model) ?? 0, '');
    return serving === lane.serving ? lane : { ...lane, serving };
  });
}

/** Drops what ended before `from`; the entry that still holds at `from` stays. */
export function trimmed(lanes: Lane[], from: number): Lane[] {
  const cut = (counts: Count[]): Count[] => {
    const first = counts.findIndex((entry) => entry.at >= from);
    return first <= 1 ? counts : counts.slice(first - 1);
  };
  return lanes.map((lane) => ({
    ...lane,
    spans: lane.spans.filter((span) => span.to === null || span.to > from),
    serving: cut(lane.serving),
    waiting: cut(lane.waiting),
  }));
}

/**
 * Which lanes stand where: busy ones first, quiet ones as long as there is room, and nobody moves once there.  A model
 * that becomes busy takes the place of the last quiet one.
 */
export function arranged(before: string[], models: string[], busy: Set<string>, room: number): string[] {
  const places = before.filter((model) => models.includes(model));
  const missing = models.filter((model) => !places.includes(model));
  for (const model of missing.filter((entry) => busy.has(entry))) {
    const free = places.length < room ? -1 : places.findLastIndex((entry) => !busy.has(entry));
    if (free < 0) places.push(model);
    else places[free] = model;
  }
  for (const model of models) if (places.length < room && !places.includes(model)) places.push(model);
  return places;
}

export interface Interval {
  from: number;
  to: number;
  count: number;
  reason: string;
}

/** Stepwise counts as intervals with more than none, cut to the window. */
export function intervals(counts: Count[], from: number, to: number): Interval[] {
  const out: Interval[] = [];
  counts.forEach((entry, index) => {
    const end = Math.min(counts[index + 1]?.at ?? to, to);
    const start = Math.max(entry.at, from);
    if (entry.count > 0 && end > start) out.push({ from: start, to: end, count: entry.count, reason: entry.reason });
  });
  return out;
}

export interface Swap {
  at: number;
  model: string;
  what: 'loaded' | 'loading' | 'unloaded' | 'failed';
  reason: string;
  /** Seconds of loading, where a load ended. */
  seconds: number | null;
}

/** Loads and unloads, newest first: the sentence behind every change of the picture. */
export function swaps(lanes: Lane[]): Swap[] {
  const out: Swap[] = [];
  for (const { model, spans } of lanes) {
    spans.forEach((span, index) => {
      const next = spans[index + 1];
      if (span.state === 'starting') {
        const seconds = span.to === null ? null : (span.to - span.from) / 1000;
        const failed = span.to !== null && next !== undefined && next.state !== 'ready';
        const what = span.to === null ? 'loading' : failed ? 'failed' : 'loaded';
        out.push({ at: span.from, model, what, reason: (failed && next?.reason) || span.reason, seconds });
      } else if (span.state === 'stopping') {
        out.push({ at: span.from, model, what: 'unloaded', reason: span.reason, seconds: null });
      } else if (span.state === 'stopped' && span.reason !== '') {
        const before = spans[index - 1]?.state;
        if (before === 'ready') out.push({ at: span.from, model, what: 'failed', reason: span.reason, seconds: null });
      }
    });
  }
  return out.sort((a, b) => b.at - a.at);
}

/** One sentence that says why the machine is busy, or that it is not. */
export function summary(lanes: Lane[], now: number): string {
  const parts: { rank: number; text: string }[] = [];
  const add = (rank: number, text: string): void => void parts.push({ rank, text });
  for (const lane of lanes) {
    const state = lane.spans.at(-1);
    const serving = lane.serving.at(-1)?.count ?? 0;
    const waiting = lane.waiting.at(-1);
    if (state?.state === 'starting') {
      add(0, `loading ${lane.model} for ${Math.max(0, Math.round((now - state.from) / 1000))} s`);
    } else if (state?.state === 'stopping') add(1, `${lane.model} is draining`);
    else if (state?.state === 'ready' && serving > 0) {
      add(2, `${lane.model} serves ${serving} ${serving === 1 ? 'request' : 'requests'}`);
    }
    if (waiting !== undefined && waiting.count > 0) {
      const why = waiting.reason === '' ? '' : ` (${waiting.reason})`;
      add(3, `${waiting.count} ${waiting.count === 1 ? 'waits' : 'wait'} for ${lane.model}${why}`);
    }
  }
  const sorted = parts.sort((a, b) => a.rank - b.rank).map((part) => part.text);
  return sorted.join(' · ');
}
