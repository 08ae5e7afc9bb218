/** One piece of work of a playground tab: running, stopped, failed; it outlives the page. */
import { isAbort, reason } from '../api/http';
import { whileBusy } from '../state/busy.svelte';

export class Job {
  running = $state(false);
  failure = $state('');
  tookMs = $state<number | null>(null);
  private abort = new AbortController();

  async run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.running) return;
    this.abort = new AbortController();
    this.running = true;
    this.failure = '';
    this.tookMs = null;
    const from = performance.now();
    try {
      await whileBusy('playground', work(this.abort.signal));
      this.tookMs = performance.now() - from;
    } catch (error) {
      if (!isAbort(error)) this.failure = reason(error);
    } finally {
      this.running = false;
    }
  }

  stop(): void {
    this.abort.abort();
  }
}
