/** Pictures of every page: `make screenshots`. */
import { defineConfig } from '@playwright/test';
import base from '../playwright.config';

const { projects: _, ...rest } = base;
export default defineConfig({ ...rest, testDir: '.', testMatch: 'screenshots.ts', fullyParallel: true, outputDir: '../test-results' });
