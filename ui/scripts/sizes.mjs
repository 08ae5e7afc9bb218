// What a first visit transfers, from the built files: the entry page, its scripts and styles, and the landing page's
// own chunk.  Fails when that is 100 KB or more with gzip.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const limit = 100 * 1024;
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'swapyard', 'web', 'ui');
if (!existsSync(join(root, 'index.html'))) {
  console.error('there is no build; run `npm run build`');
  process.exit(1);
}
const assets = join(root, 'assets');
const names = readdirSync(assets);
const packed = (file, ending) => statSync(file + ending).size;

/** A chunk and everything that it imports statically. */
function closure(name, seen) {
  if (seen.has(name)) return;
  seen.add(name);
  if (!name.endsWith('.js')) return;
  const source = readFileSync(join(assets, name), 'utf8');
  for (const match of source.matchAll(/(?:\bfrom|\bimport)\s*["']\.\/([^"']+)["']/g)) closure(match[1], seen);
}

const html = readFileSync(join(root, 'index.html'), 'utf8');
const first = new Set();
for (const match of html.matchAll(/\/ui\/assets\/([^"]+)/g)) closure(match[1], first);
for (const name of names) if (/^YardPage-[^.]*\.(js|css)$/.test(name)) closure(name, first);

const sum = (ending) => [...first].reduce((total, name) => total + packed(join(assets, name), ending), packed(join(root, 'index.html'), ending));
const all = names.filter((name) => /\.(js|css)$/.test(name));
const total = (ending) => all.reduce((bytes, name) => bytes + packed(join(assets, name), ending), 0);
const kb = (bytes) => `${(bytes / 1024).toFixed(1)} KB`;
console.log(`first load: ${kb(sum('.gz'))} gzip, ${kb(sum('.br'))} brotli in ${first.size + 1} files`);
console.log(`everything: ${kb(total('.gz'))} gzip, ${kb(total('.br'))} brotli in ${all.length} files`);
for (const name of all.sort((a, b) => packed(join(assets, b), '.gz') - packed(join(assets, a), '.gz')).slice(0, 8)) {
  console.log(`  ${kb(packed(join(assets, name), '.gz')).padStart(9)}  ${name}${first.has(name) ? '  (first load)' : ''}`);
}
if (sum('.gz') >= limit) {
  console.error(`the first load must stay under ${kb(limit)} with gzip`);
  process.exit(1);
}
