/** The state of the Images tab. */
import { call, getJson } from '../api/http';
import { Pref } from '../state/prefs.svelte';
import { sessionId } from '../state/session.svelte';
import { Job } from './job.svelte';

export interface Lora {
  path: string;
  name: string;
}

export const imageApis = { openai: 'OpenAI', edit: 'OpenAI edit', sdapi: 'SDAPI' } as const;
export const imageSizes = {
  Square: ['512x512', '768x768', '1024x1024'],
  Landscape: ['1024x768', '1280x720', '1536x1024', '1792x1024'],
  Portrait: ['768x1024', '720x1280', '1024x1536', '1024x1792'],
};
const detailDefaults = { steps: 20, cfg_scale: 7, seed: -1, batch: 1, sampler: '', scheduler: '', negative: '' };

class Images {
  readonly model = new Pref('images.model', '');
  readonly api = new Pref<keyof typeof imageApis>('images.api', 'openai', (value) => value in imageApis);
  readonly size = new Pref('images.size', '1024x1024');
  readonly detail = new Pref('images.sdapi', detailDefaults, (value) => typeof value?.steps === 'number');
  prompt = $state('');
  /** Images to start from, for edits. */
  sources = $state<{ url: string; file: File }[]>([]);
  loras = $state.raw<Lora[]>([]);
  chosen = $state<{ path: string; name: string; multiplier: number }[]>([]);
  results = $state.raw<{ url: string; prompt: string; model: string }[]>([]);
  readonly job = new Job();

  run(): Promise<void> {
    return this.job.run(async (signal) => {
      const made = this.api.value === 'sdapi' ? await this.sdapi(signal) : await this.openai(signal);
      if (made.length === 0) throw new Error('the answer holds no image');
      this.results = [...made.map((url) => ({ url, prompt: this.prompt, model: this.model.value })), ...this.results].slice(0, 40);
    });
  }

  private async openai(signal: AbortSignal): Promise<string[]> {
    const headers = { 'X-Session-ID': sessionId };
    let answer: Response;
    if (this.api.value === 'edit') {
      const form = new FormData();
      form.set('model', this.model.value);
      form.set('prompt', this.prompt);
      form.set('size', this.size.value);
      for (const source of this.sources) form.append(this.sources.length > 1 ? 'image[]' : 'image', source.file, source.file.name);
      answer = await call('/v1/images/edits', { method: 'POST', signal, headers, body: form });
    } else {
      const body = JSON.stringify({ model: this.model.value, prompt: this.prompt, n: 1, size: this.size.value });
      answer = await call('/v1/images/generations', { method: 'POST', signal, headers: { ...headers, 'Content-Type': 'application/json' }, body });
    }
    const { data } = (await answer.json()) as { data?: { b64_json?: string; url?: string }[] };
    return (data ?? []).map((entry) => (entry.b64_json ? `data:image/png;base64,${entry.b64_json}` : (entry.url ?? ''))).filter(Boolean);
  }

  private async sdapi(signal: AbortSignal): Promise<string[]> {
    const [width, height] = this.size.value.split('x').map(Number);
    const { steps, cfg_scale, seed, batch, sampler, scheduler, negative } = this.detail.value;
    const body = {
      model: this.model.value, prompt: this.prompt, negative_prompt: negative, width, height, steps, cfg_scale, seed, batch_size: batch,
      ...(sampler ? { sampler_name: sampler } : {}),
      ...(scheduler ? { scheduler } : {}),
      ...(this.chosen.length > 0 ? { lora: this.chosen.map(({ path, multiplier }) => ({ path, multiplier })) } : {}),
    };
    const answer = await call('/sdapi/v1/txt2img', {
      method: 'POST', signal, headers: { 'Content-Type': 'application/json', 'X-Session-ID': sessionId }, body: JSON.stringify(body),
    });
    const { images } = (await answer.json()) as { images?: string[] };
    return (images ?? []).map((data) => `data:image/png;base64,${data}`);
  }

  async loadLoras(): Promise<void> {
    const answer = await getJson<(Lora & { title?: string })[]>(`/sdapi/v1/loras?model=${encodeURIComponent(this.model.value)}`);
    this.loras = answer.map((lora) => ({ path: lora.path, name: lora.name ?? lora.title ?? lora.path }));
  }
}

export const images = new Images();
