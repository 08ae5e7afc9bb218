/** Where keys are configured: a form that asks for one, and nothing before it is given. */
import { configs } from './support/configs';
import { expect, test, type Page } from './support/test';

const form = (page: Page) => page.getByRole('dialog', { name: /asks for a key/ });

async function enter(page: Page, key: string): Promise<void> {
  await form(page).getByLabel('API key').fill(key);
  await form(page).getByRole('button', { name: 'Log in' }).click();
}

test('116 without a key there is a login form; with one everything works, events included; a revoked one leads back', async ({ page, another }) => {
  const gateway = await another(configs.locked());
  await page.goto(`${gateway.url}/ui/#/models`);
  await expect(form(page)).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(form(page)).toBeVisible();
  await enter(page, 'wrong');
  await expect(form(page).getByRole('alert')).toContainText('invalid or missing API key');
  await enter(page, 'open-sesame');
  await expect(form(page)).toHaveCount(0);
  await expect(page).toHaveTitle(/^●/);
  // What happens elsewhere shows here: the event stream is open.
  const load = fetch(`${gateway.url}/api/models/load/alpha`, { method: 'POST', headers: { Authorization: 'Bearer open-sesame' } });
  await expect(page.getByRole('button', { name: 'Unload alpha' })).toBeVisible();
  await load;
  await page.reload();
  await expect(page.getByRole('button', { name: 'Unload alpha' })).toBeVisible();
  // The model's own page is opened by the browser, which has to be given the key.
  await page.getByRole('button', { name: 'Open the page of alpha' }).click();
  const dialog = page.getByRole('dialog', { name: 'The page of alpha' });
  await expect(dialog).toContainText('the key as password');
  const opening = page.context().waitForEvent('page');
  await dialog.getByRole('button', { name: 'Open in a new tab' }).click();
  const own = await opening;
  await expect(own.locator('body')).toContainText('alpha');
  await expect(own.locator('body')).not.toContainText('unauthorized');
  await own.close();
  gateway.configure({ ...configs.locked(), apiKeys: ['another'] });
  await page.goto(`${gateway.url}/ui/#/settings`);
  await page.getByRole('button', { name: 'Reload the configuration' }).click();
  await page.reload();
  await expect(form(page)).toContainText('no longer accepted');
  await enter(page, 'another');
  await expect(page).toHaveTitle(/^●/);
  await page.getByRole('button', { name: 'Log out' }).click();
  await expect(form(page)).toBeVisible();
});
