/** A captured exchange as a conversation, whatever protocol it spoke. */
import { SseParser } from '../api/sse';
import type { Capture } from '../api/types';
import { AnswerReader, wholeAnswer, type Answer, type ChatMessage, type Endpoint } from './chat';

export type Part =
  | { kind: 'text'; text: string }
  | { kind: 'reasoning'; text: string }
  | { kind: 'image'; source: string }
  | { kind: 'call'; name: string; id: string; text: string }
  | { kind: 'result'; id: string; text: string }
  | { kind: 'other'; text: string };

export interface Turn {
  role: string;
  parts: Part[];
}

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => value !== null && typeof value === 'object' && !Array.isArray(value);
const text = (value: unknown): string => (typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value));

export function decodeBase64(data: string | null): Uint8Array<ArrayBuffer> | null {
  if (data === null || data === '') return null;
  try {
    const binary = atob(data);
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
    return bytes;
  } catch {
    return null;
  }
}

export function decodeText(data: string | null): string {
  const bytes = decodeBase64(data);
  return bytes === null ? '' : new TextDecoder().decode(bytes);
}

export function headerOf(headers: Record<string, string> | null, name: string): string {
  return Object.entries(headers ?? {}).find(([key]) => key.toLowerCase() === name)?.[1] ?? '';
}

export function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}

function part(value: unknown): Part {
  if (typeof value === 'string') return { kind: 'text', text: value };
  if (!isObject(value)) return { kind: 'other', text: text(value) };
  switch (value['type']) {
    case 'text':
    case 'input_text':
    case 'output_text':
      return { kind: 'text', text: text(value['text']) };
    case 'thinking':
      return { kind: 'reasoning', text: text(value['thinking']) };
    case 'image_url':
      return { kind: 'image', source: text(isObject(value['image_url']) ? value['image_url']['url'] : value['image_url']) };
    case 'input_image':
      return { kind: 'image', source: text(value['image_url']) };
    case 'image': {
      const source = isObject(value['source']) ? value['source'] : {};
      const data = source['type'] === 'base64' ? `data:${text(source['media_type'])};base64,${text(source['data'])}` : text(source['url']);
      return { kind: 'image', source: data };
    }
    case 'tool_use':
      return { kind: 'call', name: text(value['name']), id: text(value['id']), text: JSON.stringify(value['input'] ?? {}, null, 2) };
    case 'tool_result':
      return { kind: 'result', id: text(value['tool_use_id']), text: parts(value['content']).map(plain).join('\n') };
    default:
      return { kind: 'other', text: JSON.stringify(value, null, 2) };
  }
}

function plain(value: Part): string {
  return value.kind === 'image' ? '[image]' : value.text;
}

function parts(content: unknown): Part[] {
  if (content === null || content === undefined || content === '') return [];
  return Array.isArray(content) ? content.map(part) : [part(content)];
}

function pretty(source: string): string {
  const value = parseJson(source);
  return value === undefined ? source : JSON.stringify(value, null, 2);
}

/** What the client asked, as turns; empty when the body is no conversation. */
export function requestTurns(body: unknown): Turn[] {
  if (!isObject(body)) return [];
  const turns: Turn[] = [];
  const system = body['system'] ?? body['instructions'];
  if (system !== undefined && system !== '') turns.push({ role: 'system', parts: parts(system) });
  if (Array.isArray(body['messages'])) {
    for (const message of body['messages']) {
      if (!isObject(message)) continue;
      const role = text(message['role']);
      const content = parts(message['content']);
      const reasoning = text(message['reasoning_content']);
      const calls = Array.isArray(message['tool_calls']) ? message['tool_calls'].filter(isObject) : [];
      turns.push({
        role,
        parts: [
          ...(reasoning === '' ? [] : [{ kind: 'reasoning', text: reasoning } as Part]),
          ...(role === 'tool'
            ? [{ kind: 'result', id: text(message['tool_call_id']), text: content.map(plain).join('\n') } as Part]
            : content),
          ...calls.map((call): Part => {
            const called = isObject(call['function']) ? call['function'] : {};
            return { kind: 'call', name: text(called['name']), id: text(call['id']), text: pretty(text(called['arguments'])) };
          }),
        ],
      });
    }
  } else if (typeof body['input'] === 'string') turns.push({ role: 'user', parts: [{ kind: 'text', text: body['input'] }] });
  else if (Array.isArray(body['input'])) {
    for (const item of body['input']) {
      if (!isObject(item)) turns.push({ role: 'input', parts: [part(item)] });
      else if (item['type'] === 'function_call') {
        turns.push({ role: 'assistant', parts: [{ kind: 'call', name: text(item['name']), id: text(item['call_id']), text: pretty(text(item['arguments'])) }] });
      } else if (item['type'] === 'function_call_output') {
        turns.push({ role: 'tool', parts: [{ kind: 'result', id: text(item['call_id']), text: text(item['output']) }] });
      } else turns.push({ role: text(item['role'] ?? item['type']), parts: parts(item['content'] ?? item['summary']) });
    }
  } else if (typeof body['prompt'] === 'string') turns.push({ role: 'prompt', parts: [{ kind: 'text', text: body['prompt'] }] });
  else if (typeof body['query'] === 'string') {
    turns.push({ role: 'query', parts: [{ kind: 'text', text: body['query'] }] });
    if (Array.isArray(body['documents'])) turns.push({ role: 'documents', parts: body['documents'].map(part) });
  }
  return turns;
}

