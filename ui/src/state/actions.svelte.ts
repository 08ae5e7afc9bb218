/** Loading and unloading as the page asks for it: what is under way, and what went wrong, model by model. */
import { SvelteMap } from 'svelte/reactivity';
import * as api from '../api/client';
import { isAbort, reason } from '../api/http';
import { link } from './route.svelte';
import { complain, say } from './toasts.svelte';

interface Load {
  abort: AbortController;
  startedAt: number;
}

class Actions {
  readonly loads = new SvelteMap<string, Load>();
  readonly unloads = new SvelteMap<string, true>();
  /** The last failure of a load or unload asked for here. */
  readonly failures = new SvelteMap<string, string>();

  async load(model: string): Promise<void> {
    if (this.loads.has(model)) return;
    const abort = new AbortController();
    this.loads.set(model, { abort, startedAt: Date.now() });
    this.failures.delete(model);
    try {
      await api.loadModel(model, abort.signal);
    } catch (error) {
      if (!isAbort(error)) {
        this.failures.set(model, reason(error));
        complain(`${model} was not loaded`, error, { href: link(['models', model], { tab: 'log' }), label: 'Show its log' });
      }
    } finally {
      this.loads.delete(model);
    }
  }

  cancelLoad(model: string): void {
    this.loads.get(model)?.abort.abort();
  }

  async unload(model: string): Promise<void> {
    this.unloads.set(model, true);
    this.failures.delete(model);
    try {
      await api.unloadModel(model);
    } catch (error) {
      this.failures.set(model, reason(error));
      complain(`${model} was not unloaded`, error, { href: link(['models', model], { tab: 'log' }), label: 'Show its log' });
    } finally {
      this.unloads.delete(model);
    }
  }

  async unloadAll(): Promise<void> {
    this.unloads.set('', true);
    try {
      await api.unloadAll();
      say('All models are unloaded');
    } catch (error) {
      complain('Not everything was unloaded', error);
    } finally {
      this.unloads.delete('');
    }
  }

  async keep(model: string): Promise<void> {
    try {
      await api.keepModel(model);
      say(`${model} stays`, 'Its idle time begins anew.');
    } catch (error) {
      complain(`The idle time of ${model} was not reset`, error);
    }
  }
}

export const actions = new Actions();
