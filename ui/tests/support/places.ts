/** Every page and every form of it: where it is, when it is complete, and what of it is not on the screen. */
import { expect, type Page } from '@playwright/test';

/** Names to places; the configuration `standard` has all of them, and request 1 must have been made. */
export const places: Record<string, string> = {
  Yard: '',
  Activity: 'activity',
  Request: 'activity/1',
  Models: 'models',
  'a model': 'models/alpha',
  'a model log': 'models/alpha?tab=log',
  'a peer': 'models/north%2Fbig',
  Chat: 'playground?model=alpha',
  Images: 'playground?tab=images',
  Speech: 'playground?tab=speech',
  Transcription: 'playground?tab=transcription',
  Rerank: 'playground?tab=rerank',
  Embeddings: 'playground?tab=embeddings',
  Benchmark: 'benchmark',
  Logs: 'logs',
  Performance: 'performance',
  Hardware: 'hardware',
  Settings: 'settings',
};

/** Until nothing on the page is a placeholder for something that is still being fetched. */
export async function settled(page: Page): Promise<void> {
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await expect(page.locator('main .skeleton')).toHaveCount(0);
  await expect(page.getByRole('progressbar', { name: 'Fetching page' })).toHaveCount(0);
}

/** Panels, text and controls that end outside of the window, unless something around them scrolls or says with an ellipsis that it goes on. */
export function sticksOut(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const scrolls = (element: Element | null): boolean =>
      element !== null && element.id !== 'main' && (/(auto|scroll)/.test(getComputedStyle(element).overflowX) || getComputedStyle(element).textOverflow === 'ellipsis' || scrolls(element.parentElement));
    const seen = (element: Element): boolean => element.getClientRects().length > 0 && getComputedStyle(element).visibility === 'visible';
    return [...document.querySelectorAll('main *, .top *')]
      .filter((element) => seen(element) && !element.closest('svg, .sr') && element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element.parentElement))
      .map((element) => element.outerHTML.slice(0, 140));
  });
}
