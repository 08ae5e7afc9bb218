/** Pictures of every page in both themes and two sizes, in the folder screenshots/, which git ignores. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { places, settled, sticksOut } from './support/places';
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
