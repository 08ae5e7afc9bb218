/** Pictures of every page in both themes and two sizes, in the folder screenshots/, which git ignores. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { places, settled, sticksOut } from './support/places';
import { configs } from './support/configs';
import type { Gateway } from './support/gateway';
import { expect, open, test } from './support/test';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'screenshots');
const sizes = { wide: { width: 1400, height: 900 }, phone: { width: 390, height: 844 } };

const answer = `## Three ways to keep a model loaded

1. set \`ttl: 0\`
2. put it into a *persistent* group
3. send it a request now and then

\`\`\`yaml
models:
  qwen:
    cmd: llama-server --port \${PORT}  # the port is filled in
    ttl: 0
\`\`\`

The chance that it stays is $1 - p^n$.`;

for (const [size, viewport] of Object.entries(sizes)) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`pictures, ${size}, ${colorScheme}`, async ({ page, gateway }) => {
      test.setTimeout(180_000);
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await expect.poll(() => gateway.state('alpha')).toBe('ready');
      if ((await gateway.newest()).id === 0) {
        await gateway.row(() => gateway.chat('alpha', { think: 'They ask about idle time.', say: answer }, { stream: true }));
        await gateway.row(() => gateway.chat('broken'));
        await gateway.load('beta');
        for (const model of ['beta', 'seer', 'alpha', 'beta', 'alpha']) await gateway.row(() => gateway.chat(model, { say: answer }, { stream: true }));
        await gateway.row(() => gateway.chat('alpha', { status: 503, error: 'out of memory on device 0' }));
      }
      const ends = [await gateway.stream('alpha', { say: 'word '.repeat(9000), pace: 10 }), await gateway.stream('beta', { say: 'word '.repeat(9000), pace: 10 })];
      for (const [name, place] of Object.entries(places)) {
        await open(page, place);
        await settled(page);
        if (name === 'Chat') {
          await page.getByRole('textbox', { name: 'Message' }).fill(`say: ${answer}`);
          await page.getByRole('textbox', { name: 'Message' }).press('Enter');
          await expect(page.getByRole('article').last()).toHaveAttribute('aria-busy', 'false');
        }
        await page.screenshot({ path: join(folder, `${name.toLowerCase().replaceAll(' ', '-')}-${size}-${colorScheme}.png`), animations: 'disabled' });
        expect(await sticksOut(page), name).toEqual([]);
      }
      for (const end of ends) await end();
    });
  }
}

/** A minute and more in the life of a gateway: three people who want three models that do not fit together. */
async function life(gateway: Gateway, seconds: number): Promise<void> {
  const over = Date.now() + seconds * 1000;
  const person = async (models: string[], pause: number): Promise<void> => {
    for (let turn = 0; Date.now() < over; turn++) {
      const model = models[turn % models.length] ?? '';
      await gateway.chat(model, { say: 'the next train leaves from track nine '.repeat(12 + ((turn * 7) % 20)), pace: 60 }, { stream: true, headers: { 'X-Session-ID': `desk-${pause}` } });
      await new Promise((next) => setTimeout(next, pause * (1 + (turn % 3))));
    }
  };
  await Promise.all([
    person(['qwen3-coder-30b-a3b-instruct-q4_k_m'], 400),
    person(['qwen3-coder-30b-a3b-instruct-q4_k_m', 'gemma-3-27b-it-qat-q4_0'], 1500),
    person(['gpt-oss-120b-mxfp4', 'qwen3-coder-30b-a3b-instruct-q4_k_m', 'gemma-3-27b-it-qat-q4_0'], 9000),
    person(['nomic-embed-text-v1.5'], 2500),
  ]);
}

test('pictures of a busy gateway with forty models', async ({ page, another }) => {
  test.setTimeout(300_000);
  const gateway = await another(configs.busy());
  await life(gateway, Number(process.env['LIFE'] ?? 100));
  const ends = [
    await gateway.stream('qwen3-coder-30b-a3b-instruct-q4_k_m', { say: 'word '.repeat(9000), pace: 20 }, { 'X-Session-ID': 'desk-400' }),
    await gateway.stream('gpt-oss-120b-mxfp4', { say: 'never' }),
    await gateway.stream('gemma-3-27b-it-qat-q4_0', { say: 'never' }),
  ];
  const shown = {
    yard: '', activity: 'activity', models: 'models', performance: 'performance?window=5m', logs: 'logs',
    model: 'models/qwen3-coder-30b-a3b-instruct-q4_k_m', waiting: 'models/gpt-oss-120b-mxfp4',
  };
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      for (const [name, place] of Object.entries(shown)) {
        await open(page, place, gateway.url);
        await settled(page);
        await page.screenshot({ path: join(folder, `busy-${name}-${size}-${colorScheme}.png`), animations: 'disabled' });
        expect(await sticksOut(page), name).toEqual([]);
      }
    }
  }
  for (const end of ends) await end();
});
