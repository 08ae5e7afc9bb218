/** What the event stream tells, kept as it was while the stream is away and replaced when it comes back. */
import { SvelteMap } from 'svelte/reactivity';
import * as api from '../api/client';
import { EventStream, type Link } from '../api/events';
import type { EventMessage, Inflight, ModelDetail, ModelStatus, Profiles } from '../api/types';
import { compareModels, mergeModels } from '../lib/models';
import { applyInflight, isAnswering, toldPhase, type Tracked } from '../lib/inflight';
import { link } from './route.svelte';
import { complain, say } from './toasts.svelte';
import { yardView } from './yard.svelte';

class Live {
  link = $state<Link>('connecting');
  /** Why the stream is away, and when the next attempt is made. */
  lostReason = $state('');
  retryAt = $state(0);
  /** When the stream was last known to be good; 0 before the first time. */
  goodAt = $state(0);
  /** False until the first model list has come: nothing is "empty" or "not found" before that. */
  loaded = $state(false);

  models = $state.raw<ModelDetail[]>([]);
  /** Null until asked; false when this gateway has no `GET /api/models`. */
  detailed = $state<boolean | null>(null);
  readonly inflight = new SvelteMap<string, Tracked>();
  sessionHeaders = $state.raw(['X-Session-ID', 'X-Litellm-Session-Id']);
  profiles = $state.raw<Profiles>({ active: null, profiles: [] });
  monitoring = $state<boolean | null>(null);
  /** Counts up with every finished request. */
  activityTick = $state(0);
  /** Counts up with every change of any model. */
  modelTick = $state(0);

  private status: ModelStatus[] = [];
  private details: ModelDetail[] | null = null;
  private profileRevision = 0;
  private detailTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly stream = new EventStream({
    link: (state, detail) => this.onLink(state, detail),
    message: (message) => this.onMessage(message),
  });

