import { describe, expect, test } from 'vitest';
import { parseMessage, retryDelay } from '../api/events';
import { errorText } from '../api/http';
import type { ActivityRow, Inflight, ModelStatus, SysSample } from '../api/types';
import { filler, numbersIn, promptFor, requestsOf, stepsOf, summarise, type Plan, type Result } from '../benchmark/plan';
import { cosine } from '../playground/ranking.svelte';
import { history, newestLeaf, path, type Reply, type Turn } from '../playground/tree';
import { repaired } from '../activity/columns.svelte';
import { link, parseHash } from '../state/route.svelte';
import { columns } from './export';
import { extension, refusal } from './files';
import { ranked, score } from './fuzzy';
import { applyInflight, leaseHolders, type Tracked } from './inflight';
import { compareModels, mergeModels } from './models';
import { phases } from './phases';
import { hardwareText, sections } from './hardware';
import { networkChart, requestCharts, systemChart, withGaps } from './series';
import { histogram, percentile } from './stats';

describe('addresses', () => {
  test('a model with slash, colon and dot comes back as it was', () => {
    const id = 'org/model:q4.k';
    expect(parseHash(link(['models', id])).path).toEqual(['models', id]);
  });

  test('empty values are left out, the rest survives', () => {
    expect(link(['activity'], { q: 'a b', last: '', page: null })).toBe('#/activity?q=a+b');
    expect(parseHash('#/activity?q=a+b').query.get('q')).toBe('a b');
  });

  test('a broken escape does not break the page', () => {
    expect(parseHash('#/models/%E0%A4%A').path).toEqual(['models', '%E0%A4%A']);
  });
});

describe('the event stream', () => {
  test('waits grow and are capped at five seconds', () => {
    const delays = [0, 1, 2, 3, 4, 50].map((attempt) => retryDelay(attempt, () => 0.5));
    expect(delays).toEqual([500, 1000, 2000, 4000, 5000, 5000]);
    expect(retryDelay(9, () => 1)).toBe(5000);
  });

  test('a malformed message is nothing, a good one is parsed twice', () => {
    expect(parseMessage('{"type":"activity","data":"{\\"id\\":4}"}')).toEqual({ type: 'activity', data: { id: 4 } });
    for (const text of ['', 'x', '{}', '{"type":"a","data":"{"}']) expect(parseMessage(text)).toBeNull();
  });

  const request = (id: string, elapsed: number): Inflight => ({
    id, timestamp: '', model: 'm', req_path: '/', method: 'POST', req_headers: {}, remote_ip: '', resp_headers: {}, resp_bytes: 0, elapsed_ms: elapsed,
  });

  test('requests come, change and go; a snapshot replaces them without losing clocks', () => {
    const map = new Map<string, Tracked>();
    applyInflight(map, { operation: 'upsert', request: request('1', 100) }, 1000);
    applyInflight(map, { operation: 'snapshot', requests: [request('1', 150), request('2', 0)] }, 1100);
    expect(map.get('1')?.startedAt).toBe(900);
    applyInflight(map, { operation: 'remove', id: '1' }, 1200);
    applyInflight(map, { operation: 'snapshot' }, 1300);
    expect(map.size).toBe(0);
  });
});

test('the oldest requests of a model hold its leases; where none are told, an answer is the sign', () => {
  const tracked = (id: string, model: string, bytes = 0): Tracked => ({ startedAt: 0, request: { id, model, resp_bytes: bytes, resp_headers: {} } as Inflight });
  const requests = [tracked('1', 'a', 9), tracked('2', 'a', 9), tracked('3', 'b'), tracked('4', 'c', 5), tracked('5', 'c')];
  const leases: Record<string, number> = { a: 1, b: 1 };
  expect([...leaseHolders(requests, (model) => leases[model])]).toEqual(['1', '3', '4']);
  const told = (id: string, phase: 'queued' | 'relaying'): Tracked => ({
    startedAt: 0,
    request: { id, model: 'a', details: { request_id: '', session: '', phase, wait_reason: '' } } as Inflight,
  });
  expect([...leaseHolders([told('1', 'queued'), told('2', 'relaying')], () => 1)]).toEqual(['2']);
});

describe('errors say their reason', () => {
  test.each([
    ['{"src":"x","error":{"message":"boom","code":"y"}}', 'boom'],
    ['{"error":"flat"}', 'flat'],
    ['{"detail":"fast"}', 'fast'],
    ['<html><body><h1>x</h1><p>page</p></body></html>', 'x page'],
    ['', 'the server answered 502 without a reason'],
  ])('%s', (body, text) => {
    expect(errorText(502, body)).toBe(text);
  });
});

