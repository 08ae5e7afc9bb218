/** Activity: what is in flight, what is finished, finding and exporting it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configs } from './support/configs';
import { python, type Gateway } from './support/gateway';
import { expect, open, test, type Page } from './support/test';
import { Wire } from './support/wire';

// A gateway that no other file has asked anything: the numbers of its requests are known.
test.use({ config: 'fresh' });

const finished = (page: Page) => page.getByRole('region', { name: 'Finished requests' });
const rows = (page: Page) => finished(page).getByRole('row').filter({ has: page.getByRole('link', { name: /^Request \d+$/ }) });
const ids = (page: Page): Promise<number[]> =>
  rows(page)
    .getByRole('link', { name: /^Request \d+$/ })
    .evaluateAll((links) => links.map((link) => Number(link.getAttribute('aria-label')?.replace('Request ', ''))));
const inflight = (page: Page) => page.getByRole('region', { name: 'In flight' });
const countdown = (from: number, to: number): number[] => Array.from({ length: from - to + 1 }, (_, index) => from - index);

const folders: string[] = [];
test.afterAll(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

/** An activity log with the `rows` that a piece of Python makes. */
function seeded(script: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'swapyard-activity-'));
  folders.push(folder);
  const store = join(folder, 'activity.db');
  const before = `
import sys, time
from pathlib import Path
from swapyard.observe.activity import ActivityRow
from swapyard.observe.store import ActivityStore
from swapyard.observe.tokens import NOTHING, Tokens`;
  const after = `
store = ActivityStore.open(Path(sys.argv[1]))
store.add(rows)
store.close()`;
  execFileSync(python, ['-c', before + script + after, store]);
  return store;
}

