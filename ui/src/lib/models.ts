/** Models: merging what the server tells in two places, ordering, and the words for their states. */
import type { Capabilities, ModelDetail, ModelStatus } from '../api/types';

/** The list of the event stream is the newer one for states; the details fill in the rest. */
export function mergeModels(status: ModelStatus[], details: ModelDetail[] | null): ModelDetail[] {
  const byId = new Map((details ?? []).map((model) => [model.id, model]));
  return status.map((model) => ({ ...byId.get(model.id), ...model }));
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

export function compareModels(a: ModelStatus, b: ModelStatus): number {
  return Number(a.peerID !== '') - Number(b.peerID !== '') || collator.compare(a.id, b.id);
}

/** What a person wants to know about a model at a glance. */
export type Activity = 'serving' | 'ready' | 'loading' | 'draining' | 'waiting' | 'stopped' | 'peer';

export function activityOf(model: ModelDetail, inFlight: number): Activity {
  if (model.peerID !== '') return 'peer';
  switch (model.state) {
    case 'ready':
      return inFlight > 0 ? 'serving' : 'ready';
    case 'starting':
      return 'loading';
    case 'stopping':
      return 'draining';
    default:
      return (model.waiting ?? 0) > 0 ? 'waiting' : 'stopped';
  }
}

export const activityWords: Record<Activity, string> = {
  serving: 'serving',
  ready: 'ready',
  loading: 'loading',
  draining: 'draining',
  waiting: 'waiting',
  stopped: 'stopped',
  peer: 'peer',
};

const capabilityWords: [keyof Capabilities, string][] = [
  ['vision', 'vision'],
  ['audio_transcriptions', 'transcription'],
  ['audio_speech', 'speech'],
  ['image_generation', 'images'],
  ['image_to_image', 'image edit'],
  ['function_calling', 'tools'],
  ['reranker', 'rerank'],
];

export function capabilityTags(capabilities: Capabilities | undefined): string[] {
  return capabilityWords.filter(([name]) => capabilities?.[name]).map(([, word]) => word);
}