describe('models', () => {
  const status = (id: string, peerID = ''): ModelStatus => ({ id, name: '', description: '', state: 'ready', unlisted: false, peerID });

  test('states of the stream win over older details', () => {
    expect(mergeModels([status('a')], [{ ...status('a'), state: 'stopped', pid: 7 }])[0]).toMatchObject({ state: 'ready', pid: 7 });
  });

  test('order by id as people count, peers last', () => {
    expect([status('b', 'p'), status('m10'), status('m2')].sort(compareModels).map((model) => model.id)).toEqual(['m2', 'm10', 'b']);
  });
});

describe('statistics', () => {
  test('percentiles are interpolated', () => {
    expect(percentile([1, 2, 3, 4], 0.5)).toBe(2.5);
    expect(percentile([], 0.5)).toBeNaN();
  });

  test('equal speeds are one bar with valid marks', () => {
    expect(histogram([5, 5, 5])).toEqual({ bins: [3], min: 5, max: 5, binSize: 0, p50: 5, p95: 5, p99: 5 });
    expect(histogram([0, -1])).toBeNull();
  });

  test('every value is in a bin, the largest in the last', () => {
    const made = histogram([1, 2, 3, 100]);
    expect(made?.bins.reduce((sum, bin) => sum + bin, 0)).toBe(4);
    expect(made?.bins.at(-1)).toBe(1);
  });
});

test('hardware of which nothing is known is shown all the same', () => {
  const text = hardwareText({ accelerators: [{ kind: 'gpu', memory: { kind: 'unknown' } }] });
  expect(text).toContain('GPU 0');
  expect(text).not.toMatch(/undefined|null|NaN/);
  expect(sections({}).map((section) => section.title)).toEqual(['System', 'CPU', 'Accelerators']);
});

describe('time series', () => {
  const sample = (at: number, bytes = 0): SysSample => ({
    timestamp: new Date(at).toISOString(), cpu_util_per_core: [1], mem_total_mb: 1, mem_used_mb: 1, mem_free_mb: 0, swap_total_mb: 0, swap_used_mb: 0,
    load_avg_1: 0, load_avg_5: 0, load_avg_15: 0, net_io: [{ name: 'e', bytes_recv: bytes, bytes_sent: 0 }],
  });

  test('missing samples leave a gap', () => {
    const points = withGaps([0, 5000, 10_000, 310_000].map((at) => sample(at)));
    expect(points.map((point) => point.sample === null)).toEqual([false, false, false, true, false]);
  });

  test('a chart says from when to when there are no samples', () => {
    const chart = systemChart([0, 5000, 10_000, 310_000].map((at) => sample(at)), { one: (entry) => entry.mem_used_mb });
    expect(chart.gaps).toEqual([[10, 310]]);
    expect(chart.series[0]?.values).toEqual([1, 1, 1, null, 1]);
  });

  test('network speed comes from counters; a restarted counter is no speed', () => {
    const chart = networkChart([sample(0, 0), sample(8000, 1_000_000), sample(16_000, 5)]);
    expect(chart.series[0]?.values).toEqual([null, 1, null]);
  });

  test('tokens are spread over the time in which they were made', () => {
    const row = { id: 1, timestamp: new Date(60_000).toISOString(), duration_ms: 20_000, first_token_ms: 0, resp_status_code: 200, tokens: { input_tokens: 0, output_tokens: 100 } } as ActivityRow;
    const { tokens } = requestCharts([row], 0, 300_000);
    expect(Math.max(...(tokens.series[0]?.values ?? []).map((value) => value ?? 0))).toBeCloseTo(5);
  });
});

describe('a request in phases', () => {
  const row = (part: Partial<ActivityRow>): ActivityRow => ({ duration_ms: 1000, tokens: { input_tokens: 5, output_tokens: 6 }, ...part }) as ActivityRow;

  test('in line, load, first token, answer: they fill the whole time', () => {
    const parts = phases(row({ queue_ms: 100, load_ms: 200, first_token_ms: 400 }));
    expect(parts.map((part) => [part.kind, part.from, part.to])).toEqual([['queue', 0, 100], ['load', 100, 300], ['prefill', 300, 400], ['decode', 400, 1000]]);
  });

  test('without measurements there is one phase', () => {
    expect(phases(row({})).map((part) => part.kind)).toEqual(['rest']);
  });
});

