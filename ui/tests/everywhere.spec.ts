/** What holds on every page: nothing outside of the window, contrast, names for everything, the keyboard. */
import AxeBuilder from '@axe-core/playwright';
import { places, settled, sticksOut } from './support/places';
import { expect, menu, open, test, type Page } from './support/test';

/** Something of everything, so that pages are not judged by their empty forms. */
test.beforeEach(async ({ gateway }) => {
  await expect.poll(() => gateway.state('alpha')).toBe('ready');
  if ((await gateway.newest()).id > 0) return;
  await gateway.row(() => gateway.chat('alpha', { think: 'a thought', say: 'a **bold** answer' }, { stream: true }));
  await gateway.row(() => gateway.chat('alpha', { status: 502, error: 'asked for' }));
});

for (const mode of ['light', 'dark'] as const) {
  test(`112 every page passes axe in ${mode} mode, contrast included`, async ({ page, gateway }) => {
    test.setTimeout(120_000);
    await page.emulateMedia({ colorScheme: mode, reducedMotion: 'reduce' });
    const end = await gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 5 });
    const wrong: string[] = [];
    for (const [name, place] of Object.entries(places)) {
      await open(page, place);
      await settled(page);
      const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']).analyze();
      for (const { id, nodes } of violations) for (const node of nodes) wrong.push(`${name}: ${id}: ${node.html.slice(0, 160)} ${node.failureSummary?.split('\n')[1]?.trim() ?? ''}`);
    }
    await end();
    expect(wrong).toEqual([]);
  });
}

test('113 on a phone no page has a control outside of the window', async ({ page }) => {
  test.setTimeout(120_000);
  await page.setViewportSize({ width: 390, height: 844 });
  const wrong: string[] = [];
  for (const [name, place] of Object.entries(places)) {
    await open(page, place);
    await settled(page);
    wrong.push(...(await sticksOut(page)).map((what) => `${name}: ${what}`));
  }
  expect(wrong).toEqual([]);
});

test('113 on a phone the menu closes after choosing', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await open(page);
  await page.getByRole('button', { name: 'Menu', exact: true }).click();
  await expect(menu(page).getByRole('link', { name: 'Logs' })).toBeInViewport();
  await menu(page).getByRole('link', { name: 'Logs' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Logs' })).toBeVisible();
  await expect(menu(page).getByRole('link', { name: 'Logs' })).not.toBeInViewport();
});

test('114 with the keyboard alone: load a model, chat, stop, read the capture; the focus is always visible', async ({ page, gateway }) => {
  await gateway.unload('beta');
  await open(page, 'models');
  const load = page.getByRole('button', { name: 'Load beta' });
  await tabTo(page, () => load.evaluate((button) => button === document.activeElement));
  await page.keyboard.press('Enter');
  await expect(page.getByRole('button', { name: 'Unload beta' })).toBeVisible();
  await page.keyboard.press('Control+k');
  await expect(page.getByRole('dialog').getByRole('combobox')).toBeFocused();
  await page.keyboard.type('chat with beta');
  await expect(page.getByRole('dialog').getByRole('option').first()).toContainText('beta');
  await page.keyboard.press('Enter');
  const message = page.getByRole('textbox', { name: 'Message' });
  await expect(page.getByRole('combobox', { name: 'Model 1' })).toHaveValue('beta');
  await tabTo(page, () => message.evaluate((field) => field === document.activeElement));
  await page.keyboard.type('{"say": "and so on and so on and so on and so on and so on", "pace": 2}');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('article', { name: 'Answer of beta' })).toContainText('and so on');
  const stop = page.getByRole('button', { name: 'Stop', exact: true });
  await tabTo(page, () => stop.evaluate((button) => button === document.activeElement));
  const { id } = await gateway.row(() => page.keyboard.press('Enter'));
  await expect(page.getByRole('article', { name: 'Answer of beta' })).toContainText('stopped');
  await page.keyboard.press('Control+k');
  await expect(page.getByRole('dialog').getByRole('combobox')).toBeFocused();
  await page.keyboard.type(String(id));
  await expect(page.getByRole('dialog').getByRole('option').first()).toContainText(String(id));
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1, name: `Request ${id}` })).toBeVisible();
  const bodies = page.getByRole('button', { name: 'Bodies' });
  await tabTo(page, () => bodies.evaluate((button) => button === document.activeElement));
  await page.keyboard.press('Enter');
  await expect(page.getByRole('region', { name: 'Request body' })).toBeVisible();
});

/** Presses Tab until the wanted element has the focus; every stop on the way must be visible as such. */
async function tabTo(page: Page, reached: () => Promise<boolean>): Promise<void> {
  for (let step = 0; step < 150; step++) {
    if (await reached()) return;
    await page.keyboard.press('Tab');
    const unseen = await page.evaluate(() => {
      const element = document.activeElement;
      if (!(element instanceof HTMLElement || element instanceof SVGElement) || element === document.body || element.id === 'main') return '';
      const around: Element[] = [];
      for (let at: Element | null = element; at !== null && around.length < 4; at = at.parentElement) around.push(at);
      const look = (): string =>
        around.map((one) => getComputedStyle(one)).map((style) => [style.outline, style.boxShadow, style.borderColor, style.backgroundColor].join()).join(';');
      const focused = look();
      element.blur();
      const blurred = look();
      element.focus({ preventScroll: true });
      return focused === blurred ? element.outerHTML.slice(0, 200) : '';
    });
    expect(unseen, 'has the focus, and nothing shows it').toBe('');
  }
  throw new Error('Tab never came there');
}
