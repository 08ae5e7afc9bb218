/**
 * Every shape that the server sends, written by hand in this one file so that it can be replaced by types generated
 * from the OpenAPI document.  Members marked optional may be missing on other gateways that speak the same API.
 */

/** RFC 3339 instant. */
export type Instant = string;

export type ModelState = 'stopped' | 'starting' | 'ready' | 'stopping' | 'shutdown' | 'unknown' | '';

export interface Capabilities {
  vision?: boolean;
  audio_transcriptions?: boolean;
  audio_speech?: boolean;
  image_generation?: boolean;
  image_to_image?: boolean;
  function_calling?: boolean;
  reranker?: boolean;
}

/** An entry of the `modelStatus` message. */
export interface ModelStatus {
  id: string;
  name: string;
  description: string;
  state: ModelState;
  unlisted: boolean;
  peerID: string;
  aliases?: string[];
  capabilities?: Capabilities;
  context_length?: number;
}

export interface ModelMemory {
  resident_bytes: number | null;
  /** Bytes by GPU uuid. */
  gpu: Record<string, number>;
}

/** An entry of `GET /api/models`. */
export interface ModelDetail extends ModelStatus {
  cmd?: string;
  proxy?: string;
  port?: number | null;
  pid?: number | null;
  since?: Instant | null;
  /** Seconds of idleness after which the model is unloaded; 0 is never. */
  ttl?: number;
  idle_deadline?: Instant | null;
  in_flight?: number;
  waiting?: number;
  waiting_reasons?: string[];
  memory?: ModelMemory | null;
  /** Duration of the last load. */
  load_seconds?: number | null;
  last_error?: string | null;
}

/** An entry of `GET /running`, the older sibling of `GET /api/models`. */
export interface RunningModel {
  model: string;
  state: ModelState;
  cmd: string;
  proxy: string;
  ttl: number;
  name: string;
  description: string;
}

export type ListedKind = 'model' | 'alias' | 'peer' | 'selector' | 'profile';

/** A record of `GET /v1/models`. */
export interface ListedModel {
  id: string;
  name?: string;
  description?: string;
  capabilities?: Capabilities;
  context_length?: number;
  meta?: {
    llamaswap?: {
      type?: ListedKind;
      aliases?: string[];
      modelID?: string;
      peerID?: string;
      strategy?: string;
      targets?: string[];
      spillover?: number;
      [key: string]: unknown;
    };
    n_ctx?: number;
  };
  status?: { value: 'loaded' | 'unloaded' };
}

export interface Tokens {
  cache_tokens: number;
  draft_tokens: number;
  draft_acc_tokens: number;
  input_tokens: number;
  output_tokens: number;
  /** Tokens per second; negative is unknown. */
  prompt_per_second: number;
  tokens_per_second: number;
}

/** Times in milliseconds; those to the first byte and token count from the arrival. */
export interface Timings {
  queue_ms?: number | null;
  load_ms?: number | null;
  relay_ms?: number | null;
  ttfb_ms?: number | null;
  first_token_ms?: number | null;
  wait_reason?: string | null;
  requested_model?: string;
  key?: string | null;
  session?: string | null;
  request_id?: string | null;
  arrived_at?: Instant;
  resp_bytes?: number;
  /** The speeds were worked out from the gateway's own clock, because the engine reported none. */
  rates_measured?: boolean;
}

/** A finished request. */
export interface ActivityRow extends Timings {
  id: number;
  /** The end of the request. */
  timestamp: Instant;
  model: string;
  req_path: string;
  resp_content_type: string;
  resp_status_code: number;
  tokens: Tokens;
  duration_ms: number;
  has_capture: boolean;
  error_msg?: string;
  metadata?: Record<string, string>;
  details?: Timings & {
    first_byte_ms?: number | null;
    measured_tokens_per_second?: number | null;
    measured_prompt_per_second?: number | null;
  };
}

export interface ActivityPage {
  data: ActivityRow[];
  page: number;
  limit: number;
  total: number;
  total_pages: number;
}

export interface Histogram {
  bins: number[];
  min: number;
  max: number;
  binSize: number;
  p50: number;
  p95: number;
  p99: number;
}

export interface ActivityStats {
  total_requests: number;
  total_input_tokens: number;
  total_output_tokens: number;
  total_cache_tokens: number;
  prompt_histogram: Histogram | null;
  gen_histogram: Histogram | null;
}

export interface Capture {
  id: number;
  req_path: string;
  req_headers: Record<string, string> | null;
  /** Base64, or null when it was not kept. */
  req_body: string | null;
  resp_headers: Record<string, string> | null;
  resp_body: string | null;
}

