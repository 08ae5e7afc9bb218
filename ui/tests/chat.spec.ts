/** The playground's chat: asking, streaming, stopping, branches, pictures, and what is kept. */
import AxeBuilder from '@axe-core/playwright';
import { writeFileSync } from 'node:fs';
import type { Script } from './support/gateway';
import { expect, menu, open, test, type Page } from './support/test';

const message = (page: Page) => page.getByRole('textbox', { name: 'Message' });
const answer = (page: Page, model = 'alpha') => page.getByRole('article', { name: `Answer of ${model}` });
const send = (page: Page) => page.getByRole('button', { name: 'Send', exact: true });
const chooser = (page: Page) => page.locator('.composer input[type=file]');

async function chatWith(page: Page, model = 'alpha'): Promise<void> {
  await open(page, `playground?model=${encodeURIComponent(model)}`);
  await expect(page.getByRole('combobox', { name: 'Model 1' })).toHaveValue(model);
}

/** Sends a message whose answer is known. */
async function ask(page: Page, script: Script): Promise<void> {
  await message(page).fill(JSON.stringify(script));
  await message(page).press('Enter');
}

async function answered(page: Page, script: Script): Promise<void> {
  const before = await answer(page).count();
  await ask(page, script);
  await expect(answer(page)).toHaveCount(before + 1);
  await expect(answer(page).last()).toHaveAttribute('aria-busy', 'false');
}

/** A file of that length; what is in it is of no interest, and large files go by path, which is quick. */
function file(name: string, bytes = 2000): string {
  const path = test.info().outputPath(name);
  writeFileSync(path, Buffer.alloc(bytes, name));
  return path;
}

test('63 "hi" and Enter make one streamed request with the session header; then Send is back and the input has the focus', async ({ page }) => {
  await chatWith(page);
  const requests: { headers: Record<string, string>; body: Record<string, unknown> }[] = [];
  page.on('request', (request) => {
    if (request.method() === 'POST') requests.push({ headers: request.headers(), body: request.postDataJSON() as Record<string, unknown> });
  });
  await message(page).fill('hi');
  await message(page).press('Enter');
  await expect(answer(page)).toHaveAttribute('aria-busy', 'true');
  await expect(answer(page)).toHaveAttribute('aria-busy', 'false');
  expect(requests).toHaveLength(1);
  expect(requests[0]?.headers['x-session-id']).toMatch(/^lspg-[a-z0-9]{5}$/);
  expect(requests[0]?.body).toMatchObject({ model: 'alpha', stream: true });
  expect(((await answer(page).locator('.md').textContent()) ?? '').length).toBeGreaterThan(100);
  await expect(send(page)).toBeVisible();
  await expect(message(page)).toBeFocused();
  await expect(answer(page).locator('footer')).toContainText(/\d+ t\/s/);
});

test('64 Shift+Enter breaks the line and sends nothing', async ({ page }) => {
  await chatWith(page);
  await message(page).fill('one');
  await message(page).press('Shift+Enter');
  await message(page).pressSequentially('two');
  await expect(message(page)).toHaveValue('one\ntwo');
  await expect(answer(page)).toHaveCount(0);
});

test('65 Enter that ends the composition of a character sends nothing', async ({ page }) => {
  await chatWith(page);
  await message(page).focus();
  const session = await page.context().newCDPSession(page);
  await session.send('Input.imeSetComposition', { text: 'にほん', selectionStart: 3, selectionEnd: 3 });
  await page.keyboard.press('Enter');
  await expect(answer(page)).toHaveCount(0);
  await session.send('Input.insertText', { text: '日本' });
  await expect(message(page)).toHaveValue(/日本/);
  await message(page).press('Enter');
  await expect(answer(page)).toHaveCount(1);
});

