/** How long the page's main thread was busy without a break, from the browser's own trace. */
import type { Page } from '@playwright/test';

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  dur?: number;
  tdur?: number;
  args?: { name?: string };
}

export interface Tasks {
  /** Milliseconds that the longest task really ran; other work on the machine does not count. */
  longest: number;
  /** The same by the clock on the wall. */
  longestByClock: number;
  /** Tasks that ran for more than 50 ms. */
  long: number;
}

/** The tasks of the page's main thread while `work` goes on. */
export async function tasksDuring(page: Page, work: () => Promise<void>): Promise<Tasks> {
  const browser = page.context().browser();
  if (browser === null) throw new Error('the page has no browser of its own');
  await browser.startTracing(page, { categories: ['toplevel', 'disabled-by-default-devtools.timeline', '__metadata'] });
  await work();
  const trace = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const mains = new Set(trace.traceEvents.filter((event) => event.name === 'thread_name' && event.args?.name === 'CrRendererMain').map(thread));
  const tasks = trace.traceEvents.filter((event) => event.name === 'RunTask' && mains.has(thread(event)));
  if (tasks.length < 100) throw new Error(`the trace holds only ${tasks.length} tasks`);
  const ran = tasks.map((task) => (task.tdur ?? task.dur ?? 0) / 1000);
  return {
    longest: Math.round(Math.max(...ran)),
    longestByClock: Math.round(Math.max(...tasks.map((task) => (task.dur ?? 0) / 1000))),
    long: ran.filter((milliseconds) => milliseconds > 50).length,
  };
}

function thread(event: TraceEvent): string {
  return `${event.pid} ${event.tid}`;
}
