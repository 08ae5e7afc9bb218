/** Short messages about what an action did, above all about what it could not do and why. */
import { isAbort, reason } from '../api/http';

export interface Toast {
  id: number;
  kind: 'error' | 'ok';
  title: string;
  text: string;
  /** Where to look for more. */
  link?: { href: string; label: string };
}

let next = 1;
export const toasts = $state<Toast[]>([]);

export function dismiss(id: number): void {
  const index = toasts.findIndex((toast) => toast.id === id);
  if (index >= 0) toasts.splice(index, 1);
}

function show(toast: Omit<Toast, 'id'>, seconds: number): void {
  const id = next++;
  toasts.push({ id, ...toast });
  if (toasts.length > 4) toasts.shift();
  setTimeout(() => dismiss(id), seconds * 1000);
}

export function say(title: string, text = ''): void {
  show({ kind: 'ok', title, text }, 4);
}

export function complain(title: string, error: unknown, link?: Toast['link']): void {
  if (isAbort(error)) return;
  show({ kind: 'error', title, text: reason(error), link }, 12);
}

/** Runs an action whose failure must be seen; true when it worked. */
export async function attempt(title: string, action: () => Promise<unknown>, link?: Toast['link']): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    complain(title, error, link);
    return false;
  }
}
