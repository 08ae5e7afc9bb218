import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const css = readFileSync('src/app.css', 'utf8');
const colors = new Map([...css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)].map((match) => [match[1], [match[2], match[3]]]));

/** WCAG 2: relative luminance and contrast. */
function luminance(color: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
}

function contrast(name: string, on: string, mode: 0 | 1): number {
  const [a, b] = [colors.get(name)?.[mode] ?? '', colors.get(on)?.[mode] ?? ''].map(luminance) as [number, number];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

const surfaces = ['bg', 'panel', 'sunken', 'hover'];
const texts = ['text', 'muted', 'faint', 'accent', 'error', 'loading', 'draining', 'waiting', 'ok'];
const code = ['hl-keyword', 'hl-string', 'hl-number', 'hl-comment', 'hl-name'];
const pairs = [
  ...texts.flatMap((text) => surfaces.filter((on) => text !== 'faint' || on !== 'hover').map((on) => [text, on] as const)),
  ...code.map((text) => [text, 'sunken'] as const),
  ['on-accent', 'accent'] as const,
  ['on-accent', 'accent-strong'] as const,
  ['accent-strong', 'accent-soft'] as const,
  ['text', 'accent-soft'] as const,
  ['error', 'error-soft'] as const,
  ['text', 'warn-soft'] as const,
];

test.each(pairs)('%s on %s can be read in both themes', (name, on) => {
  expect(contrast(name, on, 0)).toBeGreaterThanOrEqual(4.5);
  expect(contrast(name, on, 1)).toBeGreaterThanOrEqual(4.5);
});
