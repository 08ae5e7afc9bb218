/** Where we are: path and query, both in the fragment, so that every view has an address. */

export interface Place {
  /** Decoded segments, `[]` for the landing page. */
  path: string[];
  query: URLSearchParams;
}

export function parseHash(hash: string): Place {
  const text = hash.replace(/^#\/?/, '');
  const mark = text.indexOf('?');
  const path = (mark < 0 ? text : text.slice(0, mark)).split('/').filter((part) => part !== '');
  return { path: path.map(decode), query: new URLSearchParams(mark < 0 ? '' : text.slice(mark + 1)) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The link to a place; empty and undefined query values are left out. */
export function link(path: string[], query: Record<string, string | number | null | undefined> = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return `#/${path.map(encodeURIComponent).join('/')}${text === '' ? '' : `?${text}`}`;
}

class Route {
  place = $state.raw<Place>(parseHash(location.hash));

  constructor() {
    addEventListener('hashchange', () => {
      this.place = parseHash(location.hash);
    });
  }

  get page(): string {
    return this.place.path[0] ?? '';
  }

  param(name: string): string {
    return this.place.query.get(name) ?? '';
  }

  go(href: string): void {
    location.hash = href;
  }

  /** Changes query parameters of the present place without a new history entry. */
  set(changes: Record<string, string | number | null | undefined>): void {
    const query = new URLSearchParams(this.place.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === '') query.delete(name);
      else query.set(name, String(value));
    }
    const text = query.toString();
    const path = this.place.path.map(encodeURIComponent).join('/');
    history.replaceState(history.state, '', `#/${path}${text === '' ? '' : `?${text}`}`);
    this.place = { path: this.place.path, query };
  }
}

export const route = new Route();