const shapes = {
  '/v1/chat/completions': {
    messages: [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: [{ type: 'text', text: 'say: yes' }, { type: 'image_url', image_url: { url: expect.stringMatching(/^data:image\/png;base64,/) as unknown as string } }] },
    ],
    temperature: 0.3, max_tokens: 99, stream: true,
  },
  '/v1/messages': {
    system: 'be brief',
    messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png' } }, { type: 'text', text: 'say: yes' }] }],
    temperature: 0.3, max_tokens: 99, stream: true,
  },
  '/v1/responses': {
    instructions: 'be brief',
    input: [{ role: 'user', content: [{ type: 'input_text', text: 'say: yes' }, { type: 'input_image', image_url: expect.stringMatching(/^data:image\/png;base64,/) as unknown as string }] }],
    temperature: 0.3, max_output_tokens: 99, stream: true,
  },
};
for (const [endpoint, shape] of Object.entries(shapes)) {
  test(`66 a message with system prompt, temperature, limit and image has the shape of ${endpoint}`, async ({ page }) => {
    await chatWith(page);
    await page.getByRole('button', { name: 'Settings', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'How the models are asked' });
    await dialog.getByRole('combobox', { name: 'Protocol' }).selectOption(endpoint);
    await dialog.getByRole('textbox', { name: 'System prompt' }).fill('be brief');
    await dialog.getByRole('spinbutton', { name: /^Temperature/ }).fill('0.3');
    await dialog.getByRole('spinbutton', { name: /tokens/i }).first().fill('99');
    await dialog.getByRole('button', { name: 'Close' }).click();
    await chooser(page).setInputFiles(file('cat.png'));
    await expect(page.getByRole('img', { name: 'attached 1' })).toBeVisible();
    const sending = page.waitForRequest((request) => request.method() === 'POST');
    await message(page).fill('say: yes');
    await message(page).press('Enter');
    const request = await sending;
    expect(new URL(request.url()).pathname).toBe(endpoint);
    expect(request.postDataJSON()).toMatchObject(shape);
    await expect(answer(page)).toContainText('yes');
  });
}

test('67 reasoning is folded with a mark while it runs, then with its duration, and can be unfolded', async ({ page }) => {
  await chatWith(page);
  await ask(page, { think: 'two and two are known. '.repeat(20), say: 'four', pace: 25 });
  const summary = answer(page).locator('summary');
  await expect(summary).toContainText('Thinking');
  await expect(answer(page).getByText('two and two').first()).toBeHidden();
  await expect(summary).toContainText(/Thought for [\d.]+ (ms|s)/);
  await expect(answer(page).locator('.md')).toHaveText('four');
  await summary.click();
  await expect(answer(page).getByText('two and two').first()).toBeVisible();
});

test('68 stopping keeps the partial answer and closes the connection', async ({ page, gateway }) => {
  await chatWith(page);
  await ask(page, { say: 'never ending '.repeat(1000), pace: 20 });
  await expect(answer(page).locator('.md')).toContainText('never ending never');
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await expect(answer(page).locator('footer')).toContainText('stopped');
  await expect(answer(page).locator('.md')).toContainText('never ending never');
  await expect.poll(async () => (await gateway.json<{ requests: unknown[] }>('/api/inflight')).requests.length).toBe(0);
});

