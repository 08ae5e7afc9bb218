import { describe, expect, test } from 'vitest';
import { arranged, intervals, lanesFrom, summary, swaps, trimmed, withServing, withState, withWaiting, type Lane } from './yard';

const lane = (part: Partial<Lane> = {}): Lane => ({ model: 'qwen', spans: [], serving: [], waiting: [], ...part });

test('the server\'s clock does not matter', () => {
  const lanes = lanesFrom(
    { now: '2026-01-01T00:00:10Z', since: '2025-12-31T23:00:10Z', lanes: [{ model: 'm', spans: [{ state: 'ready', from: '2026-01-01T00:00:00Z', to: null, reason: '' }], serving: [], waiting: [] }] },
    50_000,
  );
  expect(lanes[0]?.spans[0]?.from).toBe(40_000);
});

test('busy lanes come first, and nobody moves once there', () => {
  const models = ['a', 'b', 'c', 'd', 'e'];
  const places = arranged([], models, new Set(['d']), 3);
  expect(places).toEqual(['d', 'a', 'b']);
  expect(arranged(places, models, new Set(['d', 'e']), 3)).toEqual(['d', 'a', 'e']);
  expect(arranged(['d', 'a', 'e'], models, new Set(), 3)).toEqual(['d', 'a', 'e']);
  expect(arranged(['d', 'a', 'e'], models, new Set(['a', 'b', 'd', 'e']), 3)).toEqual(['d', 'a', 'e', 'b']);
  expect(arranged(['d', 'a', 'e'], ['a', 'b'], new Set(), 3)).toEqual(['a', 'b']);
});

test('a change of state closes the span before it', () => {
  const lanes = withState([lane({ spans: [{ state: 'starting', from: 1, to: null, reason: '' }] })], { model: 'qwen', new: 'ready', reason: 'after 2 s' }, 5);
  expect(lanes[0]?.spans).toEqual([
    { state: 'starting', from: 1, to: 5, reason: '' },
    { state: 'ready', from: 5, to: null, reason: 'after 2 s' },
  ]);
});

test('the same state twice changes nothing, an unknown model gets a lane', () => {
  const before = [lane({ spans: [{ state: 'ready', from: 1, to: null, reason: '' }] })];
  expect(withState(before, { model: 'qwen', new: 'ready', reason: '' }, 9)[0]).toBe(before[0]);
  expect(withWaiting([], { model: 'new', count: 2, reason: 'x' }, 3)[0]).toEqual(lane({ model: 'new', waiting: [{ at: 3, count: 2, reason: 'x' }] }));
});

test('counts are noted only when they change', () => {
  const once = withServing([lane()], new Map([['qwen', 2]]), 10);
  expect(withServing(once, new Map([['qwen', 2]]), 20)).toEqual(once);
  expect(withServing(once, new Map(), 30)[0]?.serving.at(-1)?.count).toBe(0);
});

test('stepwise counts become intervals within the window', () => {
  const counts = [{ at: 0, count: 1, reason: '' }, { at: 10, count: 3, reason: 'why' }, { at: 20, count: 0, reason: '' }];
  expect(intervals(counts, 5, 100)).toEqual([{ from: 5, to: 10, count: 1, reason: '' }, { from: 10, to: 20, count: 3, reason: 'why' }]);
});

test('trimming keeps what still holds at the edge', () => {
  const cut = trimmed([lane({ spans: [{ state: 'ready', from: 0, to: 5, reason: '' }, { state: 'stopped', from: 5, to: null, reason: '' }], serving: [{ at: 1, count: 1, reason: '' }, { at: 3, count: 2, reason: '' }, { at: 30, count: 0, reason: '' }] })], 20);
  expect(cut[0]?.spans.length).toBe(1);
  expect(cut[0]?.serving.map((entry) => entry.at)).toEqual([3, 30]);
});

describe('what is told about it', () => {
  const spans: Lane['spans'] = [
    { state: 'starting', from: 0, to: 3000, reason: '2 requests waiting' },
    { state: 'ready', from: 3000, to: 9000, reason: '' },
    { state: 'stopping', from: 9000, to: 9500, reason: 'evicted for gemma' },
    { state: 'stopped', from: 9500, to: 20_000, reason: '' },
    { state: 'starting', from: 20_000, to: 21_000, reason: 'asked' },
    { state: 'stopped', from: 21_000, to: null, reason: 'exit code 1' },
  ];

  test('loads, unloads and failures, newest first, with their reasons', () => {
    expect(swaps([lane({ spans })]).map(({ what, reason, seconds }) => [what, reason, seconds])).toEqual([
      ['failed', 'exit code 1', 1],
      ['unloaded', 'evicted for gemma', null],
      ['loaded', '2 requests waiting', 3],
    ]);
  });

  test('one sentence, what blocks first', () => {
    const waiting = lane({ model: 'a', waiting: [{ at: 0, count: 2, reason: 'behind b' }] });
    const loading = lane({ model: 'b', spans: [{ state: 'starting', from: 0, to: null, reason: '' }] });
    expect(summary([waiting, loading], 4000)).toBe('loading b for 4 s · 2 wait for a (behind b)');
    expect(summary([lane()], 0)).toBe('');
  });
});
