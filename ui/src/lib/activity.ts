/** The activity explorer without its page: filters and their address, matching, facets, sums, order. */
import type { ActivityRow } from '../api/types';
import { mean, percentile, sortedNumbers } from './stats';

export interface Filter {
  models: string[];
  /** Classes ("ok", "4xx", "5xx") or exact codes. */
  statuses: string[];
  paths: string[];
  keys: string[];
  sessions: string[];
  text: string;
  /** "15m", "1h", …; empty when `from` and `to` say it, or nothing. */
  last: string;
  /** Milliseconds since the epoch. */
  from: number | null;
  to: number | null;
  minId: number | null;
  maxId: number | null;
  minTokens: number | null;
  maxTokens: number | null;
  minSeconds: number | null;
  maxSeconds: number | null;
  /** Only requests that waited in line or for a load. */
  waited: boolean;
}

export const lastChoices: Record<string, number> = {
  '15m': 900_000,
  '1h': 3_600_000,
  '6h': 21_600_000,
  '24h': 86_400_000,
  '7d': 604_800_000,
};

export function readFilter(query: URLSearchParams): Filter {
  const list = (name: string): string[] => query.getAll(name).flatMap((value) => value.split(',')).filter(Boolean);
  const number = (name: string): number | null => {
    const text = query.get(name);
    const value = text === null || text === '' ? NaN : Number(text);
    return Number.isFinite(value) && value >= 0 ? value : null;
  };
  const instant = (name: string): number | null => {
    const value = Date.parse(query.get(name) ?? '');
    return Number.isNaN(value) ? null : value;
  };
  const last = query.get('last') ?? '';
  return {
    models: list('model'),
    statuses: list('status'),
    paths: list('path'),
    keys: list('key'),
    sessions: list('session'),
    text: query.get('q') ?? '',
    last: last in lastChoices ? last : '',
    from: instant('from'),
    to: instant('to'),
    minId: number('min_id'),
    maxId: number('max_id'),
    minTokens: number('min_tokens'),
    maxTokens: number('max_tokens'),
    minSeconds: number('min_s'),
    maxSeconds: number('max_s'),
    waited: query.get('waited') === '1',
  };
}

/** The query parameters of a filter; null removes one from the address. */
export function writeFilter(filter: Partial<Filter>): Record<string, string | null> {
  const out: Record<string, string | null> = {};
  const list = (name: string, values: string[] | undefined): void => {
    if (values !== undefined) out[name] = values.length > 0 ? values.join(',') : null;
  };
  const value = (name: string, entry: number | string | null | undefined): void => {
    if (entry !== undefined) out[name] = entry === null || entry === '' ? null : String(entry);
  };
  const instant = (name: string, entry: number | null | undefined): void => {
    if (entry !== undefined) out[name] = entry === null ? null : new Date(entry).toISOString().replace('.000', '');
  };
  list('model', filter.models);
  list('status', filter.statuses);
  list('path', filter.paths);
  list('key', filter.keys);
  list('session', filter.sessions);
  value('q', filter.text);
  value('last', filter.last);
  instant('from', filter.from);
  instant('to', filter.to);
  value('min_id', filter.minId);
  value('max_id', filter.maxId);
  value('min_tokens', filter.minTokens);
  value('max_tokens', filter.maxTokens);
  value('min_s', filter.minSeconds);
  value('max_s', filter.maxSeconds);
  if (filter.waited !== undefined) out['waited'] = filter.waited ? '1' : null;
  return out;
}

/** The part of a filter that the server can apply to everything it has kept. */
export function serverPart(filter: Filter): Pick<Filter, 'models' | 'paths' | 'keys' | 'sessions' | 'text'> & {
  statuses: string[];
  minId?: number;
  maxId?: number;
} {
  const { models, paths, keys, sessions, text, minId, maxId } = filter;
  const classes: Record<string, string[]> = { ok: ['2xx', '3xx'], other: ['0xx', '1xx'] };
  return {
    models, paths, keys, sessions, text,
    statuses: filter.statuses.flatMap((status) => classes[status] ?? [status]),
    ...(minId === null ? {} : { minId: Math.max(1, minId) }),
    ...(maxId === null ? {} : { maxId: Math.max(1, maxId) }),
  };
}

export const noFilter: Filter = readFilter(new URLSearchParams());