test('69 a stream goes on while another page is shown, and the menu says so', async ({ page }) => {
  await chatWith(page);
  await ask(page, { say: 'a long tale '.repeat(60), pace: 20 });
  await expect(answer(page).locator('.md')).toContainText('a long tale a long');
  const before = ((await answer(page).locator('.md').textContent()) ?? '').length;
  await menu(page).getByRole('link', { name: 'Models' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Models' })).toBeVisible();
  await expect(menu(page).getByRole('link', { name: /^Playground/ })).toContainText('…');
  await menu(page).getByRole('link', { name: /^Playground/ }).click();
  await expect.poll(async () => ((await answer(page).locator('.md').textContent()) ?? '').length).toBeGreaterThan(before);
  await expect(answer(page)).toHaveAttribute('aria-busy', 'false');
  await expect(menu(page).getByRole('link', { name: /^Playground/ })).not.toContainText('…');
});

test('70 an error inside the stream is shown with a way to try again, and is not sent later', async ({ page }) => {
  await chatWith(page);
  await ask(page, { say: 'so far so good', error: 'the context is full' });
  await expect(answer(page).getByRole('alert')).toContainText('the context is full');
  await expect(answer(page).getByRole('button', { name: 'Try again' })).toBeVisible();
  const sending = page.waitForRequest((request) => request.method() === 'POST');
  await message(page).fill('say: next');
  await message(page).press('Enter');
  const sent = (await sending).postDataJSON() as { messages: { role: string; content: string }[] };
  const answers = sent.messages.filter(({ role }) => role === 'assistant').map(({ content }) => content);
  expect(answers.join()).not.toContain('the context is full');
});

test('71 editing the first of three questions begins a branch with a new answer', async ({ page }) => {
  await chatWith(page);
  for (const number of ['one', 'two', 'three']) await answered(page, { say: `answer ${number}` });
  await page.getByRole('button', { name: 'Edit' }).first().click();
  await page.getByRole('textbox', { name: 'Edit the message' }).fill('say: another beginning');
  await page.getByRole('textbox', { name: 'Edit the message' }).press('Enter');
  await expect(answer(page)).toHaveCount(1);
  await expect(answer(page)).toContainText('another beginning');
  await page.getByRole('button', { name: 'Previous version' }).click();
  await expect(answer(page)).toHaveCount(3);
  await expect(answer(page).last()).toContainText('answer three');
});

test('72 an answer can be asked for again, copied, and looked at as source', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await chatWith(page);
  await answered(page, { say: '**bold** words' });
  await expect(answer(page).locator('strong').last()).toHaveText('bold');
  await answer(page).getByRole('button', { name: 'Copy' }).click();
  await expect(answer(page).getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('**bold** words');
  await answer(page).getByRole('button', { name: 'Source' }).click();
  await expect(answer(page).locator('pre')).toHaveText('**bold** words');
  await answer(page).getByRole('button', { name: 'Answer again' }).click();
  await expect(answer(page).locator('footer')).toContainText('2/2');
});

test('74 code with \\(, \\[ and $ stays as it is on the screen and in the clipboard; prices stay text', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const code = "sed 's/\\[a\\]/\\(b\\)/' $FILE  # costs $5, \\[x\\]\nfind . \\( -name '*.c' \\) -o $$\n";
  await chatWith(page);
  await answered(page, { say: `It costs $5 or $6 in the shop.\n\n\`\`\`sh\n${code}\`\`\`\nand \`\\(a\\)\` inline` });
  await expect(answer(page).locator('pre code')).toHaveText(code, { useInnerText: false });
  expect(await answer(page).locator('pre code').textContent()).toBe(code);
  await expect(answer(page).getByText('It costs $5 or $6 in the shop.')).toBeVisible();
  await expect(answer(page).locator('math')).toHaveCount(0);
  await expect(answer(page).locator('p code')).toHaveText('\\(a\\)');
  await answer(page).locator('.md-bar').getByRole('button', { name: 'Copy' }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe(code.trimEnd());
});

const everything = `# First
## Second

- one
  - nested
1. first
2. second

- [x] done
- [ ] open

> quoted

| a | b |
|---|---|
| 1 | 2 |

Maths: $a^2$ and \\(b^2\\)

$$c^2$$

\\[d^2\\]

\`\`\`python
def f(x):  # comment
    return "text"
\`\`\`

\`\`\`klingon
qapla'
\`\`\`
`;
for (const mode of ['light', 'dark'] as const) {
  test(`75 all of Markdown is recognisable in ${mode} mode, with enough contrast`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: mode });
    await chatWith(page);
    await answered(page, { say: everything, pace: 0 });
    const shown = answer(page).locator('.md');
    await expect(shown.getByRole('heading', { name: 'First' })).toBeVisible();
    await expect(shown.locator('ul ul li')).toHaveText('nested');
    const marker = (selector: string): Promise<string> => shown.locator(selector).first().evaluate((element) => getComputedStyle(element).listStyleType);
    expect(await marker('ul')).toBe('disc');
    expect(await marker('ol')).toBe('decimal');
    await expect(shown.getByRole('checkbox')).toHaveCount(2);
    await expect(shown.locator('blockquote')).toHaveText('quoted');
    await expect(shown.getByRole('cell')).toHaveText(['1', '2']);
    await expect(shown.locator('math')).toHaveCount(4);
    await expect(shown.locator('pre').first().locator('.hl-k').first()).toHaveText('def');
    await expect(shown.locator('pre').last()).toHaveText(/qapla'/);
    const { violations } = await new AxeBuilder({ page }).include('article').withRules(['color-contrast']).analyze();
    expect(violations.flatMap(({ nodes }) => nodes.map((node) => node.html + (node.failureSummary ?? '')))).toEqual([]);
  });
}

