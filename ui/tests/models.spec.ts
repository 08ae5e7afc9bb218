/** Models: the list, loading and unloading, one model's own page. */
import { configs } from './support/configs';
import { demo, type Gateway } from './support/gateway';
import { expect, menu, open, test, type Page, sidebarModels } from './support/test';

const group = (page: Page, name: string) => page.getByRole('region', { name, exact: true });
const row = (page: Page, model: string) => page.getByRole('main').getByRole('listitem').filter({ has: page.getByRole('link', { name: new RegExp(`(^|\\s)${model.replace(/[/:]/g, '.')}(\\s|$)`) }) }).first();

// Whatever other tests have left behind: two models are ready, the others are not.
test.beforeEach(async ({ gateway }) => {
  await Promise.all(['beta', 'slow', 'org/model:7b', 'broken'].map((model) => gateway.unload(model)));
  await expect.poll(() => gateway.state('alpha')).toBe('ready');
  await expect.poll(() => gateway.state('seer')).toBe('ready');
});

test('50 counts, groups, states, aliases and targets are right; the unlisted model is hidden', async ({ page, gateway }) => {
  const loading = gateway.load('slow').catch(() => undefined);
  await open(page, 'models');
  await expect(page.getByRole('main')).toContainText('8 models, 2 ready');
  await expect(group(page, 'Local').getByRole('listitem')).toHaveCount(6);
  await expect(group(page, 'Peers').getByRole('listitem')).toHaveCount(2);
  await expect(row(page, 'Alpha')).toContainText('ready');
  await expect(row(page, 'Alpha')).toContainText('↳ gpt-4o-mini');
  await expect(row(page, 'beta')).toContainText('stopped');
  await expect(row(page, 'slow')).toContainText('loading');
  await expect(row(page, 'north/big')).toContainText('on north');
  await expect(page.getByRole('main').getByText('hidden')).toHaveCount(0);
  await expect(sidebarModels(page).getByRole('link', { name: /hidden/ })).toHaveCount(0);
  const selector = group(page, 'Selectors').getByRole('listitem');
  await expect(selector).toContainText('spillover');
  await expect(selector).toContainText('up to 2 each');
  await expect(selector.getByRole('link')).toHaveText(['alpha', 'beta']);
  await menu(page).getByRole('link', { name: 'Yard' }).click();
  await expect(page.getByRole('img', { name: /^alpha: ready/ })).toBeVisible();
  await expect(page.getByRole('img', { name: /^hidden/ })).toHaveCount(0);
  await gateway.unload('slow');
  await loading;
});

test('51 with unlisted models shown, the unlisted one is listed and tagged, also in the sidebar, after a reload', async ({ page }) => {
  await open(page, 'models');
  await page.getByRole('checkbox', { name: 'unlisted (1)' }).check();
  await page.reload();
  await expect(row(page, 'hidden')).toContainText('unlisted');
  await expect(sidebarModels(page).getByRole('link', { name: 'stopped hidden' })).toBeVisible();
});

test('52 a stopped model is loaded: loading, then ready, and the button becomes unload', async ({ page }) => {
  await open(page, 'models');
  await page.getByRole('button', { name: 'Load beta' }).click();
  await expect(page.getByRole('button', { name: /^(Cancel load|Stop loading) beta$/ })).toBeVisible();
  await expect(row(page, 'beta')).toContainText('loading');
  await expect(row(page, 'beta')).toContainText('ready');
  await page.getByRole('button', { name: 'Unload beta' }).click();
  await expect(row(page, 'beta')).toContainText('stopped');
  await expect(page.getByRole('button', { name: 'Load beta' })).toBeEnabled();
});

test('53 a load in progress is cancelled: the request ends, the row returns to its state', async ({ page }) => {
  await open(page, 'models');
  const ended = page.waitForEvent('requestfailed', (request) => request.url().endsWith('/api/models/load/slow'));
  await page.getByRole('button', { name: 'Load slow' }).click();
  await expect(row(page, 'slow')).toContainText('loading');
  await page.getByRole('button', { name: /^(Cancel load|Stop loading) slow$/ }).click();
  await ended;
  await page.getByRole('button', { name: 'Stop loading slow' }).or(page.getByRole('button', { name: 'Load slow' })).click();
  await expect(page.getByRole('alert')).toHaveCount(0);
});

