// Pictures of every page in both themes and two sizes, taken from a running instance.
//   node scripts/screenshots.mjs [base address] [only pages whose name contains this]
// Needs Chromium (CHROMIUM, default /usr/bin/chromium); writes to screenshots/ at the root of the repository.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const base = process.argv[2] ?? process.env.SWAPYARD_URL ?? 'http://127.0.0.1:8080';
const only = process.argv[3] ?? '';
const output = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'screenshots');
mkdirSync(output, { recursive: true });

const models = await fetch(`${base}/v1/models`).then((answer) => answer.json());
const model = models.data.find((entry) => entry.meta?.llamaswap?.type === 'model')?.id;
const rows = await fetch(`${base}/api/metrics/activity?limit=50`).then((answer) => answer.json());
const row = rows.data.find((entry) => entry.has_capture) ?? rows.data[0];

const pages = {
  yard: '',
  activity: 'activity',
  ...(row === undefined ? {} : { request: `activity/${row.id}` }),
  models: 'models',
  ...(model === undefined ? {} : { model: `models/${encodeURIComponent(model)}` }),
  playground: 'playground',
  embeddings: 'playground?tab=embeddings',
  benchmark: 'benchmark',
  logs: 'logs',
  performance: 'performance',
  hardware: 'hardware',
  settings: 'settings',
};
const sizes = { wide: { width: 1400, height: 900 }, phone: { width: 390, height: 844 } };

const profile = mkdtempSync(join(tmpdir(), 'swapyard-screenshots-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
let problems = 0;
const page = await browser.newPage();
page.on('console', (message) => {
  if (message.type() === 'error') console.log(`console: ${message.text()}`, ++problems);
});
page.on('pageerror', (error) => console.log(`error: ${error.message}`, ++problems));
for (const [sizeName, size] of Object.entries(sizes)) {
  for (const scheme of ['light', 'dark']) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: scheme });
    for (const [name, path] of Object.entries(pages)) {
      if (!name.includes(only)) continue;
      await page.goto(`${base}/ui/#/${path}`);
      await page.waitForSelector('main h1, main .page');
      await page.waitForTimeout(1200);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (overflow > 0) console.log(`${name} ${sizeName}: ${overflow} px wider than the window`, ++problems);
      await page.screenshot({ path: join(output, `${name}-${sizeName}-${scheme}.png`) });
    }
  }
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(`${problems} problems; pictures are in ${output}`);
process.exitCode = problems > 0 ? 1 : 0;
