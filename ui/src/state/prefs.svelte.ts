/** Preferences of this browser: namespaced in local storage, never written before somebody chooses something. */

const prefix = 'swapyard.';

function read<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(prefix + name);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

/** A remembered value.  `valid` repairs what an older version left behind. */
export class Pref<T> {
  private current: T;

  constructor(
    private readonly name: string,
    private readonly fallback: T,
    valid: (value: T) => boolean = () => true,
  ) {
    const stored = read(name, fallback);
    this.current = $state(valid(stored) ? stored : fallback);
  }

  get value(): T {
    return this.current;
  }

  set value(value: T) {
    this.current = value;
    try {
      localStorage.setItem(prefix + this.name, JSON.stringify(value));
    } catch {
      // Storage is full or refused: the choice holds until the page is closed.
    }
  }

  reset(): void {
    this.value = this.fallback;
  }
}

export type Mode = 'system' | 'light' | 'dark';

export const defaultTitle = 'swapyard';

export const prefs = {
  mode: new Pref<Mode>('mode', 'system', (value) => ['system', 'light', 'dark'].includes(value)),
  sidebar: new Pref<'open' | 'closed'>('sidebar', 'open'),
  title: new Pref('title', defaultTitle, (value) => typeof value === 'string' && value !== ''),
  modelsExpanded: new Pref('models.expanded', true),
  showUnlisted: new Pref('models.unlisted', false),
  showCapabilities: new Pref('models.capabilities', true),
  pinned: new Pref<string[]>('models.pinned', [], Array.isArray),
};

export function setTitle(text: string): void {
  const clean = text.replace(/\s+/g, ' ').trim().slice(0, 64);
  prefs.title.value = clean === '' ? defaultTitle : clean;
}

export function cycleMode(): void {
  const order: Mode[] = ['system', 'light', 'dark'];
  prefs.mode.value = order[(order.indexOf(prefs.mode.value) + 1) % 3] ?? 'system';
}
