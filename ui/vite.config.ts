/** Build and development server of the web UI; the build lands where the Python wheel picks it up. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

const target = process.env['SWAPYARD_URL'] ?? process.env['LLAMA_SWAP_URL'] ?? 'http://127.0.0.1:8080';

/** Every path that belongs to the server and not to the page. */
const serverPaths = [
  '/api', '/v1', '/v/', '/logs', '/running', '/unload', '/upstream', '/comfyui', '/metrics', '/health',
  '/wol-health', '/props', '/sdapi', '/rerank', '/reranking', '/infill', '/completion', '/audioapi', '/favicon.ico',
];

/**
 * A small classic script that runs before the first paint (theme, old path links).  It is a file of its own, because
 * the content security policy allows no inline script, and hashed, so that it can be cached for ever.
 */
function bootScript(): Plugin {
  const source = readFileSync(new URL('./src/boot.js', import.meta.url), 'utf8');
  const fileName = `assets/boot-${createHash('sha256').update(source).digest('hex').slice(0, 8)}.js`;
  let building = false;
  return {
    name: 'boot-script',
    configResolved(config) {
      building = config.command === 'build';
    },
    generateBundle() {
      this.emitFile({ type: 'asset', fileName, source });
    },
    transformIndexHtml: {
      order: 'post',
      handler: () => [
        { tag: 'script', attrs: { src: building ? `/ui/${fileName}` : '/ui/src/boot.js' }, injectTo: 'head-prepend' },
      ],
    },
  };
}

/** Writes `.br` and `.gz` beside every text file, so that the server never compresses anything itself. */
function precompress(): Plugin {
  const text = /\.(js|css|html|svg|json|txt|webmanifest|ico)$/;
  let directory = '';
  return {
    name: 'precompress',
    apply: 'build',
    configResolved(config) {
      directory = join(config.root, config.build.outDir);
    },
    closeBundle() {
      for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
        if (!text.test(name)) continue;
        const file = join(directory, name);
        const raw = readFileSync(file);
        writeFileSync(`${file}.gz`, gzipSync(raw, { level: 9 }));
        writeFileSync(
          `${file}.br`,
          brotliCompressSync(raw, {
            params: {
              [constants.BROTLI_PARAM_QUALITY]: 11,
              [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
              [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
            },
          }),
        );
      }
    },
  };
}

export default defineConfig({
  base: '/ui/',
  plugins: [svelte(), bootScript(), precompress()],
  build: {
    outDir: '../src/swapyard/web/ui',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    host: '127.0.0.1',
    proxy: Object.fromEntries(serverPaths.map((path) => [path, { target, changeOrigin: true, ws: true }])),
  },
  test: {
    environment: 'jsdom',
    include: ['src/**/*.test.ts'],
    testTimeout: 60_000,
  },
} as Parameters<typeof defineConfig>[0]);
