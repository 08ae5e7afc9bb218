/** Losing the gateway and getting it back: nothing is shown as if it were fresh, nothing is thrown away. */
import { configs } from './support/configs';
import { expect, open, test, sidebarModels } from './support/test';

test('9 and 10 without the event stream the page says so, tries again with growing pauses, and keeps the old data', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await gateway.load('alpha');
  await open(page, 'models', gateway.url);
  await expect(page.getByRole('button', { name: 'Unload alpha' })).toBeVisible();
  const attempts: number[] = [];
  page.on('request', (request) => {
    if (request.url().includes('/api/events')) attempts.push(Date.now());
  });
  await gateway.halt();
  await expect(page).toHaveTitle(/^✕ .*\(disconnected\)/);
  await expect(page.getByRole('complementary').getByRole('status')).toHaveText('disconnected');
  const banner = page.getByRole('alert');
  await expect(banner).toContainText('Disconnected');
  await expect(banner).toContainText(/What you see is \d+ s old/);
  await expect(banner.getByRole('button', { name: 'Retry now' })).toBeVisible();
  await expect(page.getByRole('link', { name: /alpha/ }).first()).toBeVisible();
  // Pauses of 1, 2, 4 and then never more than 5 seconds, give or take what makes browsers differ.
  await expect.poll(() => attempts.length, { timeout: 30_000 }).toBeGreaterThanOrEqual(4);
  const pauses = attempts.slice(1).map((at, index) => at - (attempts[index] ?? 0));
  expect(Math.max(...pauses)).toBeLessThan(6500);
  expect(pauses[1] ?? 0).toBeGreaterThan((pauses[0] ?? 0) * 1.2);
  const before = attempts.length;
  await banner.getByRole('button', { name: 'Retry now' }).click();
  await expect.poll(() => attempts.length).toBeGreaterThan(before);
});

test('11 a server that cannot be reached from the start is an error, not zero requests', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  // The page comes out of the browser's memory, as it does on a second visit; everything else fails.
  await page.route(/\/(api|v1|running|logs|wol-health)\b/, (route) => route.abort('connectionrefused'));
  await page.goto(`${gateway.url}/ui/#/activity`);
  await expect(page.getByRole('alert').filter({ hasText: 'Disconnected' })).toContainText('Nothing could be fetched yet');
  await expect(page.getByRole('alert').filter({ hasText: 'could not be fetched: ' })).toBeVisible();
  await expect(page.getByText('No request has finished yet')).toHaveCount(0);
});

test('12 when the server returns with other states, the list shows them without a reload and without going blank', async ({ page, another }) => {
  const gateway = await another(configs.plain());
  await gateway.load('alpha');
  await open(page, 'models', gateway.url);
  await expect(sidebarModels(page).getByRole('link', { name: 'ready alpha' })).toBeVisible();
  await page.evaluate(() => {
    const list = document.querySelector('main');
    const seen = (globalThis as unknown as { fewest: number });
    seen.fewest = Infinity;
    const look = (): void => void (seen.fewest = Math.min(seen.fewest, document.querySelectorAll('main li').length));
    if (list !== null) new MutationObserver(look).observe(list, { childList: true, subtree: true });
  });
  await gateway.halt();
  await expect(page).toHaveTitle(/^✕/);
  await gateway.run();
  await expect(page).toHaveTitle(/^●/);
  await expect(sidebarModels(page).getByRole('link', { name: 'stopped alpha' })).toBeVisible();
  expect(await page.evaluate(() => (globalThis as unknown as { fewest: number }).fewest)).toBeGreaterThan(1);
});