describe('small things', () => {
  test('letters in order find, words and beginnings first', () => {
    expect(score('xyz', 'Yard')).toBeNull();
    expect(ranked('lg', ['Benchmark login', 'Logs'], (text) => text)[0]).toBe('Logs');
  });

  test('a stored column order is repaired', () => {
    const order = repaired(['model', 'gone', 'time'], columns).map((column) => column.key);
    expect(order.slice(0, 2)).toEqual(['model', 'time']);
    expect(order.length).toBe(columns.length);
  });

  test('images are refused with a reason', () => {
    expect(refusal({ name: 'a.bmp', type: 'image/bmp', size: 1 }, 0)).toContain('a.bmp');
    expect(refusal({ name: 'b.png', type: 'image/png', size: 21 * 1024 * 1024 }, 0)).toContain('20 MB');
    expect(refusal({ name: 'c.png', type: 'image/png', size: 1 }, 5)).toContain('5');
    expect(refusal({ name: 'd.png', type: 'image/png', size: 1 }, 4)).toBeNull();
  });

  test('a sound file gets the ending of its type', () => {
    expect(extension('audio/x-wav')).toBe('wav');
    expect(extension('audio/mpeg; rate=1')).toBe('mp3');
  });

  test('the cosine of a vector with itself is one', () => {
    expect(cosine([1, 2, 3], [1, 2, 3])).toBeCloseTo(1);
    expect(cosine([1, 0], [0, 1])).toBe(0);
    expect(cosine([0, 0], [1, 1])).toBe(0);
  });
});

describe('conversations', () => {
  const reply = (text: string, part: Partial<Reply> = {}): Reply => ({ model: 'a', text, toolCalls: [], error: '', ...part }) as Reply;
  const turn = (id: string, parent: string | null, text: string, replies: Record<string, Reply[]> = {}): Turn => ({ id, parent, messages: [{ role: 'user', text, images: [] }], replies, chosen: {} });
  const turns = [turn('1', null, 'q1', { a: [reply('old'), reply('a1')] }), turn('2', '1', 'q2', { a: [reply('', { error: 'broken' })] }), turn('3', '1', 'q2 edited'), turn('4', '3', 'q3')];

  test('a branch is the way from its end to the beginning', () => {
    expect(path(turns, '4').map((entry) => entry.id)).toEqual(['1', '3', '4']);
    expect(newestLeaf(turns, '1')).toBe('4');
  });

  test('a model gets its own last answer, and never a failure', () => {
    expect(history(path(turns, '2').concat(turn('5', '2', 'q4')), 'a').map((message) => message.text)).toEqual(['q1', 'a1', 'q2', 'q4']);
  });

  test('a model that joins later is given the answer of another', () => {
    expect(history(path(turns, '3'), 'b').map((message) => message.text)).toEqual(['q1', 'a1', 'q2 edited']);
  });

  test('the chosen alternative counts', () => {
    const chosen = [{ ...(turns[0] as Turn), chosen: { a: 0 } }, turns[2] as Turn];
    expect(history(chosen, 'a')[1]?.text).toBe('old');
  });
});

describe('benchmark', () => {
  const plan: Plan = { models: ['m', 'n'], sizes: [0, 100], concurrency: [1, 4], repeats: 2, warmUp: true, prompt: 'p', maxTokens: 5 };

  test('the number of requests is known before', () => {
    expect(requestsOf(plan)).toBe(2 * 2 * (2 + 8) + 2);
  });

  test('all models of a step go out together when that is asked for', () => {
    expect(stepsOf(plan).map((step) => step.length)).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
    expect(stepsOf({ ...plan, together: true }).map((step) => step.map((cell) => `${cell.model}${cell.size}x${cell.concurrency}`))).toEqual([
      ['m0x1', 'n0x1'], ['m0x4', 'n0x4'], ['m100x1', 'n100x1'], ['m100x4', 'n100x4'],
    ]);
  });

  test('lists of numbers are read leniently and cut', () => {
    expect(numbersIn('4, 1;2 x 99', 1, 5)).toEqual([1, 2, 4]);
  });

  test('prompts have about the size asked for and never begin alike', () => {
    expect(filler(1000, 3).split(' ').length).toBe(950);
    expect(promptFor(plan, 100, 1).slice(0, 4)).not.toBe(promptFor(plan, 100, 2).slice(0, 4));
  });

  test('throughput is tokens over the time of the step; warm-up and failures do not count', () => {
    const result = (part: Partial<Result>): Result => ({ model: 'm', size: 0, concurrency: 2, number: 1, startedMs: 0, firstMs: 100, loadedMs: null, totalMs: 1000, gapP50: 1, gapP95: 2, input: 5, output: 50, decode: 55, prefill: 1, measured: false, warmUp: false, error: '', ...part });
    const [summary] = summarise([result({ warmUp: true, output: 1000 }), result({}), result({ startedMs: 1000 }), result({ error: 'x', output: null })]);
    expect(summary).toMatchObject({ requests: 3, failed: 1, throughput: 50, firstP50: 100 });
  });
});