  start(): void {
    this.stream.start();
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.refreshDetails();
    });
    // What a loaded model occupies is measured now and then, and no event tells of it.
    setInterval(() => {
      if (this.link === 'connected' && this.local.some((model) => model.state !== 'stopped')) this.refreshDetails();
    }, 10_000);
  }

  retryNow(): void {
    this.stream.retryNow();
  }

  /** Connects anew after a log-in. */
  restart(): void {
    this.stream.stop();
    this.stream.start();
  }

  model(id: string): ModelDetail | undefined {
    return this.models.find((model) => model.id === id) ?? this.models.find((model) => model.aliases?.includes(id));
  }

  get local(): ModelDetail[] {
    return this.models.filter((model) => model.peerID === '');
  }

  get peers(): ModelDetail[] {
    return this.models.filter((model) => model.peerID !== '');
  }

  /** Everything not finished, oldest first. */
  get requests(): Tracked[] {
    return [...this.inflight.values()].sort(
      (a, b) => a.startedAt - b.startedAt || Number(a.request.id) - Number(b.request.id),
    );
  }

  private onLink(state: Link, detail: { reason?: string; retryAt?: number }): void {
    if (state === 'connected') {
      this.goodAt = Date.now();
      this.link = state;
      this.refreshDetails();
      void this.loadProfiles();
      void yardView.load();
      if (this.monitoring === null) {
        api.performance(new Date().toISOString()).then(
          (answer) => (this.monitoring = answer !== null),
          () => undefined,
        );
      }
      return;
    }
    if (this.link === 'connected') this.goodAt = Date.now();
    // The words "connecting" between two failed attempts would only flicker.
    if (state === 'disconnected' || this.goodAt === 0) this.link = state;
    if (detail.reason !== undefined) this.lostReason = detail.reason;
    this.retryAt = detail.retryAt ?? 0;
  }

  private onMessage(message: EventMessage): void {
    switch (message.type) {
      case 'modelStatus':
        this.status = message.data;
        this.loaded = true;
        this.merge();
        if (yardView.kept === false) yardView.statesSeen(this.status);
        this.refreshDetails();
        break;
      case 'inflight': {
        const before = this.phases();
        applyInflight(this.inflight, message.data, Date.now());
        if (!this.detailed) yardView.answering(this.inflight.values());
        // Most of these messages only count bytes, which changes nothing about any model.
        if (this.phases() !== before) this.refreshDetails();
        break;
      }
      case 'activity':
        this.activityTick++;
        break;
      case 'uiConfig':
        this.sessionHeaders = message.data.activity.session_id;
        break;
      case 'profileChanged':
        this.profileRevision++;
        this.profiles = { ...this.profiles, active: message.data.active };
        break;
      case 'stateChanged':
        yardView.stateChanged(message.data);
        this.refreshDetails();
        break;
      case 'waiting':
        yardView.waitingChanged(message.data);
        this.refreshDetails();
        break;
      case 'configReloaded':
        if (message.data.error === null) say('The configuration was reloaded', 'Models whose command did not change keep running.');
        else complain('The configuration was not reloaded', new Error(message.data.error), { href: '#/settings', label: 'Settings' });
        void this.loadProfiles();
        break;
      case 'modelPreloaded':
        if (!message.data.success) {
          const { model } = message.data;
          complain(`${model} was not preloaded`, new Error('it did not become ready'), {
            href: link(['models', model], { tab: 'log' }),
            label: 'Show its log',
          });
        }
        break;
      case 'gap':
        void yardView.load();
        this.activityTick++;
        break;
      case 'logData':
        break;
    }
  }

  /** Which requests there are, and which of them are being answered. */
  private phases(): string {
    return [...this.inflight.values()]
      .map(({ request }) => `${request.id}${toldPhase(request) ?? ''}${isAnswering(request) ? '!' : ''}`)
      .join();
  }

  private merge(): void {
    this.models = mergeModels(this.status, this.details).sort(compareModels);
    this.modelTick++;
  }

  /** Asks for the details again, soon, at most once a second. */
  refreshDetails(): void {
    if (this.detailed === false || this.detailTimer !== undefined || document.hidden) return;
    this.detailTimer = setTimeout(async () => {
      try {
        this.details = await api.modelDetails();
        this.detailed = this.details !== null;
        if (this.details === null) this.details = await runningAsDetails(this.status);
        else yardView.serving(new Map(this.details.map((model) => [model.id, model.in_flight ?? 0])));
        if (this.loaded) this.merge();
      } catch {
        // The banner tells that the server is away; the next event asks again.
      } finally {
        setTimeout(() => (this.detailTimer = undefined), 900);
      }
    }, 60);
  }

  private async loadProfiles(): Promise<void> {
    const before = this.profileRevision;
    try {
      const profiles = await api.profiles();
      // An event that came meanwhile is newer than this answer.
      if (before !== this.profileRevision) profiles.active = this.profiles.active;
      this.profiles = profiles;
    } catch {
      // Without an answer the selector stays as it is.
    }
  }
}

/** On gateways without `GET /api/models`, `GET /running` at least knows commands and addresses. */
async function runningAsDetails(status: ModelStatus[]): Promise<ModelDetail[]> {
  const running = new Map((await api.running()).map((entry) => [entry.model, entry]));
  return status.map((model) => {
    const entry = running.get(model.id);
    return entry === undefined ? model : { ...model, cmd: entry.cmd, proxy: entry.proxy, ttl: entry.ttl };
  });
}

export const live = new Live();

/** The session of a request in flight, as told or, on gateways that do not tell, the first configured header that is there. */
export function sessionOf(request: Inflight, names: string[]): string {
  if (request.details !== undefined) return request.details.session;
  const headers = new Map(Object.entries(request.req_headers).map(([name, value]) => [name.toLowerCase(), value]));
  for (const name of names) {
    const value = headers.get(name.toLowerCase());
    if (value !== undefined && value !== '') return value;
  }
  return '';
}