test.describe('sixty finished requests', () => {
  let sixty: Gateway;
  test.beforeAll(async ({ gateway }) => {
    sixty = gateway;
    const { total } = await gateway.json<{ total: number }>('/api/metrics/activity?limit=1');
    for (let number = total; number < 60; number++) await gateway.row(() => gateway.chat('alpha', { say: `answer ${number}` }));
  });

  test('19 of 60 rows the newest 25 are shown, page 1 of 3', async ({ page }) => {
    await open(page, 'activity');
    await expect(rows(page)).toHaveCount(25);
    const { total } = await sixty.json<{ total: number }>('/api/metrics/activity?limit=1');
    expect(await ids(page)).toEqual(countdown(total, total - 24));
    await expect(finished(page)).toContainText(`${total} rows · page 1 of 3`);
  });

  test('22 another page size leads back to page 1 and is still chosen after a reload', async ({ page }) => {
    await open(page, 'activity?page=2');
    await expect(finished(page)).toContainText('page 2 of 3');
    await finished(page).getByRole('combobox', { name: 'per page' }).selectOption('50');
    await expect(finished(page)).toContainText('page 1 of 2');
    await expect(rows(page)).toHaveCount(50);
    await page.reload();
    await expect(finished(page).getByRole('combobox', { name: 'per page' })).toHaveValue('50');
    await expect(rows(page)).toHaveCount(50);
  });

  test('23 the header of Duration sorts in both directions, aria-sort follows, page 1 is shown', async ({ page }) => {
    await open(page, 'activity?page=2');
    const header = finished(page).getByRole('columnheader', { name: 'Duration' });
    await expect(header).toHaveAttribute('aria-sort', 'none');
    await header.getByRole('button').click();
    await expect(header).toHaveAttribute('aria-sort', 'ascending');
    await expect(finished(page)).toContainText('page 1 of 3');
    const durations = async (): Promise<number[]> => (await finished(page).locator('td.duration').allTextContents()).map(milliseconds);
    const up = await durations();
    expect(up).toEqual([...up].sort((a, b) => a - b));
    await header.getByRole('button').click();
    await expect(header).toHaveAttribute('aria-sort', 'descending');
    const down = await durations();
    expect(down).toEqual([...down].sort((a, b) => b - a));
  });

  test('25 columns are switched on, off and moved at once, and stay so after a reload', async ({ page }) => {
    await open(page, 'activity');
    const heads = async (): Promise<string[]> => (await finished(page).getByRole('columnheader').allTextContents()).map((text) => text.trim());
    await expect(rows(page)).toHaveCount(25);
    expect(await heads()).not.toContain('Path');
    await finished(page).getByRole('button', { name: 'Columns' }).click();
    await finished(page).getByRole('checkbox', { name: 'Path' }).check();
    await finished(page).getByRole('checkbox', { name: 'Status' }).uncheck();
    await finished(page).getByRole('button', { name: 'Move Model up' }).click();
    await finished(page).getByRole('button', { name: 'Move Model up' }).click();
    await page.keyboard.press('Escape');
    const check = async (): Promise<void> => {
      const shown = await heads();
      expect(shown[0]).toBe('Model');
      expect(shown).toContain('Path');
      expect(shown).not.toContain('Status');
    };
    await check();
    await page.reload();
    await expect(rows(page)).toHaveCount(25);
    await check();
  });

  test('26 a stored order with an unknown column is repaired', async ({ page }) => {
    await page.addInitScript(() =>
      localStorage.setItem('swapyard.columns.activity', JSON.stringify({ order: ['status', 'moon phase', 'time'], hidden: ['model'] })),
    );
    await open(page, 'activity');
    await expect(rows(page)).toHaveCount(25);
    const heads = (await finished(page).getByRole('columnheader').allTextContents()).map((text) => text.trim());
    expect(heads.slice(0, 2)).toEqual(['Status', 'Time']);
    expect(heads).toContain('Duration');
    expect(heads).not.toContain('moon phase');
  });

  test('27 the IDs 10 to 20 as filter give 11 rows, the marker is lit, clearing restores all', async ({ page }) => {
    await open(page, 'activity');
    await page.getByRole('button', { name: 'More' }).click();
    await page.getByRole('spinbutton', { name: 'ID, from' }).fill('10');
    await page.getByRole('spinbutton', { name: 'ID, to' }).fill('20');
    await page.getByRole('spinbutton', { name: 'ID, to' }).press('Tab');
    await expect(rows(page)).toHaveCount(11);
    expect(await ids(page)).toEqual(countdown(20, 10));
    await expect(page.getByRole('button', { name: 'More' })).toHaveClass(/lit/);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Clear filters' }).click();
    await expect(rows(page)).toHaveCount(25);
  });

  test('28 the IDs from 50 to 10 are explained next to the fields', async ({ page }) => {
    await open(page, 'activity');
    await page.getByRole('button', { name: 'More' }).click();
    await page.getByRole('spinbutton', { name: 'ID, from' }).fill('50');
    await page.getByRole('spinbutton', { name: 'ID, to' }).fill('10');
    await page.getByRole('spinbutton', { name: 'ID, to' }).press('Tab');
    await expect(page.getByRole('alert').first()).toContainText('the first ID (50) is after the last (10)');
  });

  test('24 when answers arrive in reverse, the later question is the one that is shown', async ({ page, gateway }) => {
    const wire = await Wire.to(gateway.port);
    await open(page, 'activity', wire.url);
    await expect(rows(page)).toHaveCount(25);
    const time = page.getByRole('combobox', { name: 'Time' });
    const release = wire.hold((path) => path.includes('/api/metrics/activity') && path.includes('start='));
    await time.selectOption('15m');
    await time.selectOption('');
    await expect(rows(page)).toHaveCount(25);
    const shown = await ids(page);
    const late = page.waitForResponse((answer) => answer.url().includes('start='));
    release();
    await late;
    await expect(time).toHaveValue('');
    expect(await ids(page)).toEqual(shown);
    await page.close();
    await wire.close();
  });

  test('24 page 2 and page 3 asked for while the table is slow: page 3 is shown', async ({ page, gateway }) => {
    const wire = await Wire.to(gateway.port);
    await open(page, 'activity', wire.url);
    await expect(rows(page)).toHaveCount(25);
    const release = wire.hold((path) => path.includes('/api/metrics/activity'));
    await gateway.row(() => gateway.chat('alpha'));
    const buttons = finished(page).getByRole('navigation', { name: 'Pages of the table' });
    await buttons.getByRole('button', { name: '2', exact: true }).click();
    await buttons.getByRole('button', { name: '3', exact: true }).click();
    await expect(buttons).toContainText('page 3 of 3');
    const shown = await ids(page);
    const late = page.waitForResponse((answer) => answer.url().includes('/api/metrics/activity'));
    release();
    await late;
    await expect(buttons).toContainText('page 3 of 3');
    expect(await ids(page)).toEqual(shown);
    await page.close();
    await wire.close();
  });

  test('39 histograms that were hidden or shown stay so after a reload, the totals are always visible', async ({ page }) => {
    await open(page, 'activity');
    const speeds = finished(page).getByRole('button', { name: 'Speeds' });
    const picture = page.getByRole('img', { name: /^Decode speed/ });
    await expect(picture).toHaveCount(0);
    await speeds.click();
    await expect(picture).toBeVisible();
    await page.reload();
    await expect(picture).toBeVisible();
    await speeds.click();
    await page.reload();
    await expect(rows(page)).toHaveCount(25);
    await expect(picture).toHaveCount(0);
    await expect(page.getByRole('region', { name: 'Filters and sums' })).toContainText('Requests');
  });

  test('40 the export holds the visible columns in their order, absolute times and averages', async ({ page }) => {
    await open(page, 'activity');
    await finished(page).getByRole('button', { name: 'Columns' }).click();
    await finished(page).getByRole('checkbox', { name: 'First token' }).uncheck();
    await page.keyboard.press('Escape');
    await finished(page).getByRole('button', { name: 'Export' }).click();
    const dialog = page.getByRole('dialog', { name: /^Export \d+ requests$/ });
    const text = (await dialog.locator('pre').textContent()) ?? '';
    const head = text.split('\n').find((line) => line.startsWith('| Time |')) ?? '';
    expect(head).toBe('| Time | Model | Status | Prompt | Output | Decode | Wait | Duration |');
    expect(text).toMatch(/\| Time range \| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d to /);
    expect(text).toMatch(/\| Generated \| [\d,]+ \([\d.,]+ t\/s\) \|/);
    await dialog.getByRole('button', { name: 'CSV' }).click();
    await expect(dialog.locator('pre')).toContainText('id,timestamp,model,path,status');
    const saving = page.waitForEvent('download');
    await dialog.getByRole('button', { name: 'Download' }).click();
    expect((await saving).suggestedFilename()).toBe('activity.csv');
  });

  test('41 without permission for the clipboard the export is copied all the same', async ({ page }) => {
    // As over plain HTTP, where browsers offer no clipboard at all.
    await page.addInitScript(() => {
      Object.defineProperty(window, 'isSecureContext', { value: false });
      Object.defineProperty(navigator, 'clipboard', { value: undefined });
      document.addEventListener('copy', () => {
        (globalThis as unknown as { copied: string }).copied = String(getSelection());
      });
    });
    await open(page, 'activity');
    await finished(page).getByRole('button', { name: 'Export' }).click();
    const dialog = page.getByRole('dialog', { name: /^Export/ });
    await dialog.getByRole('button', { name: 'Copy all' }).click();
    await expect(dialog.getByRole('button', { name: 'Copied' })).toBeVisible();
    const copied = await page.evaluate(() => (globalThis as unknown as { copied: string }).copied);
    expect(copied).toContain('| Time | Model |');
  });

  test('42 at a width of 1280 the default columns need no sideways scrolling', async ({ page }) => {
    await page.setViewportSize({ width: 1280, height: 900 });
    await open(page, 'activity');
    await expect(rows(page)).toHaveCount(25);
    for (const name of ['Time', 'Model', 'Status', 'Prompt', 'Output', 'Duration']) {
      await expect(finished(page).getByRole('columnheader', { name })).toBeInViewport({ ratio: 1 });
    }
    await expect(rows(page).first().getByRole('link', { name: /^Request/ })).toBeInViewport({ ratio: 1 });
    expect(await finished(page).locator('.scroll').evaluate((box) => box.scrollWidth - box.clientWidth)).toBeLessThanOrEqual(0);
  });

  test('21 on page 2 the rows do not move when a request finishes', async ({ page, gateway }) => {
    await open(page, 'activity?page=2');
    await expect(rows(page)).toHaveCount(25);
    const before = await ids(page);
    await gateway.chat('alpha');
    await expect(finished(page).getByRole('button', { name: '1 new' })).toBeVisible();
    expect(await ids(page)).toEqual(before);
  });

  test('20 twenty requests that finish within a second appear with few table requests', async ({ page, gateway }) => {
    await open(page, 'activity');
    await expect(rows(page)).toHaveCount(25);
    let asked = 0;
    page.on('request', (request) => {
      if (request.url().includes('/api/metrics/activity')) asked++;
    });
    const from = Date.now();
    const last = (await gateway.newest()).id + 20;
    await Promise.all(Array.from({ length: 20 }, () => gateway.chat('alpha', { say: 'quick' })));
    await expect(page.getByRole('link', { name: `Request ${last}`, exact: true })).toBeVisible();
    const seconds = (Date.now() - from) / 1000;
    expect(asked).toBeLessThanOrEqual(2 + Math.ceil(seconds));
  });
});