/** Ranges the wrong way round, in words; null when all is well. */
export function contradiction(filter: Filter): string | null {
  const wrong = (a: number | null, b: number | null): boolean => a !== null && b !== null && a > b;
  if (wrong(filter.minId, filter.maxId)) return `the first ID (${filter.minId}) is after the last (${filter.maxId})`;
  if (wrong(filter.from, filter.to)) return 'the beginning is after the end';
  if (wrong(filter.minTokens, filter.maxTokens)) return 'the smallest number of tokens is above the largest';
  if (wrong(filter.minSeconds, filter.maxSeconds)) return 'the shortest duration is above the longest';
  return null;
}

export function endOf(row: ActivityRow): number {
  return Date.parse(row.timestamp);
}

export function statusClass(code: number): 'ok' | '4xx' | '5xx' | 'other' {
  if (code >= 200 && code < 400) return 'ok';
  if (code >= 400 && code < 500) return '4xx';
  return code >= 500 ? '5xx' : 'other';
}

export function isFailed(row: ActivityRow): boolean {
  return row.resp_status_code >= 400 || (row.error_msg !== undefined && row.error_msg !== '');
}

/** Time before the upstream was asked: in line, and while the model loaded. */
export function waitedMs(row: ActivityRow): number {
  return (row.queue_ms ?? 0) + (row.load_ms ?? 0);
}

export function sessionOfRow(row: ActivityRow): string {
  return row.session ?? '';
}

function statusMatches(row: ActivityRow, wanted: string[]): boolean {
  const code = String(row.resp_status_code);
  return wanted.some((entry) => entry === code || entry === statusClass(row.resp_status_code));
}

type Facet = 'models' | 'statuses' | 'paths' | 'keys' | 'sessions';

/** Whether a row belongs to the result; `but` leaves one facet out, for counting what it could offer. */
export function matches(row: ActivityRow, filter: Filter, now: number, but?: Facet): boolean {
  if (but !== 'models' && filter.models.length > 0 && !filter.models.includes(row.model)) return false;
  if (but !== 'statuses' && filter.statuses.length > 0 && !statusMatches(row, filter.statuses)) return false;
  if (but !== 'paths' && filter.paths.length > 0 && !filter.paths.includes(row.req_path)) return false;
  if (but !== 'keys' && filter.keys.length > 0 && !filter.keys.includes(row.key ?? '')) return false;
  if (but !== 'sessions' && filter.sessions.length > 0 && !filter.sessions.includes(sessionOfRow(row))) return false;
  const { from, to } = timeRange(filter, now);
  const end = endOf(row);
  if ((from !== null && end < from) || (to !== null && end > to)) return false;
  if ((filter.minId !== null && row.id < filter.minId) || (filter.maxId !== null && row.id > filter.maxId)) return false;
  const tokens = row.tokens.input_tokens + row.tokens.output_tokens;
  if ((filter.minTokens !== null && tokens < filter.minTokens) || (filter.maxTokens !== null && tokens > filter.maxTokens))
    return false;
  const seconds = row.duration_ms / 1000;
  if (
    (filter.minSeconds !== null && seconds < filter.minSeconds) ||
    (filter.maxSeconds !== null && seconds > filter.maxSeconds)
  )
    return false;
  if (filter.waited && waitedMs(row) < 50) return false;
  return filter.text === '' || haystack(row).includes(filter.text.toLowerCase());
}

function haystack(row: ActivityRow): string {
  const metadata = Object.entries(row.metadata ?? {}).map(([name, value]) => `${name}=${value}`);
  return [
    row.id,
    row.model,
    row.req_path,
    row.resp_status_code,
    row.resp_content_type,
    row.error_msg,
    row.wait_reason,
    row.key,
    row.request_id,
    sessionOfRow(row),
    ...metadata,
  ]
    .join('\n')
    .toLowerCase();
}

export function timeRange(filter: Filter, now: number): { from: number | null; to: number | null } {
  if (filter.from !== null || filter.to !== null) return { from: filter.from, to: filter.to };
  const length = lastChoices[filter.last];
  return { from: length === undefined ? null : now - length, to: null };
}