test('54 a load that fails shows the reason and a way to the log', async ({ page }) => {
  await open(page, 'models');
  await page.getByRole('button', { name: 'Load broken' }).click();
  const message = page.getByRole('region', { name: 'Messages' }).getByRole('alert');
  await expect(message).toContainText('broken was not loaded');
  await expect(message).toContainText(/exit|code 3|status 3/i);
  await expect(row(page, 'broken')).toContainText(/exit|code 3|status 3/i);
  await message.getByRole('link', { name: 'Show its log' }).click();
  await expect(page.getByRole('log')).toContainText('are missing');
});

test('55 a model with a slash and a colon in its ID can be opened, loaded, unloaded, and its own page too', async ({ page, context }) => {
  await open(page, 'models');
  await page.getByRole('main').getByRole('link', { name: 'org/model:7b', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'org/model:7b' })).toBeVisible();
  await page.getByRole('button', { name: 'Load org/model:7b' }).click();
  await expect(page.getByRole('button', { name: 'Unload org/model:7b' })).toBeEnabled();
  const opening = context.waitForEvent('page');
  await page.getByRole('link', { name: 'Its own page' }).click();
  const own = await opening;
  await expect(own.getByText('model-7b: a demonstration server')).toBeVisible();
  await own.close();
  await page.getByRole('button', { name: 'Unload org/model:7b' }).click();
  await expect(page.getByRole('button', { name: 'Load org/model:7b' })).toBeVisible();
});

test('56 unload all makes one call, and without a ready model it is disabled', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await gateway.load('alpha');
  await open(page, 'models', gateway.url);
  let calls = 0;
  page.on('request', (request) => {
    if (request.url().endsWith('/api/models/unload')) calls++;
  });
  const button = page.getByRole('button', { name: /Unload all|Unloading/ });
  await button.click();
  await expect(row(page, 'alpha')).toContainText('stopped');
  await expect(button).toBeDisabled();
  expect(calls).toBe(1);
});

test('57 unloading a model with two requests in flight names the two first', async ({ page, gateway }) => {
  const ends = await Promise.all(['one', 'two'].map((name) => gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 10 }, { 'X-Trace-ID': name })));
  await open(page, 'models/alpha');
  await expect(page.getByRole('region', { name: 'Now' })).toContainText('2 requests in flight');
  await page.getByRole('button', { name: 'Unload alpha' }).click();
  const dialog = page.getByRole('dialog', { name: 'Unload alpha?' });
  await expect(dialog).toContainText('2 requests would be cut off');
  await expect(dialog.getByRole('listitem')).toHaveText([/one/, /two/]);
  await dialog.getByRole('button', { name: 'Keep it' }).click();
  expect(await gateway.state('alpha')).toBe('ready');
  for (const end of ends) await end();
});

test('58 the mappings of the profiles are listed, the disabled one tagged', async ({ page, gateway }) => {
  await gateway.call('/api/profiles/active', { method: 'PUT', body: '{"name":"day"}' });
  await open(page, 'models');
  const profile = group(page, 'Profiles').getByRole('listitem').filter({ hasText: 'day' });
  await expect(profile).toContainText('active');
  await expect(profile).toContainText('fast → alpha');
  await expect(profile).toContainText('off → disabled');
  await gateway.call('/api/profiles/active', { method: 'PUT', body: '{"name":null}' });
  await expect(group(page, 'Profiles')).toContainText('none is active');
});

test('59 an alias leads to the page of its model', async ({ page }) => {
  await open(page, 'models/gpt-4o-mini');
  await expect(page.getByRole('heading', { level: 1, name: 'Alpha' })).toBeVisible();
});

