/** Requests in flight: applying the stream's messages and reading a running clock off them. */
import type { Inflight, InflightMessage } from '../api/types';

export interface Tracked {
  request: Inflight;
  /** Local time at which the request began, from the server's elapsed value: no trust in equal clocks needed. */
  startedAt: number;
}

export function applyInflight(map: Map<string, Tracked>, message: InflightMessage, now: number): void {
  switch (message.operation) {
    case 'snapshot': {
      const requests = message.requests ?? [];
      const ids = new Set(requests.map((request) => request.id));
      for (const id of [...map.keys()]) if (!ids.has(id)) map.delete(id);
      for (const request of requests) map.set(request.id, track(map.get(request.id), request, now));
      break;
    }
    case 'upsert':
      map.set(message.request.id, track(map.get(message.request.id), message.request, now));
      break;
    case 'remove':
      map.delete(message.id);
      break;
  }
}

function track(known: Tracked | undefined, request: Inflight, now: number): Tracked {
  const startedAt = now - request.elapsed_ms;
  // The smaller one is nearer to the truth: a message can only be late.
  return { request, startedAt: known === undefined ? startedAt : Math.min(known.startedAt, startedAt) };
}

/** Response headers have been sent, so an upstream answers; before that the request waits or its model loads. */
export function isAnswering(request: Inflight): boolean {
  return request.resp_bytes > 0 || Object.keys(request.resp_headers).length > 0;
}

/** What the gateway says that happens to the request; undefined on gateways that do not say it. */
export function toldPhase(request: Inflight): NonNullable<Inflight['details']>['phase'] | undefined {
  return request.details?.phase;
}

/**
 * The requests that are being served.  Where the gateway does not say it: by the number of leases that each model has
 * given out, of which the oldest requests of a model hold one each.  Bytes alone tell nothing, because the gateway may be writing to those that wait.
 */
export function leaseHolders(oldestFirst: Tracked[], leases: (model: string) => number | undefined): Set<string> {
  const left = new Map<string, number>();
  const out = new Set<string>();
  for (const { request } of oldestFirst) {
    const told = toldPhase(request);
    if (told !== undefined) {
      if (told === 'relaying') out.add(request.id);
      continue;
    }
    const free = left.get(request.model) ?? leases(request.model);
    if (free === undefined ? isAnswering(request) : free > 0) out.add(request.id);
    if (free !== undefined) left.set(request.model, free - 1);
  }
  return out;
}

export function countByModel(tracked: Iterable<Tracked>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { request } of tracked) counts.set(request.model, (counts.get(request.model) ?? 0) + 1);
  return counts;
}