/** How many rows each value would give, most first, counted over everything the other filters let through. */
export function facet(rows: ActivityRow[], filter: Filter, now: number, name: Facet): [string, number][] {
  const valueOf: Record<Facet, (row: ActivityRow) => string> = {
    models: (row) => row.model,
    statuses: (row) => statusClass(row.resp_status_code),
    paths: (row) => row.req_path,
    keys: (row) => row.key ?? '',
    sessions: sessionOfRow,
  };
  const counts = new Map<string, number>();
  const add = (value: string): void => void counts.set(value, (counts.get(value) ?? 0) + 1);
  for (const row of rows) {
    if (!matches(row, filter, now, name)) continue;
    add(valueOf[name](row));
    if (name === 'statuses') add(String(row.resp_status_code));
  }
  for (const chosen of filter[name]) if (!counts.has(chosen)) counts.set(chosen, 0);
  counts.delete('');
  return [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
}

export interface Sums {
  requests: number;
  failed: number;
  input: number;
  output: number;
  cached: number;
  /** Token-weighted tokens per second over rows with a known speed; NaN without any. */
  prefill: number;
  decode: number;
  p50: number;
  p95: number;
  firstP50: number;
  firstP95: number;
  waitP95: number;
}

export function sums(rows: ActivityRow[]): Sums {
  const weighted = (count: (row: ActivityRow) => number, speed: (row: ActivityRow) => number): number => {
    let tokens = 0;
    let seconds = 0;
    for (const row of rows) {
      if (count(row) > 0 && speed(row) > 0) {
        tokens += count(row);
        seconds += count(row) / speed(row);
      }
    }
    return seconds > 0 ? tokens / seconds : NaN;
  };
  const total = (count: (row: ActivityRow) => number): number =>
    rows.reduce((sum, row) => sum + Math.max(0, count(row)), 0);
  const durations = sortedNumbers(rows.map((row) => row.duration_ms));
  const first = sortedNumbers(rows.map((row) => row.first_token_ms));
  const waits = sortedNumbers(rows.map((row) => (row.queue_ms === undefined ? null : waitedMs(row))));
  return {
    requests: rows.length,
    failed: rows.filter(isFailed).length,
    input: total((row) => row.tokens.input_tokens),
    output: total((row) => row.tokens.output_tokens),
    cached: total((row) => row.tokens.cache_tokens),
    prefill: weighted((row) => row.tokens.input_tokens, (row) => row.tokens.prompt_per_second),
    decode: weighted((row) => row.tokens.output_tokens, (row) => row.tokens.tokens_per_second),
    p50: percentile(durations, 0.5),
    p95: percentile(durations, 0.95),
    firstP50: percentile(first, 0.5),
    firstP95: percentile(first, 0.95),
    waitP95: percentile(waits, 0.95),
  };
}

export type SortKey =
  | 'id' | 'time' | 'model' | 'path' | 'status' | 'type' | 'cached' | 'prompt' | 'generated' | 'drafted'
  | 'prefill' | 'decode' | 'first' | 'wait' | 'duration' | 'key' | 'session';

const sortValues: Record<SortKey, (row: ActivityRow) => number | string> = {
  id: (row) => row.id,
  time: endOf,
  model: (row) => row.model,
  path: (row) => row.req_path,
  status: (row) => row.resp_status_code,
  type: (row) => row.resp_content_type,
  cached: (row) => row.tokens.cache_tokens,
  prompt: (row) => row.tokens.input_tokens,
  generated: (row) => row.tokens.output_tokens,
  drafted: (row) => row.tokens.draft_tokens,
  prefill: (row) => row.tokens.prompt_per_second,
  decode: (row) => row.tokens.tokens_per_second,
  first: (row) => row.first_token_ms ?? -1,
  wait: waitedMs,
  duration: (row) => row.duration_ms,
  key: (row) => row.key ?? '',
  session: sessionOfRow,
};

/** A sorted copy; ties go by id in the same direction. */
export function sorted(rows: ActivityRow[], key: SortKey, descending: boolean): ActivityRow[] {
  const value = sortValues[key] ?? sortValues.id;
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const x = value(a);
    const y = value(b);
    return sign * (x < y ? -1 : x > y ? 1 : a.id - b.id);
  });
}

export interface Bucket {
  from: number;
  to: number;
  ok: number;
  failed: number;
}

/** Requests over time in equal buckets of a round length. */
export function buckets(rows: ActivityRow[], from: number, to: number, wanted = 60): Bucket[] {
  if (!(to > from)) return [];
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800];
  const exact = (to - from) / wanted / 1000;
  const size = (steps.find((step) => step >= exact) ?? Math.ceil(exact)) * 1000;
  const start = Math.floor(from / size) * size;
  const out: Bucket[] = [];
  for (let at = start; at <= to; at += size) out.push({ from: at, to: at + size, ok: 0, failed: 0 });
  for (const row of rows) {
    const bucket = out[Math.floor((endOf(row) - start) / size)];
    if (bucket !== undefined) bucket[isFailed(row) ? 'failed' : 'ok']++;
  }
  return out;
}

export function averageDuration(rows: ActivityRow[]): number {
  return mean(rows.map((row) => row.duration_ms));
}