/** A request that is being served or waits. */
export interface Inflight {
  id: string;
  timestamp: Instant;
  model: string;
  req_path: string;
  method: string;
  req_headers: Record<string, string>;
  remote_ip: string;
  resp_headers: Record<string, string>;
  resp_bytes: number;
  elapsed_ms: number;
  metadata?: Record<string, string>;
  wait_reason?: string | null;
}

export type InflightMessage =
  | { operation: 'snapshot'; requests?: Inflight[] }
  | { operation: 'upsert'; request: Inflight }
  | { operation: 'remove'; id: string };

export interface Profile {
  id: string;
  description: string;
  /** Requested name to replacement; an empty replacement is a disabled name. */
  pins: Record<string, string>;
}

export interface Profiles {
  active: string | null;
  profiles: Profile[];
}

export interface UiConfig {
  activity: { session_id: string[] };
}

export interface StateChange {
  model: string;
  old: ModelState;
  new: ModelState;
  reason: string;
  at: Instant | number;
}

export interface WaitingChange {
  model: string;
  count: number;
  reason: string;
  at?: Instant | number;
}

/** A message of `GET /api/events` with its data parsed. */
export type EventMessage =
  | { type: 'modelStatus'; data: ModelStatus[] }
  | { type: 'logData'; data: { source: 'proxy' | 'upstream'; data: string } }
  | { type: 'activity'; data: { id: number } }
  | { type: 'inflight'; data: InflightMessage }
  | { type: 'uiConfig'; data: UiConfig }
  | { type: 'profileChanged'; data: { active: string | null } }
  | { type: 'stateChanged'; data: StateChange }
  | { type: 'waiting'; data: WaitingChange }
  | { type: 'configReloaded'; data: { error: string | null } }
  | { type: 'modelPreloaded'; data: { model: string; success: boolean } }
  /** Messages were lost because this reader was too slow; models and requests follow anew. */
  | { type: 'gap'; data: { lost: number } };

/** What a reload of the configuration did. */
export interface Reload {
  changed: string[];
  warnings: string[];
}

export interface YardSpan {
  state: ModelState;
  from: Instant;
  to: Instant | null;
  reason: string;
}

export interface YardCount {
  at: Instant;
  count: number;
}

export interface YardLane {
  model: string;
  spans: YardSpan[];
  serving: YardCount[];
  waiting: (YardCount & { reason?: string })[];
}

/** `GET /api/yard`: the last hour, one lane per model. */
export interface Yard {
  now: Instant;
  lanes: YardLane[];
}

export interface SysSample {
  timestamp: Instant;
  cpu_util_per_core: number[];
  mem_total_mb: number;
  mem_used_mb: number;
  mem_free_mb: number;
  swap_total_mb: number;
  swap_used_mb: number;
  load_avg_1: number;
  load_avg_5: number;
  load_avg_15: number;
  net_io: { name: string; bytes_recv: number; bytes_sent: number }[] | null;
}

export interface GpuSample {
  timestamp: Instant;
  id: number;
  name: string;
  uuid: string;
  temp_c: number | null;
  vram_temp_c: number | null;
  gpu_util_pct: number | null;
  mem_util_pct: number | null;
  mem_used_mb: number | null;
  mem_total_mb: number | null;
  fan_speed_pct: number | null;
  power_draw_w: number | null;
}

export interface Performance {
  enabled: boolean;
  sys_stats: SysSample[] | null;
  gpu_stats: GpuSample[] | null;
}

export interface Hardware {
  schema_version: number;
  captured_at: Instant;
  architecture: { name: string; raw_name: string | null };
  operating_system: {
    family: string;
    name: string | null;
    version: string | null;
    kernel: string | null;
    raw_family?: string;
  };
  environment: { kind: string; name: string | null; version: string | null };
  cpu: {
    vendor: string | null;
    model: string | null;
    socket_count: number | null;
    physical_core_count: number | null;
    logical_thread_count: number | null;
  };
  memory: { capacity_bytes: number };
  accelerators: Accelerator[];
}

export interface Accelerator {
  index: number;
  kind: string;
  raw_kind?: string;
  vendor: string | null;
  model: string | null;
  architecture: string | null;
  memory: { kind: string; capacity_bytes: number | null };
  driver: { name: string | null; version: string | null } | null;
  power_limit_watts: number | null;
}

export interface Version {
  version: string;
  commit: string;
  build_date: string;
}