/** The names of the tools that were offered. */
export function offeredTools(body: unknown): string[] {
  if (!isObject(body) || !Array.isArray(body['tools'])) return [];
  return body['tools'].filter(isObject).map((tool) => text((isObject(tool['function']) ? tool['function'] : tool)['name']));
}

/** What came back; null when it is not a chat answer. */
export function responseAnswer(contentType: string, body: string): Answer | null {
  if (contentType.includes('text/event-stream')) {
    const reader = new AnswerReader();
    const parser = new SseParser();
    for (const event of [...parser.push(body), ...parser.end()]) reader.read(event.data);
    return reader.answer;
  }
  return wholeAnswer(parseJson(body));
}

export function answerTurn(answer: Answer): Turn {
  return {
    role: 'assistant',
    parts: [
      ...(answer.reasoning === '' ? [] : [{ kind: 'reasoning', text: answer.reasoning } as Part]),
      ...(answer.text === '' ? [] : [{ kind: 'text', text: answer.text } as Part]),
      ...(answer.refusal === '' ? [] : [{ kind: 'other', text: `Refused: ${answer.refusal}` } as Part]),
      ...answer.toolCalls.map((call): Part => ({ kind: 'call', name: call.name, id: call.id, text: pretty(call.arguments) })),
    ],
  };
}

/** A shell command that sends the captured request again. */
export function asCurl(origin: string, capture: Capture, method = 'POST'): string {
  const quote = (value: string): string => `'${value.replace(/'/g, `'\\''`)}'`;
  const skip = /^(?:host|content-length|connection|accept-encoding|user-agent|transfer-encoding)$/i;
  const headers = Object.entries(capture.req_headers ?? {}).filter(([name, value]) => !skip.test(name) && value !== '[REDACTED]');
  const redacted = Object.entries(capture.req_headers ?? {}).some(([, value]) => value === '[REDACTED]');
  const body = decodeText(capture.req_body);
  return [
    `curl -N -X ${method} ${quote(origin + capture.req_path)}`,
    ...headers.map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`),
    ...(redacted ? ['-H "Authorization: Bearer $API_KEY"'] : []),
    ...(body === '' ? [] : [`--data-raw ${quote(body)}`]),
  ].join(' \\\n  ');
}

/** A captured chat request as the playground's own; null when it is none. */
export function asChat(path: string, body: unknown): { endpoint: Endpoint; model: string; system: string; messages: ChatMessage[]; tools: string } | null {
  if (!isObject(body)) return null;
  const endpoint = path.replace(/^\/v\//, '/v1/') as Endpoint;
  if (!['/v1/chat/completions', '/v1/messages', '/v1/responses'].includes(endpoint)) return null;
  const turns = requestTurns(body);
  const texts = (turn: Turn): string => turn.parts.flatMap((entry) => (entry.kind === 'text' ? [entry.text] : [])).join('\n');
  const messages = turns
    .filter((turn) => turn.role !== 'system' && turn.role !== 'developer')
    .map((turn): ChatMessage => {
      const result = turn.parts.find((entry) => entry.kind === 'result');
      if (result !== undefined) return { role: 'tool', text: result.text, images: [], callId: result.id };
      const calls = turn.parts.flatMap((entry) => (entry.kind === 'call' ? [{ id: entry.id, name: entry.name, arguments: entry.text }] : []));
      return {
        role: turn.role === 'assistant' ? 'assistant' : 'user',
        text: texts(turn),
        images: turn.parts.flatMap((entry) => (entry.kind === 'image' && entry.source.startsWith('data:') ? [entry.source] : [])),
        ...(calls.length > 0 ? { toolCalls: calls } : {}),
      };
    });
  return {
    endpoint,
    model: text(body['model']),
    system: turns.filter((turn) => turn.role === 'system' || turn.role === 'developer').map(texts).join('\n\n'),
    messages,
    tools: Array.isArray(body['tools']) ? JSON.stringify(body['tools'], null, 2) : '',
  };
}
