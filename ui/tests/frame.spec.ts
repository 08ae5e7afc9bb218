/** The frame around every page: menu, title, profile, theme, what a first visit costs. */
import { configs } from './support/configs';
import { demo } from './support/gateway';
import { brightness } from './support/screen';
import { expect, menu, open, test, sidebarModels } from './support/test';
import { Wire } from './support/wire';

const pages = {
  Yard: '', Activity: 'activity', Models: 'models', Playground: 'playground', Benchmark: 'benchmark', Logs: 'logs',
  Performance: 'performance', Hardware: 'hardware', Settings: 'settings',
};

test('1 the landing page is shown, the connection is up, the tab title carries state and name', async ({ page }) => {
  await page.goto('/');
  await expect(page).toHaveURL(/\/ui\/#?\/?$/);
  await expect(page.getByRole('heading', { level: 1, name: 'Yard' })).toBeVisible();
  await expect(page).toHaveTitle('● swapyard · Yard');
  await expect(page.getByRole('complementary').getByRole('status')).toHaveText('connected');
});

test('2 exactly one menu entry is marked as current on every page', async ({ page }) => {
  await open(page);
  for (const [title, path] of Object.entries(pages)) {
    await page.goto(`/ui/#/${path}`);
    await expect(page.getByRole('heading', { level: 1, name: title })).toBeVisible();
    const marked = menu(page).locator('a.entry[aria-current="page"]');
    await expect(marked).toHaveCount(1);
    await expect(marked).toHaveAccessibleName(new RegExp(`^${title}`));
    const unmarked = menu(page).locator('a.entry:not([aria-current])').first();
    const look = (element: Element): string => getComputedStyle(element).backgroundColor + getComputedStyle(element).color;
    expect(await marked.evaluate(look)).not.toBe(await unmarked.evaluate(look));
  }
});

test('3 an unknown route shows the landing page with working links', async ({ page }) => {
  await open(page, 'nothing/like/this');
  await expect(page.getByRole('heading', { level: 1, name: 'Yard' })).toBeVisible();
  await menu(page).getByRole('link', { name: 'Logs' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Logs' })).toBeVisible();
});

test('4 the path /ui/models opens the Models page, and so does /upstream', async ({ page }) => {
  for (const path of ['/ui/models', '/upstream']) {
    await page.goto(path);
    await expect(page.getByRole('heading', { level: 1, name: 'Models' })).toBeVisible();
  }
});

test('5 a collapsed sidebar is still collapsed after a reload', async ({ page }) => {
  await open(page);
  await page.getByRole('button', { name: 'Collapse sidebar' }).click();
  await expect(page.getByRole('button', { name: 'Open sidebar' })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('button', { name: 'Open sidebar' })).toBeVisible();
  expect((await page.getByRole('complementary').boundingBox())?.width).toBeLessThan(60);
});

test('6 Ctrl+B twice collapses and expands the sidebar', async ({ page }) => {
  await open(page);
  await page.keyboard.press('Control+b');
  await expect(page.getByRole('button', { name: 'Open sidebar' })).toBeVisible();
  await page.keyboard.press('Control+b');
  await expect(page.getByRole('button', { name: 'Collapse sidebar' })).toBeVisible();
});

test('7 a changed title shows in sidebar and tab and survives a reload', async ({ page }) => {
  await open(page);
  const title = page.getByRole('textbox', { name: 'Name of this gateway' });
  await title.fill('GPU box 1');
  await title.press('Enter');
  await expect(page).toHaveTitle('● GPU box 1 · Yard');
  await page.reload();
  await expect(title).toHaveValue('GPU box 1');
  await expect(page).toHaveTitle('● GPU box 1 · Yard');
});

test('8 an emptied title becomes the default name', async ({ page }) => {
  await open(page);
  const title = page.getByRole('textbox', { name: 'Name of this gateway' });
  for (const nothing of ['', '   ']) {
    await title.fill('GPU box 1');
    await title.press('Enter');
    await expect(page).toHaveTitle('● GPU box 1 · Yard');
    await title.fill(nothing);
    await title.press('Enter');
    await expect(title).toHaveValue('swapyard');
    await expect(page).toHaveTitle('● swapyard · Yard');
  }
});

test('13 the profile chosen in one browser shows in another within a second', async ({ page, browser, baseURL }) => {
  const other = await browser.newPage({ baseURL });
  await open(page);
  await open(other);
  await page.getByRole('combobox', { name: 'Profile' }).selectOption('night');
  await expect(other.getByRole('combobox', { name: 'Profile' })).toHaveValue('night', { timeout: 1000 });
  await other.getByRole('combobox', { name: 'Profile' }).selectOption('None');
  await expect(page.getByRole('combobox', { name: 'Profile' })).toHaveValue('', { timeout: 1000 });
  await other.close();
});

test('14 a profile that the server answers with 404 is not selected, and the reason is shown', async ({ page, another }) => {
  const gateway = await another(configs.standard());
  await open(page, '', gateway.url);
  const picker = page.getByRole('combobox', { name: 'Profile' });
  await picker.selectOption('day');
  await expect(picker).toBeEnabled();
  // A choice from before somebody edited the file: the server no longer knows it.
  await picker.evaluate((field: HTMLSelectElement) => field.add(new Option('twilight')));
  await picker.selectOption('twilight');
  await expect(page.getByRole('alert')).toContainText('profile "twilight" not found');
  await expect(picker).toHaveValue('day');
});

test('15 without profiles there is no profile selector', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await open(page, 'models', gateway.url);
  await expect(page.getByRole('link', { name: 'alpha' }).first()).toBeVisible();
  await expect(page.getByRole('combobox', { name: 'Profile' })).toHaveCount(0);
});

test('the list of profiles follows a reload of the configuration', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await open(page, '', gateway.url);
  const picker = page.getByRole('combobox', { name: 'Profile' });
  await expect(picker).toHaveCount(0);
  gateway.configure({ ...configs.plain(), profiles: { day: { pins: { fast: 'alpha' } }, night: { pins: { fast: 'beta' } } } });
  await gateway.post('/api/config/reload');
  await expect(picker.getByRole('option')).toHaveText(['None', 'day', 'night']);
  await picker.selectOption('night');
  gateway.configure({ ...configs.plain(), profiles: { day: { pins: { fast: 'alpha' } } } });
  await gateway.post('/api/config/reload');
  await expect(picker.getByRole('option')).toHaveText(['None', 'day']);
  gateway.configure(configs.plain());
  await gateway.post('/api/config/reload');
  await expect(picker).toHaveCount(0);
});

test('16 in the mode "system" the page follows the operating system without a reload', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await open(page);
  expect(await brightness(page, 700, 895)).toBeGreaterThan(200);
  await page.emulateMedia({ colorScheme: 'dark' });
  await expect.poll(() => brightness(page, 700, 895)).toBeLessThan(60);
});

