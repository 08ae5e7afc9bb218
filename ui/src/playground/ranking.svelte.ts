/** The states of the Rerank and Embeddings tabs. */
import { postJson } from '../api/http';
import { Pref } from '../state/prefs.svelte';
import { sessionId } from '../state/session.svelte';
import { Job } from './job.svelte';

export const sampleQuery = 'How do I keep a model in memory?';
export const sampleDocuments = [
  'A time to live of zero keeps a model loaded until something else needs its place.',
  'The cat slept on the warm radiator all afternoon.',
  'Groups marked persistent are never evicted by a request for another model.',
  'Quantised weights need less memory than those in full precision.',
  'Bread dough needs an hour to rise.',
  'A request for a model resets the clock that would unload it.',
  'The train to Oslo leaves at nine.',
  'Preloading starts a model together with the gateway.',
];

class Rerank {
  readonly model = new Pref('rerank.model', '');
  query = $state(sampleQuery);
  documents = $state<string[]>([...sampleDocuments]);
  scores = $state.raw<(number | null)[]>([]);
  tokens = $state<number | null>(null);
  readonly job = new Job();

  run(): Promise<void> {
    return this.job.run(async (signal) => {
      const sent = this.documents.map((text, index) => ({ text, index })).filter((entry) => entry.text.trim() !== '');
      const body = { model: this.model.value, query: this.query, documents: sent.map((entry) => entry.text) };
      const answer = await postJson('/v1/rerank', body, { signal, headers: { 'X-Session-ID': sessionId } });
      const parsed = (await answer.json()) as {
        results?: { index: number; relevance_score?: number; score?: number }[];
        usage?: { total_tokens?: number };
      };
      const scores: (number | null)[] = this.documents.map(() => null);
      for (const result of parsed.results ?? []) {
        const row = sent[result.index];
        if (row !== undefined) scores[row.index] = result.relevance_score ?? result.score ?? null;
      }
      this.scores = scores;
      this.tokens = parsed.usage?.total_tokens ?? null;
    });
  }
}

class Embeddings {
  readonly model = new Pref('embeddings.model', '');
  text = $state('The king rules the country.\nThe queen governs the land.\nMy dog likes the park.\nA puppy plays outside.');
  vectors = $state.raw<{ text: string; vector: number[] }[]>([]);
  tokens = $state<number | null>(null);
  readonly job = new Job();

  run(): Promise<void> {
    return this.job.run(async (signal) => {
      const input = this.text.split('\n').map((line) => line.trim()).filter((line) => line !== '');
      const answer = await postJson('/v1/embeddings', { model: this.model.value, input }, { signal, headers: { 'X-Session-ID': sessionId } });
      const parsed = (await answer.json()) as {
        data?: { index: number; embedding: number[] }[];
        usage?: { prompt_tokens?: number };
      };
      this.vectors = (parsed.data ?? []).map((entry) => ({ text: input[entry.index] ?? '', vector: entry.embedding }));
      this.tokens = parsed.usage?.prompt_tokens ?? null;
    });
  }
}

/** Cosine of the angle between two vectors; 0 when one has no length. */
export function cosine(a: number[], b: number[]): number {
  let dot = 0;
  let lengthA = 0;
  let lengthB = 0;
  a.forEach((value, index) => {
    const other = b[index] ?? 0;
    dot += value * other;
    lengthA += value * value;
    lengthB += other * other;
  });
  return lengthA === 0 || lengthB === 0 ? 0 : dot / Math.sqrt(lengthA * lengthB);
}

export const rerank = new Rerank();
export const embeddings = new Embeddings();
