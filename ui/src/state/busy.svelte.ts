/** Work that goes on while another page is shown: who is at it, for the mark in the menu. */
import { SvelteSet } from 'svelte/reactivity';

export const busy = new SvelteSet<'playground' | 'benchmark'>();
const jobs = { playground: 0, benchmark: 0 };

/** Marks work for as long as the promise is open. */
export async function whileBusy<T>(name: 'playground' | 'benchmark', work: Promise<T>): Promise<T> {
  jobs[name]++;
  busy.add(name);
  try {
    return await work;
  } finally {
    if (--jobs[name] === 0) busy.delete(name);
  }
}
