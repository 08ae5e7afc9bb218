/** Every page: its address, its name, its icon, and how its code is fetched when somebody goes there. */
import type { Component } from 'svelte';
import type { IconName } from './ui/Icon.svelte';

export interface Page {
  path: string;
  title: string;
  icon: IconName;
  /** The second key after `g`. */
  key: string;
  load: () => Promise<{ default: Component }>;
}

export const pages: Page[] = [
  { path: '', title: 'Yard', icon: 'yard', key: 'y', load: () => import('./pages/YardPage.svelte') },
  { path: 'activity', title: 'Activity', icon: 'activity', key: 'a', load: () => import('./pages/ActivityPage.svelte') },
  { path: 'models', title: 'Models', icon: 'models', key: 'm', load: () => import('./pages/ModelsPage.svelte') },
  {
    path: 'playground',
    title: 'Playground',
    icon: 'playground',
    key: 'p',
    load: () => import('./pages/PlaygroundPage.svelte'),
  },
  {
    path: 'benchmark',
    title: 'Benchmark',
    icon: 'benchmark',
    key: 'b',
    load: () => import('./pages/BenchmarkPage.svelte'),
  },
  { path: 'logs', title: 'Logs', icon: 'logs', key: 'l', load: () => import('./pages/LogsPage.svelte') },
  {
    path: 'performance',
    title: 'Performance',
    icon: 'performance',
    key: 'f',
    load: () => import('./pages/PerformancePage.svelte'),
  },
  { path: 'hardware', title: 'Hardware', icon: 'hardware', key: 'h', load: () => import('./pages/HardwarePage.svelte') },
  { path: 'settings', title: 'Settings', icon: 'settings', key: 's', load: () => import('./pages/SettingsPage.svelte') },
];

export const modelPage: Page = {
  path: 'models',
  title: 'Model',
  icon: 'models',
  key: '',
  load: () => import('./pages/ModelPage.svelte'),
};

export const requestPage: Page = {
  path: 'activity',
  title: 'Request',
  icon: 'activity',
  key: '',
  load: () => import('./pages/RequestPage.svelte'),
};

/** The page for a path; anything unknown is the landing page. */
export function pageFor(path: string[]): Page {
  if (path.length > 1 && path[0] === 'models') return modelPage;
  if (path.length > 1 && path[0] === 'activity') return requestPage;
  return pages.find((page) => page.path === (path[0] ?? '')) ?? (pages[0] as Page);
}
