/** What a model says is text: nothing of it runs, nothing of it fetches. */
import { expect, open, test, type Page } from './support/test';

const message = (page: Page) => page.getByRole('textbox', { name: 'Message' });
const answer = (page: Page) => page.getByRole('article', { name: 'Answer of alpha' });

const hostile = `
<img src=x onerror="globalThis.hacked = 'img'">
<script>globalThis.hacked = 'script'</script>
<svg onload="globalThis.hacked = 'svg'"><script>globalThis.hacked = 'svg script'</script></svg>
<iframe src="javascript:parent.hacked = 'iframe'"></iframe>
<iframe srcdoc="<script>parent.hacked = 'srcdoc'</script>"></iframe>
<details open ontoggle="globalThis.hacked = 'details'">details</details>
<math><mtext><img src=x onerror="globalThis.hacked = 'math'"></mtext></math>
<style>@import url("https://evil.example/style.css");</style>
<link rel="stylesheet" href="https://evil.example/link.css"><base href="https://evil.example/">
<form action="https://evil.example/"><button>form button</button></form>

[plain click](javascript:globalThis.hacked='link')
[odd click](java&#115;cript:globalThis.hacked='entity')
[tab click](java	script:globalThis.hacked='tab')
[data click](data:text/html,<script>parent.hacked='data'</script>)
[reference click][evil] <javascript:globalThis.hacked='auto'>

![picture](https://evil.example/pixel.png) ![vector](data:image/svg+xml,<svg/onload=alert(1)>)
![quoted](x" onerror="globalThis.hacked='quoted')

[evil]: javascript:globalThis.hacked='reference'

$\\href{javascript:globalThis.hacked='katex'}{x}$ $\\includegraphics{https://evil.example/katex.png}$ $\\htmlData{onclick=hacked}{y}$

\`\`\`html"><img src=x onerror="globalThis.hacked='language'">
<img src=x onerror="globalThis.hacked='code'">
\`\`\`

| <img src=x onerror="globalThis.hacked='cell'"> |
|---|
| </td><script>globalThis.hacked='row'</script> |
`;

test('73 hostile model output: nothing runs, no request leaves the origin, also after a reload', async ({ page, context, baseURL }) => {
  const away: string[] = [];
  context.on('request', (request) => {
    if (/^(https?|wss?):/.test(request.url()) && !request.url().startsWith(baseURL ?? '')) away.push(request.url());
  });
  const dialogs: string[] = [];
  page.on('dialog', (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  const clean = async (): Promise<void> => {
    await expect(answer(page)).toContainText('onerror');
    // Whatever could be pressed is pressed.
    for (const target of await answer(page).locator('.md').locator('a, button, summary, img, svg').all()) {
      const href = await target.getAttribute('href');
      if (href === null) await target.click({ force: true });
      else expect(href).toMatch(/^https?:/);
    }
    for (const text of ['plain click', 'odd click', 'tab click', 'data click', 'reference click', 'form button']) {
      await answer(page).getByText(text).first().click({ force: true });
    }
    await expect(answer(page).locator('script, iframe, svg:not(button svg), object, embed, form, style, link, base, img[src^="http"], [onerror], [onload], [ontoggle]')).toHaveCount(0);
    expect(await page.evaluate(() => (globalThis as unknown as { hacked?: string }).hacked)).toBeUndefined();
    expect(away).toEqual([]);
    expect(dialogs).toEqual([]);
    expect(context.pages()).toHaveLength(1);
  };
  await open(page, 'playground?model=alpha');
  await message(page).fill(JSON.stringify({ say: hostile, think: hostile, piece: 7, pace: 0 }));
  await message(page).press('Enter');
  await expect(answer(page)).toHaveAttribute('aria-busy', 'false');
  await clean();
  await page.reload();
  await clean();
});

test('73 hostile model output is just as harmless on the page of its request', async ({ page, gateway, context, baseURL }) => {
  const away: string[] = [];
  context.on('request', (request) => {
    if (/^https?:/.test(request.url()) && !request.url().startsWith(baseURL ?? '')) away.push(request.url());
  });
  const { id } = await gateway.row(() => gateway.chat('alpha', { say: hostile, think: hostile, pace: 0 }, { stream: true }));
  for (const view of ['', '?view=bodies', '?view=headers', '?view=tools']) {
    await open(page, `activity/${id}${view}`);
    await expect(page.getByRole('heading', { level: 1, name: `Request ${id}` })).toBeVisible();
    if (view === '') await expect(page.getByRole('region', { name: 'Conversation' }).getByRole('listitem').last()).toContainText('onerror');
    await expect(page.getByRole('main').locator('script, iframe, form[action], [onerror], [onload]')).toHaveCount(0);
    expect(await page.evaluate(() => (globalThis as unknown as { hacked?: string }).hacked)).toBeUndefined();
  }
  expect(away).toEqual([]);
});

test('the page forbids what it does not need: no inline script, nothing from elsewhere', async ({ gateway }) => {
  const policy = (await gateway.call('/ui/')).headers.get('content-security-policy') ?? '';
  expect(policy).toContain("script-src 'self'");
  expect(policy).toContain("object-src 'none'");
  expect(policy).not.toContain('unsafe');
});
