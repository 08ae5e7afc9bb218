/** Logs: colours, filters, following, what is remembered, and streams that are open only while somebody looks. */
import type { Gateway } from './support/gateway';
import { configs } from './support/configs';
import { Wire } from './support/wire';
import { expect, menu, open, test, type Page } from './support/test';

const panel = (page: Page, name = 'Models') => page.getByRole('region', { name, exact: true });
const lines = (page: Page, name = 'Models') => panel(page, name).getByRole('log');
const filter = (page: Page, name = 'Models') => panel(page, name).getByRole('searchbox', { name: /^Filter/ });
const ESC = '\u001b';

/** Text on the standard output of the model alpha. */
const write = (gateway: Gateway, log: string): Promise<number> => gateway.chat('alpha', { say: 'ok', log });

for (const mode of ['light', 'dark'] as const) {
  test(`96 16, 256 and 24-bit colours are shown in ${mode} mode, escape characters are not, and markup is text`, async ({ page, gateway }) => {
    await page.emulateMedia({ colorScheme: mode });
    await write(gateway, `${ESC}[31mred${ESC}[0m ${ESC}[38;5;46mgreen${ESC}[0m ${ESC}[38;2;10;20;250mblue${ESC}[0m ${ESC}[2K${ESC}[1Gplain <b onclick=x>markup</b>`);
    await open(page, 'logs');
    await expect(lines(page)).toContainText('red green blue plain <b onclick=x>markup</b>');
    expect(await lines(page).textContent()).not.toContain(ESC);
    expect(await lines(page).locator('b').count()).toBe(0);
    const colour = (text: string): Promise<string> => lines(page).getByText(text, { exact: true }).last().evaluate((element) => getComputedStyle(element).color);
    const colours = await Promise.all(['red', 'green', 'blue', 'plain <b onclick=x>markup</b>'].map((text) => colour(text).catch(() => text)));
    expect(new Set(colours).size).toBe(4);
  });
}

test('97 a filter shows only matching lines, whatever their case, and new ones as they come', async ({ page, gateway }) => {
  await write(gateway, 'first ERROR here\nnothing special\na warning there');
  await open(page, 'logs');
  await expect(lines(page)).toContainText('nothing special');
  await filter(page).fill('error|warn');
  await expect(lines(page)).not.toContainText('nothing special');
  await expect(lines(page)).toContainText('first ERROR here');
  await expect(lines(page)).toContainText('a warning there');
  await write(gateway, 'nothing again\nanother Error comes');
  await expect(lines(page)).toContainText('another Error comes');
  await expect(lines(page)).not.toContainText('nothing again');
});

test('98 an anchored filter matches a coloured line', async ({ page, gateway }) => {
  await write(gateway, `${ESC}[31m[ERROR]${ESC}[0m the coloured one`);
  await open(page, 'logs');
  await filter(page).fill('^\\[ERROR');
  await expect(lines(page)).toContainText('the coloured one');
  await expect(lines(page)).not.toContainText('demonstration server');
});

test('99 an invalid expression is marked as invalid', async ({ page }) => {
  await open(page, 'logs');
  await filter(page).fill('([');
  await expect(filter(page)).toHaveAttribute('aria-invalid', 'true');
  await expect(panel(page).getByRole('alert')).toHaveText('not a valid expression');
});

test('100 who has scrolled up stays there while lines arrive, and a button leads back to the end', async ({ page, gateway }) => {
  await write(gateway, Array.from({ length: 300 }, (_, number) => `old line ${number}`).join('\n'));
  await open(page, 'logs');
  await expect(lines(page)).toContainText('old line 299');
  await lines(page).hover();
  await page.mouse.wheel(0, -600);
  await expect(panel(page).getByRole('button', { name: 'To the end' })).toBeVisible();
  const first = (): Promise<string | null> => lines(page).locator('.row').nth(12).textContent();
  const before = await first();
  await write(gateway, 'fresh one\nfresh two\nfresh three');
  await expect(panel(page).getByRole('button', { name: /^\d+ new lines$/ })).toBeVisible();
  expect(await first()).toBe(before);
  await panel(page).getByRole('button', { name: /new lines/ }).click();
  await expect(lines(page)).toContainText('fresh three');
});

