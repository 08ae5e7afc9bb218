/** A finished request cut into its phases: in line, loading, reading the prompt, answering. */
import type { ActivityRow } from '../api/types';

export interface Phase {
  name: string;
  kind: 'queue' | 'load' | 'prefill' | 'decode' | 'rest';
  /** Milliseconds after the arrival. */
  from: number;
  to: number;
  note: string;
}

export function phases(row: ActivityRow): Phase[] {
  const total = row.duration_ms;
  const queue = row.queue_ms ?? 0;
  const load = row.load_ms ?? 0;
  const out: Phase[] = [];
  let at = 0;
  const add = (name: string, kind: Phase['kind'], to: number, note = ''): void => {
    const end = Math.max(at, Math.min(total, to));
    if (end > at) out.push({ name, kind, from: at, to: end, note });
    at = end;
  };
  add('Waited in line', 'queue', queue, row.wait_reason ?? '');
  add('Model loaded', 'load', queue + load, queue === 0 ? (row.wait_reason ?? '') : '');
  const first = row.first_token_ms ?? row.first_byte_ms;
  if (first !== null && first !== undefined) {
    const prompt = row.tokens.input_tokens > 0 ? `${row.tokens.input_tokens} prompt tokens` : '';
    add(row.first_token_ms ? 'To the first token' : 'To the first byte', 'prefill', first, prompt);
    const output = row.tokens.output_tokens > 0 ? `${row.tokens.output_tokens} tokens` : '';
    add('Answered', 'decode', total, output);
  } else add(out.length === 0 ? 'Request' : 'Upstream', 'rest', total);
  return out;
}
