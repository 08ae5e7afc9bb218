/** The playground's other tabs: pictures, speech, transcription, ranking, embeddings. */
import { configs } from './support/configs';
import { python } from './support/gateway';
import { expect, open, test, type Page } from './support/test';

const model = (page: Page) => page.getByRole('combobox', { name: 'Model', exact: true });
const posted = (page: Page, path: string) => page.waitForRequest((request) => request.method() === 'POST' && new URL(request.url()).pathname === path);

function wav(name: string): { name: string; mimeType: string; buffer: Buffer } {
  const head = Buffer.from('RIFF....WAVEfmt ....................data....', 'latin1');
  return { name, mimeType: 'audio/wav', buffer: Buffer.concat([head, Buffer.alloc(1000)]) };
}

test('84 SDAPI with a batch of two and one LoRA: the body holds all fields, two images come, each can be enlarged and downloaded', async ({ page }) => {
  await open(page, 'playground?tab=images');
  await model(page).selectOption('seer');
  await page.getByRole('group', { name: 'Interface' }).getByRole('button', { name: /SD/i }).click();
  await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill('a yard at night');
  await page.getByRole('textbox', { name: 'Negative prompt' }).fill('people');
  await page.getByRole('spinbutton', { name: 'Batch' }).fill('2');
  await page.getByRole('spinbutton', { name: 'Steps' }).fill('7');
  await page.getByRole('spinbutton', { name: 'Steps' }).press('Tab');
  await page.getByRole('combobox', { name: 'Size' }).selectOption('512x512');
  await page.getByRole('button', { name: 'List LoRAs' }).click();
  await page.getByRole('combobox', { name: 'Add a LoRA' }).selectOption('none');
  await page.getByRole('spinbutton', { name: 'Weight of none' }).fill('0.7');
  const sending = posted(page, '/sdapi/v1/txt2img');
  await page.getByRole('button', { name: 'Generate' }).click();
  expect((await sending).postDataJSON()).toMatchObject({
    model: 'seer', prompt: 'a yard at night', negative_prompt: 'people', batch_size: 2, steps: 7, width: 512, height: 512,
    lora: [{ path: 'none', multiplier: 0.7 }],
  });
  const results = page.getByRole('region', { name: 'Results' });
  await expect(results.getByRole('figure')).toHaveCount(2);
  expect(await results.getByRole('img').evaluateAll((images) => images.map((image) => (image as HTMLImageElement).naturalWidth))).toEqual([256, 256]);
  const saving = page.waitForEvent('download');
  await results.getByRole('button', { name: 'Download' }).first().click();
  expect((await saving).suggestedFilename()).toMatch(/^image-.*\.png$/);
});

test('85 an enlarged image closes with Escape', async ({ page }) => {
  await open(page, 'playground?tab=images');
  await model(page).selectOption('seer');
  await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill('a lamp');
  await page.getByRole('textbox', { name: 'Prompt', exact: true }).press('Enter');
  await page.getByRole('region', { name: 'Results' }).getByRole('button', { name: 'Enlarge' }).click();
  await expect(page.getByRole('dialog', { name: 'Image' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(0);
});

test('86 the voices of the model are offered, and without an answer the usual ones', async ({ page }) => {
  await open(page, 'playground?tab=speech');
  const voices = page.getByRole('combobox', { name: 'Voice' }).getByRole('option');
  await model(page).selectOption('seer');
  await page.getByRole('button', { name: 'List the voices of this model' }).click();
  await expect(voices).toHaveText(['low', 'high']);
  await model(page).selectOption('broken');
  await page.getByRole('button', { name: 'List the voices of this model' }).click();
  await expect(page.getByRole('alert')).toContainText('the usual names are offered');
  await expect(voices).toHaveText(['alloy', 'ash', 'coral', 'echo', 'fable', 'nova', 'shimmer']);
});

const voiceServer = `#!${python}
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = sys.argv[2].encode() if self.path.startswith("/v1/audio/voices") else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`;
test('86 voices come as a list of names, as a list of objects, or within an object', async ({ page, another }) => {
  const shapes = { names: ['anna', 'bert'], objects: [{ id: 'cleo' }, { id: 'dora' }], within: { voices: [{ id: 'emil' }, 'fritz'] } };
  const models = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { cmd: `voice-server \${PORT} '${JSON.stringify(shape)}'` }]));
  const gateway = await another({ groups: { all: { swap: false, exclusive: false, members: Object.keys(models) } }, models }, { 'voice-server': voiceServer });
  await open(page, 'playground?tab=speech', gateway.url);
  const voices = page.getByRole('combobox', { name: 'Voice' }).getByRole('option');
  for (const [name, expected] of Object.entries({ names: ['anna', 'bert'], objects: ['cleo', 'dora'], within: ['emil', 'fritz'] })) {
    await model(page).selectOption(name);
    await page.getByRole('button', { name: 'List the voices of this model' }).click();
    await expect(voices).toHaveText(expected);
  }
});

test('87 a WAV answer is downloaded with a name that ends in .wav', async ({ page }) => {
  await open(page, 'playground?tab=speech');
  await model(page).selectOption('seer');
  await page.getByRole('textbox', { name: 'Text', exact: true }).fill('all aboard');
  const sending = posted(page, '/v1/audio/speech');
  await page.getByRole('button', { name: 'Speak' }).click();
  expect((await sending).postDataJSON()).toMatchObject({ model: 'seer', input: 'all aboard' });
  const saving = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download' }).click();
  expect((await saving).suggestedFilename()).toMatch(/\.wav$/);
});

