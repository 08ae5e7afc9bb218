import { describe, expect, test } from 'vitest';
import type { ActivityRow } from '../api/types';
import * as activity from './activity';
import { columns, csv, csvField, markdown } from './export';

const now = Date.parse('2026-08-22T12:00:00Z');

function row(part: Partial<ActivityRow> & { ago?: number }): ActivityRow {
  const { ago = 60_000, ...rest } = part;
  return {
    id: 1,
    timestamp: new Date(now - ago).toISOString(),
    model: 'qwen',
    req_path: '/v1/chat/completions',
    resp_content_type: 'application/json',
    resp_status_code: 200,
    tokens: {
      cache_tokens: 0, draft_tokens: -1, draft_acc_tokens: -1, input_tokens: 10, output_tokens: 20, prompt_per_second: 100,
      tokens_per_second: 10,
    },
    duration_ms: 1000,
    has_capture: false,
    ...rest,
  };
}

const filter = (text: string): activity.Filter => activity.readFilter(new URLSearchParams(text));
const matching = (rows: ActivityRow[], text: string): number[] =>
  rows.filter((entry) => activity.matches(entry, filter(text), now)).map((entry) => entry.id);

describe('filters', () => {
  const rows = [
    row({ id: 1 }),
    row({ id: 2, model: 'gemma', resp_status_code: 502, error_msg: 'CUDA out of memory' }),
    row({ id: 3, model: 'gemma', resp_status_code: 404, ago: 7_200_000 }),
    row({ id: 4, model: 'gemma', resp_status_code: 502, ago: 7_200_000, key: 'key-1', queue_ms: 900, load_ms: 0 }),
  ];

  test('"502s of gemma in the last hour" is one address', () => {
    expect(matching(rows, 'model=gemma&status=502&last=1h')).toEqual([2]);
  });

  test('a status class stands for all its codes', () => {
    expect(matching(rows, 'status=5xx')).toEqual([2, 4]);
    expect(matching(rows, 'status=4xx,5xx')).toEqual([2, 3, 4]);
  });

  test('the server is asked for codes and ranges of codes, and for nothing that it does not know', () => {
    expect(activity.serverPart(filter('status=ok,404&model=a,b&session=s&q=x&min_id=0&max_id=9&min_tokens=5'))).toEqual({
      models: ['a', 'b'], statuses: ['2xx', '3xx', '404'], paths: [], keys: [], sessions: ['s'], text: 'x', minId: 1, maxId: 9,
    });
  });

  test('text is found in errors, in any case', () => {
    expect(matching(rows, 'q=cuda')).toEqual([2]);
  });

  test('ids, keys, waits and durations narrow further', () => {
    expect(matching(rows, 'min_id=2&max_id=3')).toEqual([2, 3]);
    expect(matching(rows, 'key=key-1')).toEqual([4]);
    expect(matching(rows, 'waited=1')).toEqual([4]);
    expect(matching(rows, 'min_s=2')).toEqual([]);
  });

  test('an address gives back the filter that wrote it', () => {
    const wanted = filter('model=a,b&status=5xx&q=x&from=2026-08-22T11:00:00Z&min_tokens=5&waited=1');
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(activity.writeFilter(wanted))) if (value !== null) params.set(name, value);
    expect(activity.readFilter(params)).toEqual(wanted);
  });

  test('nonsense in an address is no filter', () => {
    expect(filter('min_id=abc&last=forever&from=soon')).toEqual(activity.noFilter);
  });

  test('ranges the wrong way round are explained', () => {
    expect(activity.contradiction(filter('min_id=50&max_id=10'))).toContain('50');
    expect(activity.contradiction(filter('min_id=10&max_id=50'))).toBeNull();
  });

  test('a facet counts what the other filters let through', () => {
    expect(activity.facet(rows, filter('model=gemma&status=404'), now, 'statuses')).toEqual([['502', 2], ['5xx', 2], ['404', 1], ['4xx', 1]]);
  });
});

describe('sums and order', () => {
  test('average speeds are weighted by tokens and ignore unknown ones', () => {
    const fast = row({ tokens: { ...row({}).tokens, output_tokens: 90, tokens_per_second: 90 } });
    const slow = row({ tokens: { ...row({}).tokens, output_tokens: 10, tokens_per_second: 10 } });
    const unknown = row({ tokens: { ...row({}).tokens, output_tokens: 1000, tokens_per_second: -1 } });
    expect(activity.sums([fast, slow, unknown]).decode).toBe(50);
  });

  test('ties are broken by id in the same direction', () => {
    const rows = [row({ id: 1 }), row({ id: 2 }), row({ id: 3, duration_ms: 5 })];
    expect(activity.sorted(rows, 'duration', true).map((entry) => entry.id)).toEqual([2, 1, 3]);
    expect(activity.sorted(rows, 'duration', false).map((entry) => entry.id)).toEqual([3, 1, 2]);
  });

  test('every row falls into one bucket', () => {
    const rows = [row({ ago: 0 }), row({ ago: 1_800_000, resp_status_code: 500 }), row({ ago: 3_599_000 })];
    const bars = activity.buckets(rows, now - 3_600_000, now);
    expect(bars.reduce((sum, bar) => sum + bar.ok, 0)).toBe(2);
    expect(bars.reduce((sum, bar) => sum + bar.failed, 0)).toBe(1);
  });
});

describe('export', () => {
  test('Markdown keeps pipes and line breaks inside of their cells', () => {
    const text = markdown([row({ model: 'a|b', error_msg: 'one\ntwo' })], columns.slice(0, 3), now);
    expect(text).toContain('a\\|b');
    expect(text).toContain('one two');
  });

  test('CSV fields are quoted, and never read as formulas', () => {
    expect(csvField('a,"b"')).toBe('"a,""b"""');
    expect(csvField('=1+1')).toBe("'=1+1");
    expect(csvField(-1)).toBe('-1');
    expect(csv([row({})]).split('\r\n').length).toBe(3);
  });
});
