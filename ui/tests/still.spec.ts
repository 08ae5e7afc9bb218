/** Nothing on screen moves because data arrive: the browser's own count of layout shifts. */
import type { Gateway } from './support/gateway';
import { settled } from './support/places';
import { expect, open, test, type Page } from './support/test';

interface Shift {
  at: number;
  value: number;
  moved: string[];
}

/** Cumulative layout shift as browsers report it: the worst burst, with pauses below 1 s and not longer than 5 s. */
function worstBurst(shifts: Shift[]): number {
  let worst = 0;
  let sum = 0;
  let first = -Infinity;
  let last = -Infinity;
  for (const { at, value } of shifts) {
    if (at - last > 1000 || at - first > 5000) {
      sum = 0;
      first = at;
    }
    sum += value;
    last = at;
    worst = Math.max(worst, sum);
  }
  return worst;
}

/** Counts from the first paint on; who moved stands beside every shift. */
async function watched(page: Page): Promise<() => Promise<{ worst: number; shifts: Shift[] }>> {
  await page.addInitScript(() => {
    interface LayoutShift extends PerformanceEntry {
      value: number;
      hadRecentInput: boolean;
      sources: { node?: Node; previousRect: DOMRect; currentRect: DOMRect }[];
    }
    const name = (node: Node | undefined): string => {
      const element = node instanceof Element ? node : node?.parentElement;
      return element ? `${element.tagName.toLowerCase()}.${element.getAttribute('class') ?? ''} ${element.getAttribute('aria-label') ?? ''}` : 'gone';
    };
    const shifts: Shift[] = ((globalThis as unknown as { shifts: Shift[] }).shifts = []);
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as LayoutShift[]) {
        if (entry.hadRecentInput) continue;
        const moved = entry.sources.map(({ node, previousRect: a, currentRect: b }) => `${name(node)}: ${a.x},${a.y} ${a.width}×${a.height} → ${b.x},${b.y} ${b.width}×${b.height}`);
        shifts.push({ at: entry.startTime, value: entry.value, moved });
      }
    }).observe({ type: 'layout-shift', buffered: true });
  });
  return async () => {
    const shifts = await page.evaluate(() => (globalThis as unknown as { shifts: Shift[] }).shifts);
    return { worst: worstBurst(shifts), shifts };
  };
}

/** Streams, requests that finish, one that fails, loads and unloads. */
async function traffic(gateway: Gateway): Promise<void> {
  const ends = [
    await gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 60 }, { 'X-Trace-ID': 'a-session' }),
    await gateway.stream('slow', { say: 'never' }),
  ];
  for (let round = 0; round < 3; round++) {
    await gateway.row(() => gateway.chat('alpha', { say: 'short '.repeat(30), pace: 200 }, { stream: true }));
    await gateway.row(() => gateway.chat('broken'));
    await gateway.row(() => gateway.chat('beta', { status: 502, error: 'the card has fallen off the bus' }));
    await gateway.unload('beta');
  }
  for (const end of ends) await end();
  await gateway.unload('slow');
}

/** A fifth of what counts as good. */
const most = 0.02;

/** Rows with an error are higher than others, and each new row lets them go one down: on a slow machine, one by one. */
const mostOfRows = 0.05;

for (const [size, viewport] of Object.entries({ wide: { width: 1400, height: 900 }, phone: { width: 390, height: 844 } })) {
  for (const place of ['', 'activity', 'models', 'models/alpha', 'performance']) {
    test(`nothing moves on /${place} (${size}) while data stream`, async ({ page, gateway }) => {
      await page.setViewportSize(viewport);
      await gateway.row(() => gateway.chat('alpha'));
      const shifts = await watched(page);
      await open(page, place);
      await settled(page);
      await traffic(gateway);
      const { worst, shifts: all } = await shifts();
      expect(worst, JSON.stringify(all, null, 1)).toBeLessThan(place === 'activity' ? mostOfRows : most);
    });
  }
}

test('nothing moves on a first visit whose lanes come late', async ({ page, gateway }) => {
  await gateway.row(() => gateway.chat('alpha'));
  const shifts = await watched(page);
  await page.route('**/api/yard', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  await open(page);
  await expect(page.getByRole('img', { name: /^alpha:/ })).toBeVisible();
  await settled(page);
  const { worst, shifts: all } = await shifts();
  expect(worst, JSON.stringify(all, null, 1)).toBeLessThan(most);
});
