/** One finished request: its capture, its conversation, what fits on the screen. */
import { expect, open, test, type Page } from './support/test';
import type { Gateway, Script } from './support/gateway';

const view = (page: Page, name: string) => page.getByRole('group', { name: 'Views' }).getByRole('button', { name }).click();
const conversation = (page: Page) => page.getByRole('region', { name: 'Conversation' });

/** Sends a streamed request and gives the id of its row. */
async function streamed(gateway: Gateway, path: string, body: Record<string, unknown>): Promise<number> {
  const send = async (): Promise<string> => (await gateway.post(path, { stream: true, max_tokens: 100, ...body })).text();
  return (await gateway.row(send)).id;
}

const asked = (script: object): { role: string; content: string }[] => [{ role: 'user', content: JSON.stringify(script) }];

test('44 a JSON capture is pretty, raw shows the exact bytes, and copying copies what is shown', async ({ page, gateway, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const body = '{"model":"alpha",  "messages":[{"role":"user","content":"say: Grüße"}] }';
  const { id } = await gateway.row(() => gateway.call('/v1/chat/completions', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } }));
  await open(page, `activity/${id}`);
  await view(page, 'Bodies');
  const request = page.getByRole('region', { name: 'Request body' });
  await expect(request).toContainText('"messages"');
  await request.getByRole('button', { name: 'Copy' }).click();
  await expect(request.getByRole('button', { name: 'Copied' })).toBeVisible();
  const copied = (): Promise<string> => page.evaluate(() => navigator.clipboard.readText());
  expect(await copied()).toBe(JSON.stringify(JSON.parse(body), null, 2));
  await request.getByRole('button', { name: 'Raw' }).click();
  expect(await request.locator('pre').textContent()).toBe(body);
  await request.getByRole('button', { name: /^Cop/ }).click();
  await expect.poll(copied).toBe(body);
  const response = page.getByRole('region', { name: 'Response body' });
  await response.getByRole('searchbox', { name: 'Find in JSON' }).fill('grüße');
  await expect(response).toContainText('"content":"Grüße"');
});

test('45 of a streamed chat capture reasoning and answer are shown separately, raw shows the events', async ({ page, gateway }) => {
  const id = await streamed(gateway, '/v1/chat/completions', { model: 'alpha', messages: asked({ think: 'two and two', say: 'is four' }) });
  await open(page, `activity/${id}`);
  const answer = conversation(page).getByRole('listitem').filter({ hasText: 'assistant' });
  await expect(answer).toContainText('is four');
  await answer.getByText(/^Reasoning/).click();
  await expect(answer.getByText('two and two')).toBeVisible();
  await view(page, 'Bodies');
  await expect(page.getByRole('region', { name: 'Response body' }).locator('pre')).toContainText('data: {');
});

test('46 streamed captures of /v1/messages and /v1/responses are readable as conversations', async ({ page, gateway }) => {
  const script = { think: 'first a thought', say: 'then an answer' };
  const messages = await streamed(gateway, '/v1/messages', { model: 'alpha', messages: asked(script) });
  const responses = await streamed(gateway, '/v1/responses', { model: 'alpha', input: asked(script) });
  for (const id of [messages, responses]) {
    await open(page, `activity/${id}`);
    const answer = conversation(page).getByRole('listitem').filter({ hasText: 'assistant' });
    await expect(answer).toContainText('then an answer');
    await answer.getByText(/^Reasoning/).click();
    await expect(answer.getByText('first a thought')).toBeVisible();
  }
});

