/** The benchmark under way and the ones that are kept. */
import * as db from '../lib/db';
import { call, isAbort, reason } from '../api/http';
import { readEvents } from '../api/sse';
import { AnswerReader } from '../lib/chat';
import { percentile, sortedNumbers } from '../lib/stats';
import { whileBusy } from '../state/busy.svelte';
import { Pref } from '../state/prefs.svelte';
import { sessionId } from '../state/session.svelte';
import { complain } from '../state/toasts.svelte';
import { promptFor, requestsOf, stepsOf, type Cell, type PhaseName, type Plan, type Result, type Run } from './plan';

export interface Live {
  cell: Cell;
  number: number;
  startedMs: number;
  phase: PhaseName;
  warmUp: boolean;
}

const firstPlan: Plan = {
  models: [], sizes: [0], concurrency: [1, 2, 4], repeats: 2, warmUp: true, maxTokens: 256,
  prompt: 'Explain in detail how a railway yard sorts wagons.',
};

class Runs {
  all = $state<Run[]>([]);
  current = $state<Run | null>(null);
  readonly plan = new Pref<Plan>('benchmark.plan', firstPlan, (value) => Array.isArray(value?.models) && Array.isArray(value?.concurrency));
  live = $state<Live[]>([]);
  running = $state(false);
  planned = $state(0);
  startedAt = $state(0);
  private abort = new AbortController();
  private began = 0;
  private counter = 0;

  constructor() {
    db.all<Run>('runs').then(
      (stored) => (this.all = stored.sort((a, b) => b.at - a.at)),
      (error: unknown) => complain('Kept benchmarks cannot be read', error),
    );
  }

  start(): void {
    if (this.running) return;
    const plan = $state.snapshot(this.plan.value);
    this.abort = new AbortController();
    this.running = true;
    this.began = performance.now();
    this.startedAt = Date.now();
    this.counter = 0;
    this.planned = requestsOf(plan);
    this.current = { id: db.newId(), title: `${plan.models.join(' / ')}`, at: Date.now(), plan, results: [] };
    void whileBusy('benchmark', this.work(plan)).finally(() => {
      this.running = false;
      this.live = [];
      void this.keep();
    });
  }

  stop(): void {
    this.abort.abort();
  }

  /** Model by model, so that nothing is swapped in the middle of a step, unless swapping is what is to be seen. */
  private async work(plan: Plan): Promise<void> {
    const groups = plan.together ? [plan.models] : plan.models.map((model) => [model]);
    for (const models of groups) {
      for (const model of plan.warmUp ? models : []) await this.request(plan, { model, size: 0, concurrency: 1 }, true);
      for (const step of stepsOf({ ...plan, models })) {
        await Promise.all(step.map((cell) => this.cell(plan, cell)));
        if (this.abort.signal.aborted) return;
      }
    }
  }

  private async cell(plan: Plan, cell: Cell): Promise<void> {
    let left = cell.concurrency * plan.repeats;
    const lane = async (): Promise<void> => {
      while (left > 0 && !this.abort.signal.aborted) {
        left--;
        await this.request(plan, cell, false);
      }
    };
    await Promise.all(Array.from({ length: cell.concurrency }, lane));
  }

  private async request(plan: Plan, cell: Cell, warmUp: boolean): Promise<void> {
    const number = ++this.counter;
    const from = performance.now();
    this.live.push({ cell, number, startedMs: from - this.began, phase: 'waiting', warmUp });
    const shown = this.live.at(-1) as Live;
    const reader = new AnswerReader();
    const gaps: number[] = [];
    let firstMs: number | null = null;
    let loadedMs: number | null = null;
    let lastMs = 0;
    let error = '';
    const phases: Record<PhaseName, number> = { waiting: 0, loading: 0, reasoning: 0, content: 0 };
    let since = 0;
    const enter = (phase: PhaseName, at: number): void => {
      if (phase === shown.phase) return;
      phases[shown.phase] += at - since;
      since = at;
      shown.phase = phase;
    };
    try {
      const response = await call('/v1/chat/completions', {
        method: 'POST',
        signal: this.abort.signal,
        headers: { 'Content-Type': 'application/json', 'X-Session-ID': sessionId },
        body: JSON.stringify({
          model: cell.model,
          messages: [{ role: 'user', content: promptFor(plan, cell.size, Math.floor(Math.random() * 1e9)) }],
          max_tokens: warmUp ? 8 : plan.maxTokens,
          stream: true,
          stream_options: { include_usage: true },
        }),
      });
      for await (const events of response.body === null ? [] : readEvents(response.body)) {
        const at = performance.now() - from;
        let visible = false;
        for (const event of events) visible = reader.read(event.data) || visible;
        const { answer } = reader;
        if (answer.text !== '' || answer.reasoning !== '') {
          if (firstMs === null) {
            firstMs = at;
            if (answer.loading !== '') loadedMs = at;
          } else if (visible) gaps.push(at - lastMs);
          lastMs = at;
          enter(answer.text !== '' ? 'content' : 'reasoning', at);
        } else if (answer.loading !== '') enter('loading', at);
      }
      error = reader.answer.error;
      if (error === '' && firstMs === null) error = 'the answer was empty';
    } catch (cause) {
      error = isAbort(cause) ? 'stopped' : reason(cause);
    }
    const totalMs = performance.now() - from;
    phases[shown.phase] += totalMs - since;
    const { usage } = reader.answer;
    const output = usage.output ?? (gaps.length > 0 ? gaps.length + 1 : null);
    const sorted = sortedNumbers(gaps);
    const seconds = (totalMs - (firstMs ?? totalMs)) / 1000;
    const result: Result = {
      ...cell, number, warmUp, error, firstMs, loadedMs, totalMs, phases,
      startedMs: from - this.began,
      gapP50: sorted.length > 0 ? percentile(sorted, 0.5) : null,
      gapP95: sorted.length > 0 ? percentile(sorted, 0.95) : null,
      input: usage.input,
      output,
      decode: usage.decode ?? (output !== null && seconds > 0.05 ? (output - 1) / seconds : null),
      prefill: usage.prefill ?? (usage.input !== null && firstMs !== null && firstMs > 0 ? usage.input / (firstMs / 1000) : null),
      measured: usage.decode === null,
    };
    this.live = this.live.filter((entry) => entry.number !== number);
    this.current?.results.push(result);
  }

  private async keep(): Promise<void> {
    const run = this.current;
    if (run === null || run.results.filter((result) => !result.warmUp).length === 0) return;
    this.all.unshift(run);
    try {
      await db.put('runs', $state.snapshot(run));
    } catch (error) {
      complain('The benchmark could not be kept; it lasts until this page is closed', error);
    }
  }

  async rename(run: Run, title: string): Promise<void> {
    run.title = title.trim() || run.title;
    await db.put('runs', $state.snapshot(run)).catch((error: unknown) => complain('Not renamed', error));
  }

  async delete(run: Run): Promise<void> {
    this.all = this.all.filter((entry) => entry.id !== run.id);
    await db.remove('runs', run.id).catch((error: unknown) => complain('Not deleted', error));
  }
}

export const runs = new Runs();