test('17 with "dark" stored, no light background is ever painted, however slow the scripts are', async ({ page, gateway }) => {
  const wire = await Wire.to(gateway.port);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.addInitScript(() => localStorage.setItem('swapyard.mode', '"dark"'));
  const release = wire.hold((path) => /assets\/(?!boot).*\.js/.test(path));
  await page.goto(`${wire.url}/ui/`, { waitUntil: 'commit' });
  await expect.poll(() => page.evaluate(() => [...document.styleSheets].length)).toBeGreaterThan(0);
  // The scripts are still on their way: this is the empty page.
  expect(await page.locator('main').count()).toBe(0);
  expect(await brightness(page, 700, 450)).toBeLessThan(60);
  release();
  await expect(page).toHaveTitle(/^●/);
  expect(await brightness(page, 700, 895)).toBeLessThan(60);
  await page.close();
  await wire.close();
});

test('18 a malformed event among valid ones does not stop later ones', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  const wire = await Wire.to(gateway.port);
  await open(page, 'models', wire.url);
  wire.noise('data: {"type":"modelStatus","data":"[{"}\n\ndata: not json at all\n\ndata: {"type":"nobody knows","data":"1"}\n\n');
  await gateway.load('beta');
  await expect(page.getByRole('button', { name: 'Unload beta' })).toBeVisible();
  await page.close();
  await wire.close();
});

test('115 a first visit transfers less than 100 KB of assets, a second one less than 5 KB', async ({ page, gateway }) => {
  const wire = await Wire.to(gateway.port);
  await open(page, 'activity', wire.url);
  await expect(page.getByRole('heading', { level: 1, name: 'Activity' })).toBeVisible();
  const assets = (): number => wire.seen.filter(({ path }) => path.startsWith('/ui')).reduce((sum, { bytes }) => sum + bytes, 0);
  const first = assets();
  test.info().annotations.push({ type: 'bytes', description: `first visit ${first}` });
  expect(first).toBeGreaterThan(10_000);
  expect(first).toBeLessThan(100 * 1024);
  await page.reload();
  await expect(page.getByRole('heading', { level: 1, name: 'Activity' })).toBeVisible();
  expect(assets() - first).toBeLessThan(5 * 1024);
  await page.close();
  await wire.close();
});

test('the command palette goes to a page, a model, and runs an action', async ({ page, another }) => {
  const gateway = await another({ models: { alpha: { cmd: demo('alpha') } } });
  await open(page, '', gateway.url);
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox', { name: 'Command' }).fill('hardw');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1, name: 'Hardware' })).toBeVisible();
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox', { name: 'Command' }).fill('load alpha');
  await page.keyboard.press('Enter');
  await expect(sidebarModels(page).getByRole('link', { name: 'ready alpha' })).toBeVisible();
});

test('keys lead to pages, and ? explains them', async ({ page }) => {
  await open(page);
  await page.keyboard.press('g');
  await page.keyboard.press('m');
  await expect(page.getByRole('heading', { level: 1, name: 'Models' })).toBeVisible();
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keyboard' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(0);
});

test('changes of a model within one millisecond are all drawn', async ({ page, gateway }) => {
  const { now } = await gateway.json<{ now: string }>('/api/yard');
  const at = new Date(Date.parse(now) - 60_000).toISOString();
  const span = (state: string, to: string | null = at): object => ({ state, from: at, to, reason: '' });
  const spans = [span('starting'), span('stopping'), span('starting'), span('stopped', null)];
  const counts = [1, 0, 2, 0].map((count) => ({ at, count, reason: '' }));
  const lanes = [{ model: 'alpha', spans, serving: counts, waiting: counts }];
  await page.route('**/api/yard', (route) => route.fulfill({ json: { now, since: at, lanes } }));
  await open(page);
  const lane = page.getByRole('img', { name: /^alpha:/ });
  await expect(lane.locator('rect.span.starting')).toHaveCount(2);
  await expect(lane.locator('rect.span.stopping')).toHaveCount(1);
});
