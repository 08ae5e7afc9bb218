/** The configurations that the tests run with: what is on, what is off, what is broken. */
import { demo, type Settings } from './gateway';

const together = (members: string[]): Settings => ({ all: { swap: false, exclusive: false, members } });

/** Three local models (one ready, one stopped, one that takes long), one unlisted, peers, profiles, a selector. */
function standard(): Settings {
  const models = {
    alpha: {
      name: 'Alpha',
      description: 'answers at once',
      cmd: demo('alpha'),
      aliases: ['gpt-4o-mini'],
      capabilities: { in: ['text'], out: ['text'], tools: true, context: 131072 },
    },
    beta: { cmd: demo('beta', { load: 0.3 }), ttl: 600 },
    slow: { cmd: demo('slow', { load: 600 }) },
    seer: {
      cmd: demo('seer'),
      capabilities: { in: ['text', 'image', 'audio'], out: ['text', 'image', 'audio'], reranker: true, context: 32768 },
    },
    'org/model:7b': { cmd: demo('model-7b') },
    hidden: { cmd: demo('hidden'), unlisted: true },
    broken: { cmd: 'sh -c "echo the weights for port ${PORT} are missing >&2; exit 3"' },
  };
  return {
    groups: together(Object.keys(models)),
    hooks: { on_startup: { preload: ['alpha', 'seer'] } },
    ui: { activity: { session_id: ['X-Trace-ID', 'X-Session-ID'] } },
    models,
    peers: {
      north: { proxy: 'http://127.0.0.1:9', models: ['big'] },
      south: { proxy: 'http://127.0.0.1:9', models: ['small'] },
    },
    profiles: {
      day: { description: 'the quick one', pins: { fast: 'alpha', off: '' } },
      night: { description: 'the patient one', pins: { fast: 'beta' } },
    },
    selectors: { spill: { strategy: 'spillover', targets: ['alpha', 'beta'], settings: { spillover: 2 }, description: 'overflows' } },
  };
}

/** Forty models with the long names that they have in life; three large ones of which one fits at a time. */
function busy(): Settings {
  const large = ['qwen3-coder-30b-a3b-instruct-q4_k_m', 'gemma-3-27b-it-qat-q4_0', 'gpt-oss-120b-mxfp4'];
  const small = ['nomic-embed-text-v1.5', 'whisper-large-v3-turbo'];
  const others = Array.from({ length: 35 }, (_, index) => `archive/mistral-small-3.${index}-24b-instruct-2506-abliterated-q6_k`);
  const models = Object.fromEntries([
    ...large.map((id, index) => [id, { cmd: demo(id, { load: 2 + 2 * index, pace: 60 }), ttl: 900, capabilities: { in: ['text'], out: ['text'], tools: true, context: 131072 } }]),
    ...small.map((id) => [id, { cmd: demo(id, { load: 0.5 }) }]),
    ...others.map((id) => [id, { cmd: demo('other') }]),
  ]) as Settings;
  return {
    groups: {
      large: { swap: true, exclusive: false, members: large },
      small: { swap: false, exclusive: false, persistent: true, members: small },
    },
    models,
  };
}

export const configs = {
  busy,
  standard,
  /** The same, for tests that count what was asked. */
  fresh: standard,
  /** Nothing is configured. */
  empty: (): Settings => ({ models: {} }),
  /** Two models, nothing else: no profiles, no peers. */
  plain: (): Settings => ({
    groups: together(['alpha', 'beta']),
    models: { alpha: { cmd: demo('alpha') }, beta: { cmd: demo('beta') } },
  }),
  /** Nothing is measured. */
  unmeasured: (): Settings => ({ performance: { disabled: true }, models: { alpha: { cmd: demo('alpha') } } }),
  /** One key opens the door. */
  locked: (): Settings => ({ apiKeys: ['open-sesame'], models: { alpha: { cmd: demo('alpha') } } }),
};

export type ConfigName = keyof typeof configs;