test('88 a wav file is transcribed and the text can be copied; another kind of file is refused with the list of formats', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page, 'playground?tab=transcription');
  await model(page).selectOption('seer');
  const file = page.locator('input[type=file]');
  await file.setInputFiles({ name: 'notes.pdf', mimeType: 'application/pdf', buffer: Buffer.alloc(10) });
  await expect(page.getByRole('alert')).toContainText(/notes\.pdf.*mp3, wav, ogg/);
  await file.setInputFiles(wav('hello.wav'));
  await expect(page.getByText('hello.wav')).toBeVisible();
  await page.getByRole('button', { name: 'Transcribe' }).click();
  await expect(page.getByText(/^a demonstration heard \d+ bytes$/)).toBeVisible();
  await page.getByRole('button', { name: 'Copy all' }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toMatch(/^a demonstration heard/);
});

test('89 a file that is dropped replaces the one that was chosen, and the page stays', async ({ page }) => {
  await open(page, 'playground?tab=transcription');
  await page.locator('input[type=file]').setInputFiles(wav('first.wav'));
  await expect(page.getByText('first.wav')).toBeVisible();
  await page.getByText('first.wav').evaluate((target) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(100)], 'second.wav', { type: 'audio/wav' }));
    for (const kind of ['dragenter', 'dragover', 'drop']) {
      target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
    }
  });
  await expect(page.getByText('second.wav')).toBeVisible();
  await expect(page.getByText('first.wav')).toHaveCount(0);
  await expect(page.getByRole('heading', { level: 1, name: 'Playground' })).toBeVisible();
});

test('90 of five documents the empty one is not sent, scores land in their rows, the order cycles through three states', async ({ page }) => {
  await open(page, 'playground?tab=rerank');
  await model(page).selectOption('seer');
  const document = (number: number) => page.getByRole('textbox', { name: `Document ${number}` });
  while ((await page.getByRole('textbox', { name: /^Document/ }).count()) > 5) await page.getByRole('button', { name: 'Remove document 1', exact: true }).click();
  for (const [index, text] of ['alpha', 'beta', '', 'gamma', 'delta'].entries()) await document(index + 1).fill(text);
  const sending = posted(page, '/v1/rerank');
  await page.getByRole('button', { name: 'Rank', exact: true }).click();
  expect((await sending).postDataJSON()).toMatchObject({ documents: ['alpha', 'beta', 'gamma', 'delta'] });
  const rows = page.getByRole('row').filter({ has: page.getByRole('textbox') });
  const score = async (index: number): Promise<string> => (await rows.nth(index).getByRole('cell').first().textContent()) ?? '';
  await expect.poll(() => score(0)).toMatch(/^-?\d\.\d{3}$/);
  const empty = page.getByRole('row').filter({ has: document(3) });
  await expect(empty.getByRole('cell').first()).toHaveText('–');
  const header = page.getByRole('columnheader', { name: /Score/ });
  const shown = async (): Promise<number[]> => (await page.locator('tbody td.num').allTextContents()).map(Number).filter((value) => !Number.isNaN(value));
  await expect(header).toHaveAttribute('aria-sort', 'none');
  await header.getByRole('button').click();
  await expect(header).toHaveAttribute('aria-sort', 'descending');
  expect(await shown()).toEqual([...(await shown())].sort((a, b) => b - a));
  await header.getByRole('button').click();
  await expect(header).toHaveAttribute('aria-sort', 'ascending');
  expect(await shown()).toEqual([...(await shown())].sort((a, b) => a - b));
  await header.getByRole('button').click();
  await expect(header).toHaveAttribute('aria-sort', 'none');
});

test('91 rerank JSON with a syntax error stays JSON and shows the error', async ({ page }) => {
  await open(page, 'playground?tab=rerank');
  const form = page.getByRole('group', { name: 'Form' });
  await form.getByRole('button', { name: 'JSON' }).click();
  const json = page.getByRole('textbox', { name: 'Query and documents as JSON' });
  await expect(json).toHaveValue(/"documents"/);
  await json.fill('{"query": ');
  await form.getByRole('button', { name: 'Table' }).click();
  await expect(page.getByRole('alert')).toContainText(/JSON/);
  await expect(json).toHaveValue('{"query": ');
});

test('95 without models every tab explains itself', async ({ page, another }) => {
  const gateway = await another(configs.empty());
  await open(page, 'playground', gateway.url);
  await expect(page.getByText('No model is configured')).toBeVisible();
  for (const tab of ['Images', 'Speech', 'Transcription', 'Rerank', 'Embeddings']) {
    await page.getByRole('group', { name: 'What to try' }).getByRole('button', { name: tab }).click();
    await expect(page.getByText('No model is configured yet')).toBeVisible();
  }
  await page.goto(`${gateway.url}/ui/#/models`);
  await expect(page.getByText('No models are configured yet')).toBeVisible();
});

test('texts are embedded and their similarity shown', async ({ page }) => {
  await open(page, 'playground?tab=embeddings');
  await model(page).selectOption('seer');
  await page.getByRole('textbox', { name: 'Texts, one a line' }).fill('one\ntwo\none');
  await page.getByRole('button', { name: 'Embed', exact: true }).click();
  const table = page.getByRole('region', { name: 'Similarity' });
  await expect(table.getByRole('row').nth(1).getByRole('cell')).toHaveText([/^1\.00$/, /^-?0\.\d\d$/, /^1\.00$/]);
});
