/** Formulas as MathML; the typesetter is fetched when the first formula appears. */

type Katex = typeof import('katex').default;
let katex: Katex | null = null;
let pending: Promise<Katex> | null = null;
const cache = new Map<string, Node>();

function load(): Promise<Katex> {
  pending ??= import('katex').then((module) => (katex = module.default));
  return pending;
}

/** An element with the formula: its source at first, typeset as soon as that is possible. */
export function math(document: Document, source: string, display: boolean): HTMLElement {
  const element = document.createElement(display ? 'div' : 'span');
  element.className = display ? 'md-math md-display' : 'md-math';
  element.textContent = source;
  if (katex !== null) typeset(element, source, display, katex);
  else load().then((loaded) => typeset(element, source, display, loaded), () => undefined);
  return element;
}

function typeset(element: HTMLElement, source: string, display: boolean, engine: Katex): void {
  const key = `${display}${source}`;
  const known = cache.get(key);
  if (known !== undefined) {
    element.replaceChildren(known.cloneNode(true));
    return;
  }
  try {
    engine.render(source, element, { displayMode: display, output: 'mathml', throwOnError: true, trust: false, strict: 'ignore' });
    if (cache.size > 500) cache.clear();
    if (element.firstChild !== null) cache.set(key, element.firstChild.cloneNode(true));
  } catch {
    // Not a formula after all: the source stays readable.
    element.textContent = display ? `$$${source}$$` : `$${source}$`;
  }
}