test('77 the button of a code block copies exactly the code', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await chatWith(page);
  await answered(page, { say: '```js\nconst a = 1;\n\n\tif (a) b();\n```' });
  await answer(page).locator('.md-bar').getByRole('button', { name: 'Copy' }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe('const a = 1;\n\n\tif (a) b();');
});

test('78 who scrolls up during a stream stays there, and sending scrolls down again', async ({ page }) => {
  await chatWith(page);
  const box = page.locator('.scroller');
  const fromEnd = (): Promise<number> => box.evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight);
  await answered(page, { say: 'line\n\n'.repeat(80), pace: 0 });
  await expect.poll(fromEnd).toBeLessThan(40);
  await ask(page, { say: 'more\n\n'.repeat(200), pace: 30 });
  await expect(answer(page).last()).toContainText('more');
  await box.hover();
  await page.mouse.wheel(0, -600);
  await expect.poll(fromEnd).toBeGreaterThan(200);
  const top = await box.evaluate((element) => element.scrollTop);
  const height = await box.evaluate((element) => element.scrollHeight);
  await expect.poll(() => box.evaluate((element) => element.scrollHeight)).toBeGreaterThan(height + 200);
  expect(Math.abs((await box.evaluate((element) => element.scrollTop)) - top)).toBeLessThan(5);
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await ask(page, { say: 'the end' });
  await expect.poll(fromEnd).toBeLessThan(40);
});

test('79 a sixth image, a BMP and a PNG of 21 MB are refused, each with its reason', async ({ page }) => {
  await chatWith(page, 'seer');
  await chooser(page).setInputFiles(file('old.bmp'));
  await expect(page.getByRole('alert')).toHaveText('old.bmp: only JPEG, PNG, GIF and WebP are taken');
  await chooser(page).setInputFiles(file('huge.png', 21 * 1024 * 1024));
  await expect(page.getByRole('alert')).toHaveText('huge.png: larger than 20 MB');
  await chooser(page).setInputFiles([1, 2, 3, 4, 5, 6].map((number) => file(`${number}.png`)));
  await expect(page.getByRole('alert')).toHaveText('6.png: at most 5 images in a message');
  await expect(page.getByRole('img', { name: /^attached/ })).toHaveCount(5);
});

test('80 an image in the clipboard is attached by pasting it', async ({ page }) => {
  await chatWith(page, 'seer');
  await message(page).evaluate((field) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(100)], 'shot.png', { type: 'image/png' }));
    field.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  });
  await expect(page.getByRole('img', { name: 'attached 1' })).toBeVisible();
});

