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

export const configs = {
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
