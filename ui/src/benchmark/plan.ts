/** A benchmark as data: what is to be sent, what came of it, and the numbers worked out from that. */
import { percentile, sortedNumbers } from '../lib/stats';

/** Browsers open six connections to one address over HTTP/1.1, and the event stream holds one of them. */
export const maxConcurrency = 5;

export interface Plan {
  models: string[];
  /** Approximate prompt sizes in tokens; 0 is the prompt as written. */
  sizes: number[];
  concurrency: number[];
  repeats: number;
  warmUp: boolean;
  prompt: string;
  maxTokens: number;
  /** All models of a step at the same time: how the gateway shares the machine among them. */
  together?: boolean;
}

export type PhaseName = 'waiting' | 'loading' | 'reasoning' | 'content';
export const phaseNames: PhaseName[] = ['waiting', 'loading', 'reasoning', 'content'];

export interface Cell {
  model: string;
  size: number;
  concurrency: number;
}

export interface Result extends Cell {
  number: number;
  /** Milliseconds after the beginning of the run. */
  startedMs: number;
  firstMs: number | null;
  /** When the gateway's loading text ended, where there was one. */
  loadedMs: number | null;
  totalMs: number;
  /** Milliseconds in each phase, `totalMs` altogether; runs of earlier versions have none. */
  phases?: Record<PhaseName, number>;
  /** Time between visible pieces of the answer. */
  gapP50: number | null;
  gapP95: number | null;
  input: number | null;
  output: number | null;
  /** Tokens per second; `measured` when the engine did not report it. */
  decode: number | null;
  prefill: number | null;
  measured: boolean;
  warmUp: boolean;
  error: string;
}

export interface Run {
  id: string;
  title: string;
  at: number;
  plan: Plan;
  results: Result[];
}

export function cellsOf(plan: Plan): Cell[] {
  return plan.models.flatMap((model) =>
    plan.sizes.flatMap((size) => plan.concurrency.map((concurrency) => ({ model, size, concurrency }))),
  );
}

export function requestsOf(plan: Plan): number {
  return cellsOf(plan).reduce((sum, cell) => sum + cell.concurrency * plan.repeats, 0) + (plan.warmUp ? plan.models.length : 0);
}

/** What goes out together: one step of one model, or of all of them. */
export function stepsOf(plan: Plan): Cell[][] {
  const cells = cellsOf(plan);
  if (!plan.together) return cells.map((cell) => [cell]);
  return plan.sizes.flatMap((size) =>
    plan.concurrency.map((concurrency) => cells.filter((cell) => cell.size === size && cell.concurrency === concurrency)),
  );
}

/** Numbers such as "1, 2,4" as a list in order, cut to what is possible. */
export function numbersIn(text: string, low: number, high: number): number[] {
  const values = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  return [...new Set(values.filter((value) => Number.isInteger(value) && value >= low && value <= high))].sort((a, b) => a - b);
}

const vocabulary =
  'time year people way day thing world life hand part child eye place work week case point number group problem fact water room mother area money story month lot right study book word business issue side kind head house service friend father power hour game line end member law car city name team minute idea body back parent face level office door health person art war history party result change morning reason research girl guy moment air teacher force'.split(' ');

/** Text of about `size` tokens, different for every `seed`, so that no prompt cache answers for the model. */
export function filler(size: number, seed: number): string {
  let state = (seed * 2654435761 + 12345) % 2147483647;
  const words: string[] = [];
  for (let count = 0; count < Math.max(1, Math.floor(size * 0.95)); count++) {
    state = (state * 16807) % 2147483647;
    words.push(vocabulary[Math.abs(state) % vocabulary.length] ?? 'word');
  }
  return words.join(' ');
}

export function promptFor(plan: Plan, size: number, seed: number): string {
  // The number in front keeps every prompt apart from the first token on.
  const nonce = `[${seed.toString(36)}]`;
  return size === 0 ? `${nonce} ${plan.prompt}` : `${nonce} ${filler(size, seed)}\n\n${plan.prompt}`;
}

export interface Summary extends Cell {
  requests: number;
  failed: number;
  firstP50: number;
  firstP95: number;
  gapP50: number;
  gapP95: number;
  decodeP50: number;
  prefillP50: number;
  totalP50: number;
  totalP95: number;
  input: number;
  output: number;
  /** Generated tokens of all requests over the wall-clock time of the step. */
  throughput: number;
  measured: boolean;
}

export function summarise(results: Result[]): Summary[] {
  const groups = new Map<string, Result[]>();
  for (const result of results) {
    if (result.warmUp) continue;
    const key = JSON.stringify([result.model, result.size, result.concurrency]);
    groups.set(key, [...(groups.get(key) ?? []), result]);
  }
  return [...groups.values()].map((group) => {
    const first = group[0] as Result;
    const good = group.filter((result) => result.error === '');
    const of = (value: (result: Result) => number | null): number[] => sortedNumbers(good.map(value));
    const begin = Math.min(...group.map((result) => result.startedMs));
    const end = Math.max(...group.map((result) => result.startedMs + result.totalMs));
    const tokens = good.reduce((sum, result) => sum + (result.output ?? 0), 0);
    return {
      model: first.model,
      size: first.size,
      concurrency: first.concurrency,
      requests: group.length,
      failed: group.length - good.length,
      firstP50: percentile(of((result) => result.firstMs), 0.5),
      firstP95: percentile(of((result) => result.firstMs), 0.95),
      gapP50: percentile(of((result) => result.gapP50), 0.5),
      gapP95: percentile(of((result) => result.gapP95), 0.95),
      decodeP50: percentile(of((result) => result.decode), 0.5),
      prefillP50: percentile(of((result) => result.prefill), 0.5),
      totalP50: percentile(of((result) => result.totalMs), 0.5),
      totalP95: percentile(of((result) => result.totalMs), 0.95),
      input: percentile(of((result) => result.input), 0.5),
      output: percentile(of((result) => result.output), 0.5),
      throughput: end > begin ? (tokens * 1000) / (end - begin) : NaN,
      measured: good.some((result) => result.measured),
    };
  });
}

const members: (keyof Summary)[] = [
  'model', 'size', 'concurrency', 'requests', 'failed', 'firstP50', 'firstP95', 'gapP50', 'gapP95', 'decodeP50', 'prefillP50',
  'totalP50', 'totalP95', 'input', 'output', 'throughput',
];

export function summaryCsv(runs: Run[]): string {
  const lines = runs.flatMap((run) =>
    summarise(run.results).map((summary) =>
      [run.title, ...members.map((member) => summary[member])]
        .map((value) => (typeof value === 'number' ? (Number.isNaN(value) ? '' : Number(value.toFixed(3))) : `"${String(value).replace(/"/g, '""')}"`))
        .join(','),
    ),
  );
  return `run,${members.join(',')}\r\n${lines.join('\r\n')}\r\n`;
}
