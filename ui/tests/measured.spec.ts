/** What is measured rather than seen; these tests run alone. */
import { places, settled } from './support/places';
import { expect, open, test, type Page } from './support/test';
import { tasksDuring } from './support/tasks';

// A busy machine makes everything slower, never faster: one calm run is the proof.
test.describe.configure({ retries: 2 });

const message = (page: Page) => page.getByRole('textbox', { name: 'Message' });
const answer = (page: Page) => page.getByRole('article', { name: 'Answer of alpha' });

function report(what: string): void {
  test.info().annotations.push({ type: 'measured', description: what });
  console.log(what);
}

test('43 three requests in flight use less than 3 % of the main thread', async ({ page, gateway }) => {
  await open(page, 'activity');
  const ends = await Promise.all([1, 2, 3].map(() => gateway.stream('alpha', { say: 'word '.repeat(4000), pace: 10, piece: 5 })));
  const rows = page.getByRole('region', { name: 'In flight' }).getByRole('listitem');
  await expect(rows).toHaveCount(3);
  const session = await page.context().newCDPSession(page);
  // Time that the thread really ran: other work on the machine does not count.
  await session.send('Performance.setTimeDomain', { timeDomain: 'threadTicks' });
  await session.send('Performance.enable');
  const metric = async (name: string): Promise<number> =>
    (await session.send('Performance.getMetrics')).metrics.find((entry) => entry.name === name)?.value ?? NaN;
  const seconds = async (): Promise<number> => Number.parseFloat((await rows.locator('.time').first().textContent()) ?? '0');
  const [busy, at, from] = [await metric('TaskDuration'), Date.now(), await seconds()];
  // Looked at once, late: asking the page is work for it, too.
  await expect.poll(seconds, { intervals: [7000] }).toBeGreaterThanOrEqual(from + 5);
  const share = (await metric('TaskDuration') - busy) / ((Date.now() - at) / 1000);
  for (const end of ends) await end();
  report(`three requests in flight: ${(share * 100).toFixed(2)} % of the main thread`);
  expect(share).toBeLessThan(0.03);
});

test('no page asks or works without a break when nothing happens', async ({ page, gateway }) => {
  test.setTimeout(120_000);
  await expect.poll(() => gateway.state('alpha')).toBe('ready');
  await gateway.row(() => gateway.chat('alpha'));
  const client = await page.context().newCDPSession(page);
  await client.send('Performance.setTimeDomain', { timeDomain: 'threadTicks' });
  await client.send('Performance.enable');
  const busySeconds = async (): Promise<number> =>
    (await client.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')?.value ?? NaN;
  let asked = 0;
  page.on('request', () => void asked++);
  const lines: string[] = [];
  for (const [name, place] of Object.entries(places)) {
    await open(page, place);
    await settled(page);
    await page.waitForTimeout(500);
    asked = 0;
    const before = await busySeconds();
    const from = Date.now();
    await page.waitForTimeout(2500);
    const share = (await busySeconds() - before) / ((Date.now() - from) / 1000);
    lines.push(`${name} ${(share * 100).toFixed(1)} %, ${asked} requests`);
    expect(asked, name).toBeLessThanOrEqual(5);
    expect(share, name).toBeLessThan(0.15);
  }
  report(`idle for 2.5 s: ${lines.join('; ')}`);
});

test('76 a code block of 200 KB streams without a task above 50 ms, and is done within a second of the server', async ({ page, gateway }) => {
  await open(page, 'playground?model=alpha');
  let late = 0;
  const tasks = await tasksDuring(page, async () => {
    // 200 pieces a second of 100 characters each: ten seconds of sending.
    await message(page).fill(JSON.stringify({ fence_bytes: 200_000, piece: 100, pace: 200 }));
    await message(page).press('Enter');
    await expect(answer(page)).toHaveAttribute('aria-busy', 'true');
    const over = async (): Promise<number> => (await gateway.json<{ requests: unknown[] }>('/api/inflight')).requests.length;
    await expect.poll(over, { timeout: 40_000, intervals: [100] }).toBe(0);
    const ended = Date.now();
    await expect(answer(page)).toHaveAttribute('aria-busy', 'false');
    late = Date.now() - ended;
    await expect(answer(page).locator('pre code .hl-k').last()).toHaveText('return');
  });
  report(`200 KB code block: longest task ${tasks.longest} ms (${tasks.longestByClock} ms by the clock), ${tasks.long} above 50 ms, done ${late} ms after the server`);
  expect(await answer(page).locator('pre code').evaluate((code) => code.textContent?.length ?? 0)).toBeGreaterThan(200_000);
  expect(late).toBeLessThan(1000);
  expect(tasks.longest).toBeLessThan(50);
});

test('102 ten thousand lines a second leave the logs page responsive and its memory bounded', async ({ page, gateway }) => {
  const seconds = 6;
  const perSecond = 10_000;
  await open(page, 'logs');
  const models = page.getByRole('region', { name: 'Models', exact: true });
  await expect(models.getByRole('log')).toContainText('demonstration server');
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const waits: number[] = [];
  let sent = 0;
  const tasks = await tasksDuring(page, async () => {
    const begun = Date.now();
    for (let second = 0; second < seconds; second++) {
      const block = Array.from({ length: perSecond }, () => `${++sent} the quick brown engine pulls another wagon`).join('\n');
      await gateway.chat('alpha', { say: 'ok', log: block });
      // What somebody types meanwhile must appear at once.
      const at = Date.now();
      await models.getByRole('searchbox').pressSequentially('w');
      waits.push(Date.now() - at);
      await expect.poll(() => Date.now() - begun, { intervals: [50] }).toBeGreaterThanOrEqual((second + 1) * 1000);
    }
    await models.getByRole('searchbox').fill('');
    await expect(models.getByRole('log')).toContainText(`${sent} the quick`);
  });
  const heap = (await session.send('Performance.getMetrics')).metrics.find((entry) => entry.name === 'JSHeapUsedSize')?.value ?? NaN;
  report(`${sent} log lines in ${seconds} s: longest task ${tasks.longest} ms, slowest key ${Math.max(...waits)} ms, heap ${(heap / 1024 / 1024).toFixed(0)} MiB`);
  expect(tasks.longest).toBeLessThan(100);
  expect(heap).toBeLessThan(150 * 1024 * 1024);
});
