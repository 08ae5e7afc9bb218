/** Performance, hardware, settings: what the machine does, what it is, and how the page looks. */
import { configs } from './support/configs';
import type { Gateway } from './support/gateway';
import { expect, menu, open, test, type Page, sidebarModels } from './support/test';
import { brightness } from './support/screen';
import { Wire } from './support/wire';

/** When the machine was looked at last; empty before the first time. */
async function newestSample(gateway: Gateway): Promise<string> {
  const { sys_stats } = await gateway.json<{ sys_stats: { timestamp: string }[] | null }>('/api/performance');
  return sys_stats?.at(-1)?.timestamp ?? '';
}

const samples = (url: string): boolean => new URL(url).pathname === '/api/performance';

test('104 the window of the charts can be chosen, and only new samples are fetched', async ({ page }) => {
  const asked: string[] = [];
  page.on('request', (request) => {
    if (samples(request.url())) asked.push(new URL(request.url()).searchParams.get('after') ?? '');
  });
  await open(page, 'performance');
  await expect(page.getByRole('heading', { name: 'CPU' })).toBeVisible();
  const windows = page.getByRole('group', { name: 'Window' });
  for (const name of ['5m', '1h', '15m']) {
    await windows.getByRole('button', { name, exact: true }).click();
    await expect(windows.getByRole('button', { name, exact: true })).toHaveAttribute('aria-pressed', 'true');
  }
  await page.getByRole('button', { name: 'Live' }).click();
  await page.getByRole('button', { name: 'Paused' }).click();
  await expect.poll(() => asked.length).toBeGreaterThan(1);
  // After the first complete answer every further one is for what came since.
  await expect.poll(() => asked.at(-1)).toMatch(/^\d{4}-\d\d-\d\dT/);
});

test('104 the charts ask for samples now and then, not without a break', async ({ page }) => {
  const asked: string[] = [];
  page.on('request', (request) => {
    if (samples(request.url())) asked.push(request.url());
  });
  await page.clock.install();
  await open(page, 'performance');
  await expect(page.getByRole('heading', { name: 'CPU' })).toBeVisible();
  await expect.poll(() => asked.length).toBeGreaterThan(1);
  const before = asked.length;
  for (let second = 0; second < 20; second++) await page.clock.runFor('00:01');
  expect(asked.length - before).toBeGreaterThan(1);
  expect(asked.length - before).toBeLessThanOrEqual(5);
});

const twoCards = `#!/bin/sh
case "$*" in *--loop*) ;; *) exit 1 ;; esac
while sleep 1; do
  echo "0, Card X, GPU-one, 50, 10, 12288, 24576, 30, 100"
  echo "1, Card X, GPU-two, 55, 20, [N/A], [N/A], [N/A], 90"
done
`;
test('105 two cards of the same name are told apart, and one without a memory sensor draws no line at zero', async ({ page, another }) => {
  const gateway = await another(configs.plain(), { 'nvidia-smi': twoCards });
  await open(page, 'performance', gateway.url);
  await expect(page.getByRole('img', { name: /^GPU use: GPU 0 Card X 10.*, GPU 1 Card X 20/ })).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('img', { name: /^GPU memory: GPU 0 Card X 12.*GPU 1 Card X –$/ })).toBeVisible();
});

test('106 where samples are missing the charts say from when to when', async ({ page, another }) => {
  test.setTimeout(120_000);
  const gateway = await another(configs.plain());
  await open(page, 'performance', gateway.url);
  const chart = page.getByRole('figure').filter({ has: page.getByRole('heading', { name: 'Load average' }) });
  await expect(chart).toBeVisible({ timeout: 30_000 });
  await expect(chart.getByText('no data in this window yet')).toHaveCount(0, { timeout: 30_000 });
  await expect(chart).not.toContainText('no samples from');
  await gateway.frozen(15_000);
  await expect(chart).toContainText(/no samples from \d\d:\d\d:\d\d to \d\d:\d\d:\d\d/, { timeout: 40_000 });
});

test('107 while the tab is hidden nothing is fetched, and on return the data go on', async ({ page, gateway }) => {
  await expect.poll(() => newestSample(gateway)).not.toBe('');
  await page.clock.install();
  await open(page, 'performance');
  await expect(page.getByRole('heading', { name: 'CPU' })).toBeVisible();
  const hide = (hidden: boolean): Promise<void> =>
    page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  await hide(true);
  let asked = 0;
  page.on('request', (request) => {
    if (samples(request.url())) asked++;
  });
  const newest = await newestSample(gateway);
  asked = 0;
  await page.clock.runFor('01:00');
  expect(asked).toBe(0);
  const back = page.waitForRequest((request) => samples(request.url()));
  await hide(false);
  // Asked for is what came since the last sample that was seen, so nothing is missing.
  const after = new URL((await back).url()).searchParams.get('after') ?? '';
  expect(Date.parse(after)).toBeLessThanOrEqual(Date.parse(newest));
});

