/**
 * Names for what the server sends.  The shapes come from `schema.d.ts`, which `make types` generates from the server's
 * own OpenAPI document; this file adds only names, and what the page makes of a shape before it uses it.
 */
import type { components, paths } from './schema';

type Schemas = components['schemas'];

/** Paths whose GET answers with JSON. */
export type JsonPath = {
  [P in keyof paths]: paths[P] extends { get: { responses: { 200: { content: { 'application/json': unknown } } } } } ? P : never;
}[keyof paths];

/** What `GET path` answers. */
export type Answer<P extends JsonPath> = paths[P] extends {
  get: { responses: { 200: { content: { 'application/json': infer Body } } } };
}
  ? Body
  : never;

export type ModelStatus = Schemas['ModelStatus'];
/** Everything beyond the status is missing in a peer's model, and on gateways without `GET /api/models`. */
export type ModelDetail = Schemas['Model'];
export type RunningModel = Schemas['RunningModel'];
export type ListedModel = Schemas['ModelRecord'];
export type Capabilities = Schemas['Capabilities'];

export type Capture = Schemas['Capture'];
export type Histogram = Schemas['Histogram'];
export type RecordedRow = Schemas['ActivityRow'];

/** A finished request with its details beside its other members; without details, nobody measured them. */
export type ActivityRow = Omit<RecordedRow, 'details'> &
  Partial<Schemas['ActivityDetails']> & {
    /** The speeds were worked out from the gateway's own clock, because the engine reported none. */
    rates_measured?: boolean;
  };
export type ActivityPage = Omit<Schemas['ActivityPage'], 'data'> & { data: ActivityRow[] };

/** Other gateways tell no details. */
export type Inflight = Omit<Schemas['InflightRequest'], 'details'> & { details?: Schemas['InflightDetails'] };
export type Profiles = Schemas['Profiles'];
export type Reload = Schemas['Reload'];
export type Version = Schemas['Version'];

export type Yard = Schemas['YardPicture'];
export type YardLane = Schemas['YardLane'];
export type ModelState = Schemas['YardSpan']['state'];

export type SysSample = Schemas['SystemSample'];
export type GpuSample = Schemas['GpuSample'];
export type Hardware = Schemas['Hardware'];

type Events = Schemas['Events'];
export type InflightMessage =
  | { operation: 'snapshot'; requests?: Inflight[] }
  | { operation: 'upsert'; request: Inflight }
  | Extract<Events['inflight'], { operation: 'remove' }>;
export type StateChange = Events['stateChanged'];
export type WaitingChange = Events['waiting'];

/** A message of `GET /api/events` with its data parsed. */
export type EventMessage = { [Type in keyof Events]: { type: Type; data: Events[Type] } }[keyof Events];
