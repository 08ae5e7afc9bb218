/** Colours as the browser resolves them, for canvases; `version` counts up when they change. */

class Theme {
  version = $state(0);
  private readonly known = new Map<string, string>();

  constructor() {
    const changed = (): void => {
      this.known.clear();
      this.version++;
    };
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
    new MutationObserver(changed).observe(document.documentElement, { attributeFilter: ['data-mode'] });
  }

  /** A custom property such as `--accent` as a colour that a canvas understands. */
  color(name: string): string {
    const known = this.known.get(name);
    if (known !== undefined) return known;
    const probe = document.createElement('span');
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const color = getComputedStyle(probe).color;
    probe.remove();
    this.known.set(name, color);
    return color;
  }
}

export const theme = new Theme();
