/** `test` with a gateway for each worker, further gateways on demand, and an eye on what goes wrong in the page. */
import { test as base, expect, type Page } from '@playwright/test';
import { configs, type ConfigName } from './configs';
import { Gateway, type Settings } from './gateway';

interface TestFixtures {
  /** Starts a gateway of the test's own; it is gone when the test ends. */
  another: (settings: Settings, tools?: Record<string, string>) => Promise<Gateway>;
  /** Errors that the page threw or that broke its security policy; empty at the end of every test. */
  problems: string[];
}

interface WorkerFixtures {
  config: ConfigName;
  /** Runs once, before the first test of the worker. */
  gateway: Gateway;
}

export const test = base.extend<TestFixtures, WorkerFixtures>({
  config: ['standard', { scope: 'worker', option: true }],
  gateway: [
    async ({ config }, use) => {
      const gateway = await Gateway.start(configs[config]());
      await use(gateway);
      await gateway.stop();
    },
    { scope: 'worker', timeout: 60_000 },
  ],
  baseURL: async ({ gateway }, use) => use(gateway.url),
  another: async ({}, use) => {
    const started: Gateway[] = [];
    await use(async (settings, tools) => {
      const gateway = await Gateway.start(settings, tools);
      started.push(gateway);
      return gateway;
    });
    for (const gateway of started) await gateway.stop();
  },
  problems: [
    async ({ page, gateway }, use, info) => {
      const problems: string[] = [];
      page.on('pageerror', (error) => problems.push(`thrown: ${error.message}`));
      page.on('console', (message) => {
        if (message.type() === 'error' && /Content Security Policy|could not be handled/.test(message.text())) problems.push(message.text());
      });
      await use(problems);
      if (info.status !== info.expectedStatus) await info.attach('gateway.log', { body: gateway.log.slice(-20_000), contentType: 'text/plain' });
      expect(problems).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };
export type { Page };

/** Opens a place of the page, such as "models/alpha?tab=log", and waits until it is connected. */
export async function open(page: Page, place = '', base = ''): Promise<void> {
  await page.goto(`${base}/ui/#/${place}`);
  await expect(page).toHaveTitle(/^●/);
}

/** The models in the sidebar. */
export const sidebarModels = (page: Page) => page.getByRole('navigation', { name: 'Models and their states' });
/** The sidebar's menu. */
export const menu = (page: Page) => page.getByRole('navigation', { name: 'Pages' });