test('60 a cold start on a model shows that it loads, never "not found"', async ({ page }) => {
  await page.addInitScript(() => {
    const seen = globalThis as unknown as { missing: boolean };
    seen.missing = false;
    new MutationObserver(() => {
      if (document.body?.textContent?.includes('There is no model')) seen.missing = true;
    }).observe(document, { childList: true, subtree: true });
  });
  await open(page, 'models/alpha');
  await expect(page.getByRole('heading', { level: 1, name: 'Alpha' })).toBeVisible();
  expect(await page.evaluate(() => (globalThis as unknown as { missing: boolean }).missing)).toBe(false);
  await page.goto('/ui/#/models/nobody');
  await expect(page.getByText('There is no model or alias called “nobody”')).toBeVisible();
  await page.getByRole('link', { name: 'All models' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Models' })).toBeVisible();
});

test('61 the page of a peer has no load button and no log', async ({ page }) => {
  await open(page, 'models/north%2Fbig');
  await expect(page.getByRole('heading', { level: 1, name: 'north/big' })).toBeVisible();
  await expect(page.getByText('A model of the peer north')).toBeVisible();
  await expect(page.getByRole('button', { name: /load/i })).toHaveCount(0);
  await expect(page.getByRole('group', { name: 'Views' }).getByRole('link')).toHaveText(['Overview', 'Activity']);
});

test('62 time left, command, port, process and memory of a model are shown and go on', async ({ page, gateway }) => {
  await gateway.load('beta');
  await open(page, 'models/beta');
  const now = page.getByRole('region', { name: 'Now' });
  await expect(now).toContainText(/unloaded in \d+m \d+s/);
  const left = await now.locator('strong').first().textContent();
  await expect(now.locator('strong').first()).not.toHaveText(left ?? '');
  const facts = page.getByRole('region', { name: 'Facts' });
  await expect(facts).toContainText('swapyard.demo.server');
  await expect(facts).toContainText(/Port\s*\d{4,5}/);
  await expect(facts).toContainText(/Process\s*\d+/);
  await expect(page.getByRole('region', { name: 'Memory' }).getByRole('listitem').last()).toContainText(/[\d.]+ MiB/);
  await now.getByRole('button', { name: 'Keep' }).click();
  await expect(page.getByRole('status').filter({ hasText: 'beta stays' })).toBeVisible();
});

test('a request under way says that its model loads for it, on the activity page and on that of the model', async ({ page, gateway }) => {
  await open(page, 'activity');
  const end = await gateway.stream('slow', { say: 'at last' });
  const row = page.getByRole('region', { name: 'In flight' }).getByRole('listitem').filter({ hasText: 'slow' });
  await expect(row).toContainText('model loads');
  await page.goto(page.url().replace('activity', 'models/slow'));
  await expect(page.getByRole('region', { name: 'Requests in order' }).getByRole('listitem')).toContainText('model loads');
  await end();
  await gateway.unload('slow');
});

test.describe('one model at a time', () => {
  let gateway: Gateway;
  test('who waits for what, and why, is on the landing page and on the model', async ({ page, another }) => {
    gateway = await another({ models: { alpha: { cmd: demo('alpha') }, beta: { cmd: demo('beta') } } });
    const end = await gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 10 });
    await expect.poll(() => gateway.state('alpha')).toBe('ready');
    const waiting = gateway.chat('beta');
    await open(page, '', gateway.url);
    await expect(page.getByRole('heading', { level: 1, name: 'Yard' })).toBeVisible();
    await expect(page.getByRole('region', { name: 'In flight' }).getByRole('listitem').filter({ hasText: 'beta' })).toContainText(/alpha/);
    await open(page, 'models/beta', gateway.url);
    await expect(page.getByRole('region', { name: 'Now' })).toContainText('1 request waiting');
    const mine = page.getByRole('region', { name: 'Requests in order' }).getByRole('listitem');
    await expect(mine).toContainText('waiting');
    await expect(mine).toContainText('alpha: 1 in flight');
    await end();
    await waiting;
    await expect(page.getByRole('region', { name: 'Loads and unloads' })).toContainText('loaded');
  });
});
