/** The names that a request may carry, grouped for choosing one. */
import * as api from '../api/client';
import type { Capabilities, ListedModel } from '../api/types';
import { live } from '../state/live.svelte';

export interface Group {
  label: string;
  entries: { id: string; label: string }[];
}

class Catalog {
  models = $state.raw<ListedModel[]>([]);
  loaded = $state(false);
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** Fetches the list now, or once more soon when asked again meanwhile. */
  refresh(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(
      () =>
        void api.listedModels().then(
          (models) => {
            this.models = models;
            this.loaded = true;
          },
          () => undefined,
        ),
      this.loaded ? 200 : 0,
    );
  }

  find(id: string): ListedModel | undefined {
    return this.models.find((model) => model.id === id || model.meta?.llamaswap?.aliases?.includes(id));
  }

  /** Whether a model says that it can; null when it says nothing at all. */
  can(id: string, capability: keyof Capabilities): boolean | null {
    const capabilities = this.find(id)?.capabilities;
    if (capabilities === undefined || Object.keys(capabilities).length === 0) return null;
    return capabilities[capability] === true;
  }

  groups(matching: (keyof Capabilities)[]): Group[] {
    const of = (type: string): ListedModel[] => this.models.filter((model) => (model.meta?.llamaswap?.type ?? 'model') === type);
    const local = of('model');
    const fits = (model: ListedModel): boolean => matching.some((name) => model.capabilities?.[name]);
    const entry = (model: ListedModel): { id: string; label: string }[] => {
      const state = live.model(model.id)?.state;
      const word = state && state !== 'stopped' ? ` · ${state}` : '';
      const aliases = (model.meta?.llamaswap?.aliases ?? []).map((alias) => ({ id: alias, label: `   ↳ ${alias}` }));
      return [{ id: model.id, label: `${model.id}${word}` }, ...aliases];
    };
    return [
      { label: 'Can do this', entries: local.filter(fits).flatMap(entry) },
      { label: 'Profile', entries: of('profile').flatMap(entry) },
      { label: 'Selectors', entries: of('selector').flatMap(entry) },
      { label: 'Local', entries: local.filter((model) => !fits(model)).flatMap(entry) },
      { label: 'Peers', entries: of('peer').flatMap(entry) },
    ].filter((group) => group.entries.length > 0);
  }
}

export const catalog = new Catalog();