test('47 an image, a binary and an empty body are shown as what they are', async ({ page, gateway }) => {
  const response = page.getByRole('region', { name: 'Response body' });
  const bodyOf = async (script: Script): Promise<void> => {
    const { id } = await gateway.row(() => gateway.chat('alpha', script));
    await open(page, `activity/${id}?view=bodies`);
    await expect(page.getByRole('heading', { level: 1, name: `Request ${id}` })).toBeVisible();
  };
  await bodyOf({ send: 'picture' });
  await expect(response.getByRole('img', { name: 'Response body' })).toBeVisible();
  expect(await response.getByRole('img').evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(256);
  await bodyOf({ send: 'bytes' });
  await expect(response).toContainText('Binary data of type application/octet-stream');
  // Of an answer without a body there is no capture at all, as with the original.
  await bodyOf({ send: 'nothing' });
  await expect(page.getByText('The answer was empty')).toBeVisible();
  const speech = await gateway.row(() => gateway.post('/v1/audio/speech', { model: 'seer', input: 'hello', voice: 'low' }));
  await open(page, `activity/${speech.id}?view=bodies`);
  await expect(response).toContainText('Not kept');
});

test('48 a capture that is gone says so, and Back leads to the row', async ({ page }) => {
  await open(page, 'activity');
  await page.goto('/ui/#/activity/999999');
  await expect(page.getByText('There is no request 999999')).toBeVisible();
  await page.goBack();
  await expect(page.getByRole('heading', { level: 1, name: 'Activity' })).toBeVisible();
});

for (const [width, height] of [[1400, 900], [390, 844]] as const) {
  test(`49 at ${width}×${height} every part of a request lies inside the window`, async ({ page, gateway }) => {
    await page.setViewportSize({ width, height });
    const long = 'x'.repeat(400);
    const id = await streamed(gateway, '/v1/chat/completions', {
      model: 'alpha', metadata: { note: long }, messages: asked({ say: `${long}\n\n\`\`\`\n${long}\n\`\`\`` }),
    });
    for (const name of ['conversation', 'bodies', 'headers', 'tools']) {
      await open(page, `activity/${id}?view=${name}`);
      await expect(page.getByRole('group', { name: 'Views' })).toBeVisible();
      await expect(page.getByRole('region').nth(3)).toBeVisible();
      expect(await sticksOut(page)).toEqual([]);
    }
  });
}

/** Panels and controls whose right edge is outside of the window, unless something around them scrolls. */
async function sticksOut(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const scrolls = (element: Element | null): boolean =>
      element !== null && element.id !== 'main' && (/(auto|scroll)/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
    return [...document.querySelectorAll('main section, main button, main a, main input, main select')]
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element.parentElement))
      .map((element) => element.outerHTML.slice(0, 120));
  });
}

test('a request can be sent again, compared, and opened in the playground', async ({ page, gateway }) => {
  await gateway.row(() => gateway.chat('alpha', { say: 'the first answer' }));
  const { id } = await gateway.row(() => gateway.chat('alpha', { say: 'the second answer' }));
  await open(page, `activity/${id}?view=tools`);
  await page.getByRole('button', { name: 'Send it again' }).click();
  await expect(page.getByRole('region', { name: 'Replay' })).toContainText('the second answer');
  await page.getByRole('button', { name: 'Compare', exact: true }).click();
  await expect(page.getByRole('region', { name: 'Compare' }).locator('.plus')).toContainText('the second answer');
  await expect(page.getByRole('region', { name: 'Compare' }).locator('.minus')).toContainText('the first answer');
  await page.getByRole('link', { name: 'In the playground' }).click();
  await expect(page.getByRole('article', { name: 'Answer of alpha' })).toHaveCount(0);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await expect(page.getByRole('article', { name: 'Answer of alpha' })).toContainText('the second answer');
});

test('the log lines of exactly this request stand below it', async ({ page, gateway }) => {
  const { id } = await gateway.row(() => gateway.chat('alpha'));
  await open(page, `activity/${id}`);
  const code = (await page.getByRole('region', { name: 'Facts' }).locator('code').textContent()) ?? '';
  expect(code).not.toBe('');
  const lines = page.getByRole('region', { name: 'Log lines' });
  await expect(lines.locator('pre').or(lines.getByText('No line that is still kept'))).toContainText(code);
});
