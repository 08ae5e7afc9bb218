/** The key this browser sends, and whether the server asks for one. */
import { call, useKey, whenUnauthorized } from '../api/http';

const storageName = 'swapyard.key';

class Session {
  /** True while the server refuses us and the login form is shown. */
  locked = $state(false);
  hasKey = $state(false);

  constructor() {
    const stored = sessionStorage.getItem(storageName) ?? localStorage.getItem(storageName);
    this.hasKey = stored !== null;
    useKey(stored);
    whenUnauthorized(() => {
      this.locked = true;
    });
  }

  /** Tries a key; throws when the server refuses it. */
  async login(key: string, remember: boolean): Promise<void> {
    await call('/api/version', { headers: { Authorization: `Bearer ${key}` } });
    sessionStorage.removeItem(storageName);
    localStorage.removeItem(storageName);
    (remember ? localStorage : sessionStorage).setItem(storageName, key);
    useKey(key);
    this.hasKey = true;
    this.locked = false;
  }

  logout(): void {
    sessionStorage.removeItem(storageName);
    localStorage.removeItem(storageName);
    useKey(null);
    this.hasKey = false;
    location.reload();
  }
}

export const session = new Session();

/** Marks requests that this page makes, so that they can be recognised among those in flight. */
export const sessionId = `lspg-${Array.from(crypto.getRandomValues(new Uint8Array(5)), (byte) => (byte % 36).toString(36)).join('')}`;
