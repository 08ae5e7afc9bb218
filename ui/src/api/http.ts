/** One way to call the server: same origin, the stored key, errors with a readable reason. */

/** A call that failed; `status` 0 means that no answer came at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body = '',
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

let key: string | null = null;
let onUnauthorized: () => void = () => undefined;

export function useKey(value: string | null): void {
  key = value;
}

export function storedKey(): string | null {
  return key;
}

/** Called whenever the server answers 401, so that the login form can appear. */
export function whenUnauthorized(callback: () => void): void {
  onUnauthorized = callback;
}

function withKey(init: RequestInit): RequestInit {
  const headers = new Headers(init.headers);
  // Tells the gateway that a missing key is asked for here, so that the browser need not ask as well.
  headers.set('X-Requested-With', 'swapyard');
  if (key !== null && !headers.has('Authorization')) headers.set('Authorization', `Bearer ${key}`);
  return { ...init, headers };
}

/** The sentence inside an error answer: our envelope, OpenAI's, Anthropic's, FastAPI's, or the plain text. */
export function errorText(status: number, body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (parsed !== null && typeof parsed === 'object') {
      const { error, detail, message } = parsed as Record<string, unknown>;
      if (typeof error === 'string') return error;
      if (error !== null && typeof error === 'object' && 'message' in error) return String(error.message);
      if (typeof detail === 'string') return detail;
      if (typeof message === 'string') return message;
    }
  } catch {
    // Not JSON: the text itself is the reason.
  }
  const text = body.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').trim();
  if (text) return text.length > 400 ? `${text.slice(0, 400)}…` : text;
  return `the server answered ${status} without a reason`;
}

/** Fetch that throws ApiError for everything but 2xx; an abort stays an AbortError. */
export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, withKey(init));
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new ApiError(0, 'the server cannot be reached');
  }
  if (response.ok) return response;
  const body = await response.text().catch(() => '');
  if (response.status === 401) onUnauthorized();
  throw new ApiError(response.status, errorText(response.status, body), body);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await call(path, { signal: signal ?? null, headers: { Accept: 'application/json' } });
  return (await response.json()) as T;
}

export function postJson(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('Content-Type', 'application/json');
  return call(path, { method: 'POST', ...init, headers, body: JSON.stringify(body) });
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

export function reason(error: unknown): string {
  if (error instanceof ApiError) return error.status > 0 ? `${error.message} (${error.status})` : error.message;
  return error instanceof Error ? error.message : String(error);
}
