/** Activity as Markdown, CSV or JSON: the whole result, in the columns that are on screen. */
import type { ActivityRow } from '../api/types';
import { endOf, sessionOfRow, sums, waitedMs, type SortKey } from './activity';
import { count, drafted, duration, percent, speed, stamp, tokens } from './format';

export interface Column {
  key: SortKey;
  label: string;
  /** Explained on hover. */
  hint?: string;
  numeric?: boolean;
  /** Width in rem; the column without one takes what is left. */
  rem: number | null;
  shown: boolean;
}

export const columns: Column[] = [
  { key: 'time', label: 'Time', rem: 6.6, shown: true },
  { key: 'id', label: 'ID', rem: 4.2, shown: false, numeric: true },
  { key: 'model', label: 'Model', rem: null, shown: true },
  { key: 'path', label: 'Path', rem: 12, shown: false },
  { key: 'status', label: 'Status', rem: 4.6, shown: true },
  { key: 'type', label: 'Content type', rem: 9, shown: false },
  { key: 'cached', label: 'Cached', rem: 5, hint: 'Prompt tokens served from the cache', shown: false, numeric: true },
  { key: 'prompt', label: 'Prompt', rem: 5.2, hint: 'Prompt tokens processed anew', shown: true, numeric: true },
  { key: 'generated', label: 'Output', rem: 5.2, hint: 'Tokens generated', shown: true, numeric: true },
  {
    key: 'drafted',
    label: 'Drafted',
    rem: 8.5,
    hint: 'Speculative decoding: accepted of drafted tokens',
    shown: false,
    numeric: true,
  },
  { key: 'prefill', label: 'Prefill', rem: 5.8, hint: 'Speed of reading the prompt', shown: false, numeric: true },
  { key: 'decode', label: 'Decode', rem: 5.8, hint: 'Speed of generating', shown: true, numeric: true },
  { key: 'wait', label: 'Wait', rem: 5, hint: 'In line and while the model loaded', shown: true, numeric: true },
  { key: 'first', label: 'First token', rem: 5.8, hint: 'From arrival to the first token', shown: true, numeric: true },
  { key: 'duration', label: 'Duration', rem: 5.4, hint: 'From arrival to the end', shown: true, numeric: true },
  { key: 'key', label: 'Key', rem: 6, hint: 'A short name of the API key', shown: false },
  { key: 'session', label: 'Session', rem: 9, shown: false },
];

const usageColumns = new Set<SortKey>(['cached', 'prompt', 'generated', 'drafted', 'prefill', 'decode']);

/** All zeros stand for an answer that told nothing about tokens. */
function toldNothing({ tokens: { input_tokens, output_tokens, prompt_per_second, tokens_per_second } }: ActivityRow): boolean {
  return input_tokens <= 0 && output_tokens <= 0 && prompt_per_second <= 0 && tokens_per_second <= 0;
}

/** A cell's text. */
export function cell(row: ActivityRow, key: SortKey): string {
  if (usageColumns.has(key) && toldNothing(row)) return '–';
  switch (key) {
    case 'id':
      return String(row.id);
    case 'time':
      return stamp(endOf(row));
    case 'model':
      return row.model;
    case 'path':
      return row.req_path;
    case 'status':
      return String(row.resp_status_code);
    case 'type':
      return row.resp_content_type;
    case 'cached':
      return tokens(row.tokens.cache_tokens);
    case 'prompt':
      return count(row.tokens.input_tokens);
    case 'generated':
      return count(row.tokens.output_tokens);
    case 'drafted':
      return drafted(row.tokens.draft_acc_tokens, row.tokens.draft_tokens);
    case 'prefill':
      return speed(row.tokens.prompt_per_second);
    case 'decode':
      return speed(row.tokens.tokens_per_second);
    case 'wait':
      return row.queue_ms === undefined ? '–' : duration(waitedMs(row));
    case 'first':
      return duration(row.first_token_ms);
    case 'duration':
      return duration(row.duration_ms);
    case 'key':
      return row.key ?? '';
    case 'session':
      return sessionOfRow(row);
  }
}

function escapePipes(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\s*\n\s*/g, ' ');
}

export function markdown(rows: ActivityRow[], shown: Column[], now: number): string {
  const total = sums(rows);
  const draftTotal = rows.reduce((sum, row) => sum + Math.max(0, row.tokens.draft_tokens), 0);
  const draftTaken = rows.reduce((sum, row) => sum + Math.max(0, row.tokens.draft_acc_tokens), 0);
  const times = rows.map(endOf);
  const facts: [string, string][] = [
    ['Time range', rows.length === 0 ? '–' : `${stamp(Math.min(...times))} to ${stamp(Math.max(...times))}`],
    ['Requests', `${count(total.requests)} (${count(total.failed)} failed)`],
    ['Summed duration', duration(rows.reduce((sum, row) => sum + row.duration_ms, 0))],
    ['Cached', count(total.cached)],
    ['Prompt', `${count(total.input)} (${speed(total.prefill)})`],
    ['Generated', `${count(total.output)} (${speed(total.decode)})`],
    ['Drafts accepted', drafted(draftTaken, draftTotal)],
  ];
  const table = (head: string[], body: string[][]): string =>
    [head, head.map(() => '---'), ...body].map((line) => `| ${line.map(escapePipes).join(' | ')} |`).join('\n');
  const withErrors = rows.some((row) => row.error_msg);
  const head = [...shown.map((column) => column.label), ...(withErrors ? ['Error'] : [])];
  const body = rows.map((row) => [
    ...shown.map((column) => cell(row, column.key)),
    ...(withErrors ? [row.error_msg ?? ''] : []),
  ]);
  return `${table(['', ''], facts)}\n\n${table(head, body)}\n\nExported from swapyard, ${stamp(now)}\n`;
}

/** A field that a spreadsheet neither splits nor takes for a formula. */
export function csvField(value: unknown): string {
  let text = value === null || value === undefined ? '' : String(value);
  if (typeof value === 'string' && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

const csvMembers: [string, (row: ActivityRow) => unknown][] = [
  ['id', (row) => row.id],
  ['timestamp', (row) => row.timestamp],
  ['model', (row) => row.model],
  ['path', (row) => row.req_path],
  ['status', (row) => row.resp_status_code],
  ['content_type', (row) => row.resp_content_type],
  ['cached_tokens', (row) => row.tokens.cache_tokens],
  ['prompt_tokens', (row) => row.tokens.input_tokens],
  ['output_tokens', (row) => row.tokens.output_tokens],
  ['draft_tokens', (row) => row.tokens.draft_tokens],
  ['draft_accepted', (row) => row.tokens.draft_acc_tokens],
  ['prefill_tokens_per_s', (row) => row.tokens.prompt_per_second],
  ['decode_tokens_per_s', (row) => row.tokens.tokens_per_second],
  ['queue_ms', (row) => row.queue_ms],
  ['load_ms', (row) => row.load_ms],
  ['first_token_ms', (row) => row.first_token_ms],
  ['duration_ms', (row) => row.duration_ms],
  ['wait_reason', (row) => row.wait_reason],
  ['key', (row) => row.key],
  ['session', sessionOfRow],
  ['request_id', (row) => row.request_id],
  ['error', (row) => row.error_msg],
];

export function csv(rows: ActivityRow[]): string {
  const lines = rows.map((row) => csvMembers.map(([, value]) => csvField(value(row))).join(','));
  return `${csvMembers.map(([name]) => name).join(',')}\r\n${lines.join('\r\n')}\r\n`;
}

export { percent };
