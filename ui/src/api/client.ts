/** The control plane as functions, one for each thing that the page asks of the server. */
import { ApiError, call, getJson } from './http';
import type {
  ActivityPage,
  ActivityRow,
  Answer,
  Capture,
  JsonPath,
  ListedModel,
  RecordedRow,
  Reload,
  RunningModel,
} from './types';

const segment = encodeURIComponent;

/** The path of a model's own web page; the fixed ComfyUI model has an address of its own. */
export function upstreamPath(model: string): string {
  return model === 'comfyui_auto' ? '/comfyui/' : `/upstream/${segment(model)}/`;
}

/** Absent on other gateways: null then, so that the caller can fall back. */
async function orNull<T>(promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 405)) return null;
    throw error;
  }
}

/** What the server's document says that a path answers; `query` begins with "?" or is empty. */
function get<P extends JsonPath>(path: P, query = '', signal?: AbortSignal): Promise<Answer<P>> {
  return getJson<Answer<P>>(path + query, signal);
}

export const version = (): Promise<Answer<'/api/version'>> => get('/api/version');
export const modelDetails = (): Promise<Answer<'/api/models'> | null> => orNull(get('/api/models'));
export const running = async (): Promise<RunningModel[]> => (await get('/running')).running;
export const yard = (): Promise<Answer<'/api/yard'> | null> => orNull(get('/api/yard'));
export const listedModels = async (): Promise<ListedModel[]> => (await get('/v1/models')).data;

export const profiles = (): Promise<Answer<'/api/profiles'>> => get('/api/profiles');
export async function selectProfile(name: string | null): Promise<void> {
  await call('/api/profiles/active', {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name }),
  });
}

/** Loads a model and resolves when it is ready; on gateways without the route, any request to it does the same. */
export async function loadModel(model: string, signal: AbortSignal): Promise<void> {
  const answer = await orNull(call(`/api/models/load/${segment(model)}`, { method: 'POST', signal }));
  if (answer === null) await call(`${upstreamPath(model)}?_=${Date.now()}`, { signal });
}
export async function unloadModel(model: string): Promise<void> {
  await call(`/api/models/unload/${segment(model)}`, { method: 'POST' });
}
export async function unloadAll(): Promise<void> {
  await call('/api/models/unload', { method: 'POST' });
}
export async function keepModel(model: string): Promise<void> {
  await call(`/api/models/keep/${segment(model)}`, { method: 'POST' });
}
export async function cancelInflight(id: string): Promise<void> {
  await call(`/api/inflight/${segment(id)}/cancel`, { method: 'POST' });
}
export async function reloadConfig(): Promise<Reload> {
  return (await (await call('/api/config/reload', { method: 'POST' })).json()) as Reload;
}

export interface ActivityParams {
  models?: string[];
  start?: string;
  end?: string;
  minId?: number;
  maxId?: number;
  /** Codes and classes such as "5xx". */
  statuses?: string[];
  paths?: string[];
  keys?: string[];
  sessions?: string[];
  text?: string;
  limit?: number;
  page?: number;
}

export async function activity(params: ActivityParams, signal?: AbortSignal): Promise<ActivityPage> {
  const query = new URLSearchParams();
  const { models, statuses, paths, keys, sessions } = params;
  const lists = { model: models, status: statuses, path: paths, key: keys, session: sessions };
  for (const [name, values] of Object.entries(lists)) for (const value of values ?? []) query.append(name, value);
  if (params.text) query.set('q', params.text);
  if (params.start !== undefined) query.set('start', params.start);
  if (params.end !== undefined) query.set('end', params.end);
  if (params.minId !== undefined) query.set('min_id', String(params.minId));
  if (params.maxId !== undefined) query.set('max_id', String(params.maxId));
  query.set('limit', String(params.limit ?? 999));
  query.set('page', String(params.page ?? 1));
  const page = await get('/api/metrics/activity', `?${query}`, signal);
  return { ...page, data: page.data.map(flat) };
}

/** One flat row; speeds that the engine did not report are those that the gateway measured. */
function flat({ details, ...row }: RecordedRow): ActivityRow {
  if (details === undefined) return row;
  const tokens = { ...row.tokens };
  const rates_measured = tokens.tokens_per_second <= 0 && details.measured_tokens_per_second !== null;
  if (tokens.tokens_per_second <= 0) tokens.tokens_per_second = details.measured_tokens_per_second ?? tokens.tokens_per_second;
  if (tokens.prompt_per_second <= 0) tokens.prompt_per_second = details.measured_prompt_per_second ?? tokens.prompt_per_second;
  return { ...row, ...details, tokens, rates_measured };
}

/** One finished request, or null when its row is gone. */
export async function activityRow(id: number): Promise<ActivityRow | null> {
  return (await activity({ minId: id, maxId: id, limit: 1 })).data[0] ?? null;
}

export const stats = (model?: string): Promise<Answer<'/api/metrics/stats'>> =>
  get('/api/metrics/stats', model === undefined ? '' : `?model=${segment(model)}`);
export const capture = (id: number): Promise<Capture | null> => orNull(getJson(`/api/captures/${id}`));
export const hardware = (): Promise<Answer<'/api/hardware'>> => get('/api/hardware');

/** Samples later than `after`; null when monitoring is switched off. */
export async function performance(after?: string): Promise<Answer<'/api/performance'> | null> {
  try {
    const query = after === undefined ? '' : `?after=${segment(after)}`;
    const answer = await get('/api/performance', query);
    return answer.enabled ? answer : null;
  } catch (error) {
    if (error instanceof ApiError && error.status === 503) return null;
    throw error;
  }
}

/** A log's history and everything that is written to it until `signal` aborts, as pieces of text. */
export async function* logStream(source: string, signal: AbortSignal): AsyncGenerator<string> {
  const path = source === '' ? '/logs/stream' : `/logs/stream/${segment(source)}`;
  const response = await call(path, { signal, headers: { Accept: 'text/plain' } });
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

export async function logHistory(): Promise<string> {
  return (await call('/logs', { headers: { Accept: 'text/plain' } })).text();
}
