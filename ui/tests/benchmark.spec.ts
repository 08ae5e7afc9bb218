/** The benchmark: several requests at once, what they took, and keeping the numbers. */
import { expect, menu, open, test, type Page } from './support/test';

async function plan(page: Page, models: string[], { atOnce = '2', tokens = '20', repeats = '1' } = {}): Promise<void> {
  await open(page, 'benchmark');
  const panel = page.getByRole('region', { name: 'Plan' });
  for (const [index, name] of models.entries()) {
    if (index > 0) await panel.getByRole('button', { name: 'Another model' }).click();
    await panel.getByRole('combobox', { name: `Model ${index + 1}` }).selectOption(name);
  }
  for (const [label, value] of [['At once, in steps', atOnce], ['Prompt sizes, tokens', '0'], ['Repeats', repeats], ['Tokens to generate', tokens]] as const) {
    await panel.getByLabel(label).fill(value);
    await panel.getByLabel(label).press('Tab');
  }
}

const run = (page: Page) => page.getByRole('button', { name: 'Run', exact: true });

test('92 requests of a step go out together, and stopping marks the rest', async ({ page, gateway }) => {
  await plan(page, ['alpha'], { atOnce: '4', tokens: '20000' });
  await run(page).click();
  await expect.poll(async () => (await gateway.json<{ requests: unknown[] }>('/api/inflight')).requests.length).toBe(4);
  await page.getByRole('button', { name: 'Stop' }).click();
  await expect(run(page)).toBeVisible();
  await expect(page.getByRole('region', { name: 'Results' }).getByRole('row').last()).toContainText('4 failed');
  await expect.poll(async () => (await gateway.json<{ requests: unknown[] }>('/api/inflight')).requests.length).toBe(0);
});

test('92 two models twice each at the same time: four requests in parallel, whose phases add up to their time', async ({ page, gateway }) => {
  await plan(page, ['alpha', 'seer'], { atOnce: '2', tokens: '20000' });
  await page.getByRole('checkbox', { name: /^all models at the same time/ }).check();
  await page.getByRole('checkbox', { name: /^warm up/ }).uncheck();
  await run(page).click();
  const models = async (): Promise<string[]> => (await gateway.json<{ requests: { model: string }[] }>('/api/inflight')).requests.map(({ model }) => model).sort();
  await expect.poll(models).toEqual(['alpha', 'alpha', 'seer', 'seer']);
  await page.getByRole('button', { name: 'Stop' }).click();
  await expect(run(page)).toBeVisible();
  const titles = await page.locator('svg[aria-label^="Timeline"] g > title').allTextContents();
  expect(titles).toHaveLength(4);
  const milliseconds = (text: string): number => Number.parseFloat(text) * (text.endsWith('ms') ? 1 : 1000);
  for (const title of titles) {
    expect(title).toMatch(/, stopped$/);
    const times = [...title.matchAll(/([\d.]+ (?:ms|s))\b/g)].map(([, text]) => milliseconds(text ?? ''));
    const total = times.pop() ?? 0;
    // Shown rounded: to a hundredth of a second, or a millisecond, each.
    expect(Math.abs(times.reduce((sum, part) => sum + part, 0) - total)).toBeLessThan(25);
  }
});

test('93 while a benchmark runs the menu says so on every page', async ({ page }) => {
  await plan(page, ['alpha'], { tokens: '20000' });
  await run(page).click();
  await menu(page).getByRole('link', { name: 'Models' }).click();
  await expect(menu(page).getByRole('link', { name: /^Benchmark/ })).toContainText('…');
  await menu(page).getByRole('link', { name: /^Benchmark/ }).click();
  await page.getByRole('button', { name: 'Stop' }).click();
  await expect(menu(page).getByRole('link', { name: /^Benchmark/ })).not.toContainText('…');
});

test('94 a finished benchmark tells first token, speed and percentiles for each model, survives a reload and can be exported', async ({ page }) => {
  await plan(page, ['alpha', 'seer'], { atOnce: '1, 2', repeats: '2' });
  await run(page).click();
  const results = page.getByRole('region', { name: 'Results' });
  await expect(run(page)).toBeVisible();
  await expect(results.getByRole('row')).toHaveCount(5);
  const check = async (): Promise<void> => {
    for (const [index, name] of ['alpha', 'alpha', 'seer', 'seer'].entries()) {
      const row = results.getByRole('row').nth(index + 1);
      await expect(row).toContainText(name);
      await expect(row).toContainText(/\d t\/s/);
      await expect(row).toContainText(/\d+ ms \/ \d+ ms/);
    }
  };
  await check();
  await page.reload();
  await check();
  const saving = page.waitForEvent('download');
  await page.getByRole('button', { name: 'CSV' }).click();
  expect((await saving).suggestedFilename()).toBe('benchmark.csv');
});