test('29 rows of one model with errors of the last hour, in one address that works in a new tab', async ({ page, gateway, context }) => {
  await gateway.chat('alpha', { say: 'fine' });
  await gateway.chat('alpha', { status: 502, error: 'out of memory' });
  await gateway.chat('beta', { status: 503, error: 'busy' });
  await open(page, 'activity');
  const filters = page.getByRole('region', { name: 'Filters and sums' });
  await filters.getByRole('button', { name: 'Model', exact: true }).click();
  await page.getByRole('checkbox', { name: /^alpha/ }).check();
  await page.keyboard.press('Escape');
  await filters.getByRole('button', { name: 'Status', exact: true }).click();
  await page.getByRole('checkbox', { name: /^5xx/ }).check();
  await page.keyboard.press('Escape');
  await page.getByRole('combobox', { name: 'Time' }).selectOption('1h');
  const check = async (shown: Page): Promise<void> => {
    await expect(rows(shown).first()).toContainText('502');
    for (const row of await rows(shown).all()) {
      await expect(row).toContainText('alpha');
      await expect(row).toContainText(/50\d/);
    }
  };
  await check(page);
  const other = await context.newPage();
  await other.goto(page.url());
  await check(other);
});

test('what is looked for is found even where far more is kept than fits into the page', async ({ page, another }) => {
  const store = seeded(`
def row(number):
    return ActivityRow(0, time.time(), "alpha", "/v1/chat/completions", "", 503 if number == 40 else 200, NOTHING, 5, "", {},
                       request_id=f"r-{number}", session="needle" if number == 40 else "hay")
rows = [row(number) for number in range(1, 6101)]`);
  const gateway = await another({ ...configs.plain(), store: { path: store } });
  await open(page, 'activity?session=needle', gateway.url);
  await expect(rows(page)).toHaveCount(1);
  expect(await ids(page)).toEqual([40]);
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await expect(rows(page)).toHaveCount(25);
  await expect(finished(page)).toContainText('of 6,100 requests are loaded');
  await page.getByRole('searchbox', { name: 'Search in requests' }).fill('r-41');
  await expect(finished(page)).toContainText('111 rows · page 1 of 5');
});