test('108 without monitoring there is no menu entry', async ({ page, another }) => {
  const gateway = await another(configs.unmeasured());
  await open(page, '', gateway.url);
  await expect(menu(page).getByRole('link', { name: 'Hardware' })).toBeVisible();
  await expect(menu(page).getByRole('link', { name: 'Performance' })).toHaveCount(0);
});

test('109 without monitoring the route explains how to switch it on', async ({ page, another }) => {
  const gateway = await another(configs.unmeasured());
  await open(page, 'performance', gateway.url);
  await expect(page.getByText('Machine and GPU samples are switched off')).toContainText('performance.disabled');
});

test('110 hardware that cannot be fetched is an error with its reason; then it is shown, and its text can be copied', async ({ page, gateway, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const wire = await Wire.to(gateway.port);
  await page.goto(`${wire.url}/ui/#/settings`);
  await expect(page).toHaveTitle(/^●/);
  await page.route('**/api/hardware', (route) => route.abort('connectionreset'), { times: 1 });
  await menu(page).getByRole('link', { name: 'Hardware' }).click();
  await expect(page.getByRole('alert')).toContainText('The hardware is not known');
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByRole('heading', { name: 'CPU' })).toBeVisible();
  await expect(page.getByRole('main')).not.toContainText('undefined');
  await page.getByRole('group', { name: 'Form' }).getByRole('button', { name: 'Text' }).click();
  await page.getByRole('button', { name: 'Copy all' }).click();
  await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('CPU');
  await page.close();
  await wire.close();
});

test('cards of two vendors that bear the same number are both shown', async ({ page, gateway }) => {
  const hardware = await gateway.json<object>('/api/hardware');
  const card = { kind: 'gpu', index: 0, memory: {}, driver: {} };
  const accelerators = [{ ...card, model: 'RTX 4090', vendor: 'nvidia' }, { ...card, model: 'RX 7900', vendor: 'amd' }];
  await page.route('**/api/hardware', (route) => route.fulfill({ json: { ...hardware, accelerators } }));
  await open(page, 'hardware');
  await expect(page.getByText('RTX 4090')).toBeVisible();
  await expect(page.getByText('RX 7900')).toBeVisible();
});

test('111 the mode is kept over a reload, and charts follow it', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await open(page, 'settings');
  await page.getByRole('group', { name: 'Mode' }).getByRole('button', { name: 'dark' }).click();
  await expect.poll(() => brightness(page, 700, 895)).toBeLessThan(60);
  await page.reload();
  await expect(page.getByRole('group', { name: 'Mode' }).getByRole('button', { name: 'dark' })).toHaveAttribute('aria-pressed', 'true');
  await expect.poll(() => brightness(page, 700, 895)).toBeLessThan(60);
  await menu(page).getByRole('link', { name: 'Performance' }).click();
  await expect(page.getByRole('heading', { name: 'CPU' })).toBeVisible();
  const drawn = (): Promise<string> => chartPixels(page);
  await expect.poll(drawn).not.toBe('');
  const dark = await drawn();
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox', { name: 'Command' }).fill('appearance');
  await page.keyboard.press('Enter');
  await expect.poll(() => brightness(page, 700, 895)).toBeGreaterThan(200);
  await expect.poll(drawn).not.toBe(dark);
});

/** Which colours the axes of the first chart are drawn in. */
function chartPixels(page: Page): Promise<string> {
  return page.locator('canvas').first().evaluate((canvas: HTMLCanvasElement) => {
    const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    const colours = new Set<string>();
    for (let at = 0; at < data.length; at += 4) if ((data[at + 3] ?? 0) > 250) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    return [...colours].sort().slice(0, 50).join(' ');
  });
}

test('the configuration is reloaded from the page, and what is wrong with it is said', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await open(page, 'settings', gateway.url);
  gateway.configure({ ...configs.plain(), models: { gamma: { cmd: 'true ${PORT}' } }, groups: {} });
  await page.getByRole('button', { name: 'Reload the configuration' }).click();
  await expect(sidebarModels(page).getByRole('link', { name: 'stopped gamma' })).toBeVisible();
  gateway.configure({ models: { gamma: { cmd: 'true ${PORT}', ttl: 'soon' } } });
  await page.getByRole('button', { name: 'Reload the configuration' }).click();
  await expect(page.getByRole('alert').filter({ hasText: 'not reloaded' })).toContainText('ttl');
});