test('81 a conversation with 20 MB of images is complete after a reload', async ({ page }) => {
  await chatWith(page, 'seer');
  await chooser(page).setInputFiles([1, 2, 3, 4].map((number) => file(`${number}.png`, 5 * 1024 * 1024)));
  await expect(page.getByRole('img', { name: /^attached/ })).toHaveCount(4);
  await message(page).fill('say: four pictures');
  await message(page).press('Enter');
  await expect(answer(page, 'seer')).toContainText('four pictures', { timeout: 30_000 });
  await expect(answer(page, 'seer')).toHaveAttribute('aria-busy', 'false');
  await expect.poll(() => stored(page), { timeout: 30_000 }).toBe('done');
  await page.reload();
  await expect(answer(page, 'seer')).toContainText('four pictures');
  const thumbs = page.getByRole('button', { name: /^Enlarge image/ });
  await expect(thumbs).toHaveCount(4);
  const sizes = await thumbs.getByRole('img').evaluateAll((images) => images.map((image) => (image as HTMLImageElement).src.length));
  expect(Math.min(...sizes)).toBeGreaterThan(5 * 1024 * 1024 * 1.3);
});

/** The state of the newest answer in the browser's database. */
function stored(page: Page): Promise<string | undefined> {
  return page.evaluate(
    () =>
      new Promise<string | undefined>((done) => {
        const opening = indexedDB.open('swapyard');
        opening.onsuccess = () => {
          const all = opening.result.transaction('conversations').objectStore('conversations').getAll();
          all.onsuccess = () => {
            opening.result.close();
            const found = all.result as { turns: { replies: Record<string, { state: string }[]> }[] }[];
            done(Object.values(found.at(-1)?.turns.at(-1)?.replies ?? {})[0]?.at(-1)?.state);
          };
        };
      }),
  );
}

test('82 the large editor opens, and what is written there is in the input', async ({ page }) => {
  await chatWith(page);
  const height = async (field = message(page)): Promise<number> => (await field.boundingBox())?.height ?? 0;
  const small = await height();
  await page.getByRole('button', { name: 'Larger editor' }).click();
  await expect.poll(height).toBeGreaterThan(small * 3);
  await message(page).fill('written in the large one');
  await page.getByRole('button', { name: 'Smaller editor' }).click();
  await expect.poll(height).toBeLessThan(small * 2);
  await expect(message(page)).toHaveValue('written in the large one');
  for (const [tab, name] of [['images', 'Prompt'], ['speech', 'Text']] as const) {
    await open(page, `playground?tab=${tab}`);
    const field = page.getByRole('textbox', { name, exact: true });
    const before = await height(field);
    await page.getByRole('button', { name: 'Larger editor' }).click();
    await expect.poll(() => height(field)).toBeGreaterThan(before * 2);
    await field.fill('a long text');
    await page.getByRole('button', { name: 'Smaller editor' }).click();
    await expect(field).toHaveValue('a long text');
  }
});

test('83 an image for a model that only reads text is warned about, and can be sent all the same', async ({ page }) => {
  await chatWith(page);
  await chooser(page).setInputFiles(file('cat.png'));
  await expect(page.getByRole('status').filter({ hasText: 'alpha does not say that images can be read' })).toBeVisible();
  await message(page).fill('say: I see nothing');
  await expect(send(page)).toBeEnabled();
  await send(page).click();
  await expect(answer(page)).toContainText('I see nothing');
});

test('two models answer side by side', async ({ page }) => {
  await chatWith(page);
  await page.getByRole('button', { name: 'Compare' }).click();
  await page.getByRole('combobox', { name: 'Model 2' }).selectOption('seer');
  await message(page).fill('say: the same question');
  await message(page).press('Enter');
  await expect(answer(page, 'alpha')).toContainText('the same question');
  await expect(answer(page, 'seer')).toContainText('the same question');
  const [left, right] = [await answer(page, 'alpha').boundingBox(), await answer(page, 'seer').boundingBox()];
  expect(left?.y).toBe(right?.y);
});