test('30 a failed request is marked by more than colour, and its error can be read', async ({ page, gateway }) => {
  await gateway.chat('alpha', { status: 502, error: 'the card has fallen off the bus' });
  await open(page, 'activity?status=502');
  const row = rows(page).first();
  await expect(row.locator('td.status svg')).toBeVisible();
  await expect(finished(page).getByText('the card has fallen off the bus').first()).toBeVisible();
});

test('31 an unknown speed says so, and nothing cached is a dash', async ({ page, gateway }) => {
  await gateway.post('/v1/embeddings', { model: 'seer', input: 'some text' });
  await open(page, 'activity?model=seer');
  await finished(page).getByRole('button', { name: 'Columns' }).click();
  await finished(page).getByRole('checkbox', { name: 'Cached' }).check();
  await page.keyboard.press('Escape');
  await expect(rows(page).first().locator('td.decode')).toHaveText('unknown');
  await expect(rows(page).first().locator('td.cached')).toHaveText('–');
});

test('32 the relative time of a row goes on, and hovering gives the absolute one', async ({ page, gateway }) => {
  await gateway.chat('alpha');
  await page.clock.install();
  await open(page, 'activity');
  const time = rows(page).first().locator('td.time').locator('time, span').first();
  await expect(time).toHaveText(/now|\ds ago/);
  await page.clock.fastForward('01:05');
  await expect(time).toHaveText('1m ago');
  await expect(time).toHaveAttribute('title', /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/);
});

test('33 time and bytes of a request in flight advance, and finished it appears below', async ({ page, gateway }) => {
  await open(page, 'activity');
  const end = await gateway.stream('alpha', { say: 'word '.repeat(400), pace: 20, piece: 5 }, { 'User-Agent': 'tests' });
  const row = inflight(page).getByRole('listitem');
  await expect(row).toHaveCount(1);
  await expect(row).toContainText(/\d+ (B|KiB)/);
  const text = async (selector: string): Promise<number> => Number.parseFloat((await row.locator(selector).textContent()) ?? '');
  const seconds = await text('.time');
  const bytes = await row.locator('.phase').textContent();
  await expect.poll(() => text('.time')).toBeGreaterThan(seconds);
  await expect(row.locator('.phase')).not.toHaveText(bytes ?? '');
  const { id, resp_status_code } = await gateway.row(end);
  expect(resp_status_code).toBe(499);
  await expect(row).toHaveCount(0);
  await expect(page.getByRole('link', { name: `Request ${id}`, exact: true })).toBeVisible();
});

