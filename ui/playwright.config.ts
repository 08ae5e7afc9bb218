/** Browser tests against the real server: `npm run test:browser`, or `make test-ui` which sets everything up. */
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: './tests',
  outputDir: './test-results',
  workers: 2,
  forbidOnly: !!process.env['CI'],
  // Two browsers and their servers on two cores that others use too: once more before it counts as
  // broken; what needed another try is listed as flaky.
  retries: process.env['CI'] ? 2 : 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  projects: [
    { name: 'pages', testMatch: '**/*.spec.ts', testIgnore: '**/measured.spec.ts' },
    // Alone and last: two browsers at once on two cores would measure each other.
    { name: 'measured', testMatch: '**/measured.spec.ts', dependencies: ['pages'] },
  ],
  use: {
    viewport: { width: 1400, height: 900 },
    locale: 'en-GB',
    timezoneId: 'UTC',
    trace: 'off',
    screenshot: 'only-on-failure',
    actionTimeout: 15_000,
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