test('101 font size, wrapping, view and divider stay as they were left; the divider moves by arrow keys', async ({ page }) => {
  await open(page, 'logs');
  const divider = page.getByRole('separator', { name: 'Divider' });
  await divider.focus();
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  await expect(divider).toHaveAttribute('aria-valuenow', '46');
  await panel(page).getByRole('button', { name: '12 px' }).click();
  await panel(page).getByRole('button', { name: 'Wrap lines' }).click();
  await page.reload();
  await expect(divider).toHaveAttribute('aria-valuenow', '46');
  await expect(panel(page).getByRole('button', { name: '14 px' })).toBeVisible();
  await expect(panel(page).getByRole('button', { name: 'Wrap lines' })).toHaveAttribute('aria-pressed', 'true');
  await page.getByRole('group', { name: 'Logs' }).getByRole('button', { name: 'Gateway' }).click();
  await page.goto('about:blank');
  await open(page, 'logs');
  await expect(page.getByRole('group', { name: 'Logs' }).getByRole('button', { name: 'Gateway' })).toHaveAttribute('aria-pressed', 'true');
});

test('103 the log of a model starts with its history, and its stream is closed on leaving', async ({ page, gateway }) => {
  await write(gateway, 'from before the page was opened');
  const closed = page.waitForEvent('requestfailed', (request) => request.url().includes('/logs/stream/alpha'));
  await open(page, 'models/alpha?tab=log');
  await expect(lines(page, 'Log')).toContainText('from before the page was opened');
  await write(gateway, 'and this one later');
  await expect(lines(page, 'Log')).toContainText('and this one later');
  await menu(page).getByRole('link', { name: 'Hardware' }).click();
  await closed;
});

test('what was cleared away can be had back', async ({ page, gateway }) => {
  await write(gateway, 'a line from before');
  await open(page, 'logs?view=upstream');
  await expect(lines(page)).toContainText('a line from before');
  await panel(page).getByRole('button', { name: 'Clear what is shown' }).click();
  await expect(lines(page)).not.toContainText('a line from before');
  await write(gateway, 'a line from after');
  await expect(lines(page)).toContainText('a line from after');
  await panel(page).getByRole('button', { name: 'Load older' }).click();
  await expect(lines(page)).toContainText('a line from before');
  await expect(panel(page).getByRole('button', { name: 'Load older' })).toHaveCount(0);
});

test('the lines of one request are found by its id', async ({ page, gateway }) => {
  for (let number = 0; number < 11; number++) await gateway.row(() => gateway.chat('alpha'));
  const { id } = await gateway.newest();
  const rows = await gateway.json<{ data: { id: number; details: { request_id: string } }[] }>(`/api/metrics/activity?min_id=${id - 9}&max_id=${id - 9}`);
  const request = rows.data[0]?.details.request_id ?? '';
  await open(page, `activity/${id - 9}`);
  await page.getByRole('link', { name: 'open in Logs' }).click();
  await expect(lines(page, 'Merged')).toContainText(request);
  await expect(panel(page, 'Merged')).toContainText(/, 1 match/);
});

test('a log goes on where it was when the connection comes back', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await gateway.chat('alpha', { say: 'ok', log: 'before the break' });
  const wire = await Wire.to(gateway.port);
  await open(page, 'logs?view=upstream', wire.url);
  await expect(lines(page)).toContainText('before the break');
  wire.cut();
  await gateway.chat('alpha', { say: 'ok', log: 'after the break' });
  await expect(lines(page)).toContainText('after the break');
  expect((await lines(page).textContent())?.split('before the break')).toHaveLength(2);
  await page.close();
  await wire.close();
});

test('no log is fetched on pages that show none', async ({ page }) => {
  const fetched: string[] = [];
  page.on('request', (request) => {
    if (new URL(request.url()).pathname.startsWith('/logs')) fetched.push(request.url());
  });
  await open(page, 'activity');
  await menu(page).getByRole('link', { name: 'Settings' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Settings' })).toBeVisible();
  expect(fetched).toEqual([]);
});