test('34 cancelling a request in flight locks the button, makes one call, and the row goes', async ({ page, gateway }) => {
  const wire = await Wire.to(gateway.port);
  await open(page, 'activity', wire.url);
  const end = await gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 20, piece: 5 });
  const button = inflight(page).getByRole('button', { name: /^Cancel request \d+ to alpha$/ });
  await expect(button).toBeEnabled();
  const release = wire.hold((path) => path.endsWith('/cancel'));
  await button.click();
  await expect(button).toBeDisabled();
  release();
  await expect(button).toHaveCount(0);
  expect(wire.seen.filter(({ path }) => path.endsWith('/cancel'))).toHaveLength(1);
  await end();
  await page.close();
  await wire.close();
});

test('35 cancelling a request that has just ended says that it is over', async ({ page, gateway }) => {
  const wire = await Wire.to(gateway.port);
  await open(page, 'activity', wire.url);
  const end = await gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 20, piece: 5 });
  const button = inflight(page).getByRole('button', { name: /^Cancel request \d+ to alpha$/ });
  await expect(button).toBeEnabled();
  const release = wire.hold((path) => path.endsWith('/cancel'));
  await button.click();
  await end();
  await expect(inflight(page).getByRole('listitem')).toHaveCount(0);
  release();
  await expect(page.getByRole('alert').filter({ hasText: 'Not cancelled' })).toContainText('already over');
  await page.close();
  await wire.close();
});

test('36 the session is the first of the configured headers', async ({ page, gateway }) => {
  await open(page, 'activity');
  const end = await gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 20, piece: 5 }, { 'x-trace-id': 'trace-7', 'X-Session-ID': 'other' });
  await expect(inflight(page).getByRole('listitem')).toContainText('trace-7');
  await gateway.row(end);
  await expect(inflight(page).getByRole('listitem')).toHaveCount(0);
  await gateway.row(() => gateway.chat('alpha', { say: 'no session' }));
  await page.getByRole('region', { name: 'Filters and sums' }).getByRole('button', { name: 'Session', exact: true }).click();
  await page.getByRole('checkbox', { name: /^trace-7/ }).check();
  await page.keyboard.press('Escape');
  await finished(page).getByRole('button', { name: 'Columns' }).click();
  await finished(page).getByRole('checkbox', { name: 'Session' }).check();
  await page.keyboard.press('Escape');
  await expect(rows(page)).toHaveCount(1);
  await expect(rows(page).locator('td.session')).toHaveText('trace-7');
  await expect(page).toHaveURL(/session=trace-7/);
});

test('37 without any activity there are placeholders and zero totals', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await open(page, 'activity', gateway.url);
  await expect(finished(page)).toContainText('No request has finished yet');
  await expect(inflight(page)).toContainText('No request is in flight');
  const sums = page.getByRole('region', { name: 'Filters and sums' });
  await expect(sums.locator('div', { has: page.getByText('Requests', { exact: true }) }).last()).toContainText('0');
  await finished(page).getByRole('button', { name: 'Speeds' }).click();
  await expect(sums.getByText('no speed was reported')).toHaveCount(2);
});

test('38 when all speeds are equal there is one bar with valid marks', async ({ page, another }) => {
  const errors: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  const store = seeded(`
rows = [ActivityRow(0, time.time(), "alpha", "/v1/chat/completions", "", 200, Tokens(5, 6, 0, -1, -1, 100.0, 20.0), 5, "", {}, request_id="r") for _ in range(12)]`);
  const gateway = await another({ ...configs.plain(), store: { path: store } });
  await open(page, 'activity', gateway.url);
  await finished(page).getByRole('button', { name: 'Speeds' }).click();
  const picture = page.getByRole('img', { name: /^Decode speed/ });
  await expect(picture.locator('rect')).toHaveCount(1);
  for (const line of await picture.locator('line').all()) {
    expect(Number(await line.getAttribute('x1'))).toBeGreaterThanOrEqual(0);
    expect(Number(await line.getAttribute('x2'))).toBeGreaterThanOrEqual(0);
  }
  expect(errors).toEqual([]);
});

function milliseconds(text: string): number {
  const [, minutes = '0'] = /(\d+)m/.exec(text) ?? [];
  const [, value = '0', unit = 's'] = /([\d.]+)\s*(ms|s)/.exec(text) ?? [];
  return Number(minutes) * 60_000 + Number(value) * (unit === 'ms' ? 1 : 1000);
}
