/** The video memory that each model was last seen to occupy, remembered for charts of the past. */
import { live } from './live.svelte';
import { Pref } from './prefs.svelte';

const seen = new Pref<Record<string, number>>('memory.seen', {});

export function modelSizes(): Record<string, number> {
  const sizes = { ...seen.value };
  for (const model of live.local) {
    const size = Object.values(model.memory?.gpu ?? {}).reduce((sum, bytes) => sum + bytes, 0);
    if (size > 0 && model.state === 'ready') sizes[model.id] = size;
  }
  return sizes;
}

export function rememberSizes(): void {
  const sizes = modelSizes();
  if (JSON.stringify(sizes) !== JSON.stringify(seen.value)) seen.value = sizes;
}
