/** The one event stream: connects, parses, notices silence, and connects again. */
import { ApiError, call } from './http';
import { readEvents } from './sse';
import type { EventMessage } from './types';

export type Link = 'connecting' | 'connected' | 'disconnected';

export interface StreamHandlers {
  link(state: Link, detail: { reason?: string; retryAt?: number }): void;
  message(message: EventMessage): void;
}

/** Milliseconds before the n-th attempt in a row (from 0), with jitter so that many tabs do not return at once. */
export function retryDelay(attempt: number, random: () => number = Math.random): number {
  const base = [500, 1000, 2000, 4000][attempt] ?? 5000;
  return Math.min(5000, base * (0.8 + 0.4 * random()));
}

/** An envelope as parsed message; null when it is not one, because one bad message must not stop the others. */
export function parseMessage(text: string): EventMessage | null {
  try {
    const envelope = JSON.parse(text) as { type?: unknown; data?: unknown };
    if (typeof envelope.type !== 'string') return null;
    const data: unknown = typeof envelope.data === 'string' ? JSON.parse(envelope.data) : envelope.data;
    if (data === null || data === undefined) return null;
    return { type: envelope.type, data } as EventMessage;
  } catch {
    return null;
  }
}

const silenceMs = 10_000;
const probeMs = 3_000;

export class EventStream {
  private attempt = 0;
  private abort: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private watch: ReturnType<typeof setInterval> | undefined;
  private lastByteAt = 0;
  private stopped = false;

  constructor(private readonly handlers: StreamHandlers) {}

  start(): void {
    this.stopped = false;
    addEventListener('online', this.retryNow);
    addEventListener('offline', this.lost);
    void this.connect();
  }

  stop(): void {
    this.stopped = true;
    removeEventListener('online', this.retryNow);
    removeEventListener('offline', this.lost);
    clearTimeout(this.timer);
    clearInterval(this.watch);
    this.abort?.abort();
  }

  retryNow = (): void => {
    clearTimeout(this.timer);
    if (!this.stopped) void this.connect();
  };

  private lost = (): void => {
    this.abort?.abort();
  };

  private async connect(): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.handlers.link('connecting', {});
    let why = 'the server closed the event stream';
    try {
      // The page reads logs from their own streams, and only while they are on screen.
      const response = await call('/api/events?without=logData', {
        signal: abort.signal,
        headers: { Accept: 'text/event-stream' },
      });
      this.attempt = 0;
      this.lastByteAt = Date.now();
      this.handlers.link('connected', {});
      this.watchSilence(abort);
      if (response.body !== null) {
        for await (const events of readEvents(response.body)) {
          this.lastByteAt = Date.now();
          for (const event of events) {
            const message = parseMessage(event.data);
            if (message !== null) this.deliver(message);
          }
        }
      }
    } catch (error) {
      if (error instanceof ApiError) {
        why = error.message;
        if (error.status === 401) this.stopped = true;
      } else if (abort.signal.aborted) why = 'the server stopped answering';
    }
    if (this.abort !== abort) return;
    clearInterval(this.watch);
    if (this.stopped) return;
    const delay = retryDelay(this.attempt++);
    this.handlers.link('disconnected', { reason: why, retryAt: Date.now() + delay });
    this.timer = setTimeout(() => void this.connect(), delay);
  }

  private deliver(message: EventMessage): void {
    try {
      this.handlers.message(message);
    } catch (error) {
      console.error('event could not be handled', message.type, error);
    }
  }

  /** A stream may be quiet because nothing happens or because the network is gone: ask, cheaply and unlogged. */
  private watchSilence(abort: AbortController): void {
    clearInterval(this.watch);
    this.watch = setInterval(() => {
      if (document.hidden || Date.now() - this.lastByteAt < silenceMs) return;
      this.lastByteAt = Date.now();
      fetch('/wol-health', { signal: AbortSignal.timeout(probeMs), cache: 'no-store' }).catch(() => {
        if (this.abort === abort) abort.abort();
      });
    }, 2_000);
  }
}
