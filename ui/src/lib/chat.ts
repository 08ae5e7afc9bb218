/** The three chat protocols: building requests, and reading answers whole or as they stream. */

export type Endpoint = '/v1/chat/completions' | '/v1/messages' | '/v1/responses';
export const endpoints: Endpoint[] = ['/v1/chat/completions', '/v1/messages', '/v1/responses'];

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export interface ChatMessage {
  role: 'user' | 'assistant' | 'tool';
  text: string;
  /** Data URLs. */
  images: string[];
  toolCalls?: ToolCall[];
  /** The call that a tool message answers. */
  callId?: string;
}

/** Null or empty leaves the member out of the request. */
export interface Sampling {
  temperature: number | null;
  top_p: number | null;
  top_k: number | null;
  min_p: number | null;
  presence_penalty: number | null;
  frequency_penalty: number | null;
  repeat_penalty: number | null;
  seed: number | null;
  max_tokens: number | null;
  stop: string;
  reasoning_effort: string;
}

export const noSampling: Sampling = {
  temperature: null, top_p: null, top_k: null, min_p: null, presence_penalty: null, frequency_penalty: null,
  repeat_penalty: null, seed: null, max_tokens: null, stop: '', reasoning_effort: '',
};

export interface ChatRequest {
  endpoint: Endpoint;
  model: string;
  system: string;
  messages: ChatMessage[];
  sampling: Sampling;
  /** JSON text: an array of tools in OpenAI's shape; empty for none. */
  tools: string;
  /** JSON text: a schema that the answer must follow; empty for none. */
  schema: string;
  /** JSON text: an object laid over the finished body; empty for none. */
  extra: string;
}

type Json = Record<string, unknown>;

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : 'not valid JSON'}`);
  }
}

/** The body for a request; throws when tools, schema or extra members are not valid JSON. */
export function chatBody(request: ChatRequest): Json {
  const body =
    request.endpoint === '/v1/messages'
      ? anthropicBody(request)
      : request.endpoint === '/v1/responses'
        ? responsesBody(request)
        : completionsBody(request);
  if (request.extra.trim() !== '') {
    const extra = parsed(request.extra, 'Extra members');
    if (extra === null || typeof extra !== 'object' || Array.isArray(extra)) throw new Error('Extra members: not an object');
    Object.assign(body, extra);
  }
  return body;
}

function given(values: Json): Json {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== '' && value !== undefined));
}

function stops(text: string): string[] | null {
  const list = text.split('\n').filter((line) => line !== '');
  return list.length > 0 ? list : null;
}

function toolList(text: string): Json[] {
  const list = parsed(text, 'Tools');
  if (!Array.isArray(list)) throw new Error('Tools: not a list');
  return list as Json[];
}

function functionOf(tool: Json): Json {
  return (tool['function'] as Json | undefined) ?? tool;
}

function completionsBody({ model, system, messages, sampling, tools, schema }: ChatRequest): Json {
  const { stop, ...numbers } = sampling;
  return {
    model,
    messages: [
      ...(system === '' ? [] : [{ role: 'system', content: system }]),
      ...messages.map((message) => {
        if (message.role === 'tool') return { role: 'tool', tool_call_id: message.callId ?? '', content: message.text };
        const calls = message.toolCalls ?? [];
        return {
          role: message.role,
          content:
            message.images.length === 0
              ? message.text
              : [
                  { type: 'text', text: message.text },
                  ...message.images.map((url) => ({ type: 'image_url', image_url: { url } })),
                ],
          ...(calls.length === 0
            ? {}
            : {
                tool_calls: calls.map((call) => ({
                  id: call.id,
                  type: 'function',
                  function: { name: call.name, arguments: call.arguments },
                })),
              }),
        };
      }),
    ],
    stream: true,
    stream_options: { include_usage: true },
    ...given({ ...numbers, stop: stops(stop) }),
    ...(tools.trim() === '' ? {} : { tools: toolList(tools) }),
    ...(schema.trim() === ''
      ? {}
      : { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: parsed(schema, 'Schema') } } }),
  };
}

function anthropicBody({ model, system, messages, sampling, tools }: ChatRequest): Json {
  const source = (url: string): Json => {
    const match = /^data:([^;,]+);base64,(.*)$/s.exec(url);
    return match === null
      ? { type: 'url', url }
      : { type: 'base64', media_type: match[1], data: match[2] };
  };
  return {
    model,
    ...(system === '' ? {} : { system }),
    messages: messages.map((message) => {
      if (message.role === 'tool') {
        return { role: 'user', content: [{ type: 'tool_result', tool_use_id: message.callId ?? '', content: message.text }] };
      }
      const calls = message.toolCalls ?? [];
      if (message.images.length === 0 && calls.length === 0) return { role: message.role, content: message.text };
      return {
        role: message.role,
        content: [
          ...(message.role === 'user' ? message.images.map((url) => ({ type: 'image', source: source(url) })) : []),
          ...(message.text === '' ? [] : [{ type: 'text', text: message.text }]),
          ...calls.map((call) => ({ type: 'tool_use', id: call.id, name: call.name, input: safeParse(call.arguments) })),
        ],
      };
    }),
    max_tokens: sampling.max_tokens ?? 4096,
    stream: true,
    ...given({
      temperature: sampling.temperature,
      top_p: sampling.top_p,
      top_k: sampling.top_k,
      stop_sequences: stops(sampling.stop),
    }),
    ...(tools.trim() === ''
      ? {}
      : {
          tools: toolList(tools).map((tool) => {
            const { name, description, parameters, input_schema } = functionOf(tool);
            return given({ name, description, input_schema: input_schema ?? parameters ?? { type: 'object' } });
          }),
        }),
  };
}

function responsesBody({ model, system, messages, sampling, tools, schema }: ChatRequest): Json {
  const input: Json[] = [];
  for (const message of messages) {
    if (message.role === 'tool') {
      input.push({ type: 'function_call_output', call_id: message.callId ?? '', output: message.text });
      continue;
    }
    const kind = message.role === 'assistant' ? 'output_text' : 'input_text';
    if (message.text !== '' || message.images.length > 0) {
      input.push({
        role: message.role,
        content: [
          { type: kind, text: message.text },
          ...(message.role === 'user' ? message.images.map((url) => ({ type: 'input_image', image_url: url })) : []),
        ],
      });
    }
    for (const call of message.toolCalls ?? []) {
      input.push({ type: 'function_call', call_id: call.id, name: call.name, arguments: call.arguments });
    }
  }
  return {
    model,
    ...(system === '' ? {} : { instructions: system }),
    input,
    stream: true,
    ...given({
      temperature: sampling.temperature,
      top_p: sampling.top_p,
      max_output_tokens: sampling.max_tokens,
      reasoning: sampling.reasoning_effort === '' ? null : { effort: sampling.reasoning_effort },
    }),
    ...(tools.trim() === ''
      ? {}
      : { tools: toolList(tools).map((tool) => ({ type: 'function', ...functionOf(tool) })) }),
    ...(schema.trim() === ''
      ? {}
      : { text: { format: { type: 'json_schema', name: 'answer', schema: parsed(schema, 'Schema') } } }),
  };
}

function safeParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

// --- answers ---

export interface Usage {
  input: number | null;
  output: number | null;
  cached: number | null;
  /** Tokens per second as the engine measured them. */
  prefill: number | null;
  decode: number | null;
}

export interface Answer {
  text: string;
  reasoning: string;
  toolCalls: ToolCall[];
  refusal: string;
  finish: string;
  error: string;
  usage: Usage;
  /** The gateway's own words while a model loads. */
  loading: string;
  /** The stream said itself that it is complete. */
  complete: boolean;
}

export function emptyAnswer(): Answer {
  return {
    text: '', reasoning: '', toolCalls: [], refusal: '', finish: '', error: '', loading: '', complete: false,
    usage: { input: null, output: null, cached: null, prefill: null, decode: null },
  };
}

const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
const string = (value: unknown): string => (typeof value === 'string' ? value : '');
const object = (value: unknown): Json => (value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Json) : {});
const list = (value: unknown): Json[] => (Array.isArray(value) ? value.map(object) : []);

export function readUsage(usage: Usage, source: Json): void {
  const reported = object(source['usage']);
  usage.input = number(reported['prompt_tokens']) ?? number(reported['input_tokens']) ?? usage.input;
  usage.output = number(reported['completion_tokens']) ?? number(reported['output_tokens']) ?? usage.output;
  usage.cached =
    number(reported['cache_read_input_tokens']) ??
    number(object(reported['prompt_tokens_details'])['cached_tokens']) ??
    number(object(reported['input_tokens_details'])['cached_tokens']) ??
    usage.cached;
  const timings = object(source['timings']);
  usage.prefill = number(timings['prompt_per_second']) ?? usage.prefill;
  usage.decode = number(timings['predicted_per_second']) ?? usage.decode;
}

/** The text of an error object in any of the usual shapes. */
export function errorIn(value: unknown): string {
  if (typeof value === 'string') return value;
  const error = object(value);
  return string(error['message']) || string(error['type']) || (Object.keys(error).length > 0 ? JSON.stringify(error) : '');
}

const separator = '━━━━━';

/** Gathers an answer from the data of server-sent events; the shape of each event tells its protocol. */
export class AnswerReader {
  readonly answer = emptyAnswer();
  private loadingOpen = false;

  /** True when the event brought something that a reader sees. */
  read(data: string): boolean {
    if (data === '' || data === '[DONE]') {
      if (data !== '') this.answer.complete = true;
      return false;
    }
    let event: Json;
    try {
      event = object(JSON.parse(data));
    } catch {
      return false;
    }
    if (event['error'] !== undefined && event['error'] !== null) {
      this.answer.error = errorIn(event['error']);
      return true;
    }
    if (typeof event['type'] === 'string' && event['type'].startsWith('response.')) return this.responses(event['type'], event);
    if (typeof event['type'] === 'string' && event['choices'] === undefined) return this.anthropic(event['type'], event);
    return this.completions(event);
  }

  private completions(event: Json): boolean {
    readUsage(this.answer.usage, event);
    const choice = list(event['choices'])[0];
    if (choice === undefined) return false;
    this.answer.finish = string(choice['finish_reason']) || this.answer.finish;
    const delta = object(choice['delta'] ?? choice['message']);
    const text = string(delta['content']) || string(choice['text']);
    const reasoning = this.withoutLoading(string(delta['reasoning_content']) || string(delta['reasoning']));
    const refusal = string(delta['refusal']);
    this.answer.text += text;
    this.answer.reasoning += reasoning;
    this.answer.refusal += refusal;
    const calls = list(delta['tool_calls']);
    for (const call of calls) {
      const index = number(call['index']) ?? this.answer.toolCalls.length;
      const known = (this.answer.toolCalls[index] ??= { id: '', name: '', arguments: '' });
      const called = object(call['function']);
      known.id ||= string(call['id']);
      known.name += string(called['name']);
      known.arguments += string(called['arguments']);
    }
    return text !== '' || reasoning !== '' || refusal !== '' || calls.length > 0;
  }

  /** While a model loads, the gateway writes as reasoning, between lines of five heavy dashes. */
  private withoutLoading(reasoning: string): string {
    if (reasoning === '') return '';
    const { answer } = this;
    if (!this.loadingOpen && answer.loading === '' && answer.reasoning === '' && reasoning.startsWith('━')) this.loadingOpen = true;
    // The blanks between the loading text and the first thought belong to neither.
    if (!this.loadingOpen) return answer.loading !== '' && answer.reasoning === '' ? reasoning.trimStart() : reasoning;
    answer.loading += reasoning;
    const end = answer.loading.indexOf(separator, separator.length);
    if (end < 0) return '';
    this.loadingOpen = false;
    const rest = answer.loading.slice(end + separator.length);
    answer.loading = answer.loading.slice(0, end).replaceAll('━', '').trim();
    return rest.replace(/^\s+/, '');
  }

  private anthropic(type: string, event: Json): boolean {
    const { answer } = this;
    if (type === 'message_start') readUsage(answer.usage, object(event['message']));
    if (type === 'message_delta') {
      readUsage(answer.usage, event);
      answer.finish = string(object(event['delta'])['stop_reason']) || answer.finish;
    }
    if (type === 'message_stop') answer.complete = true;
    if (type === 'content_block_start') {
      const block = object(event['content_block']);
      if (block['type'] === 'tool_use') answer.toolCalls.push({ id: string(block['id']), name: string(block['name']), arguments: '' });
      answer.text += string(block['text']);
      return block['type'] === 'tool_use';
    }
    if (type !== 'content_block_delta') return false;
    const delta = object(event['delta']);
    answer.text += string(delta['text']);
    answer.reasoning += string(delta['thinking']);
    const call = answer.toolCalls.at(-1);
    if (call !== undefined) call.arguments += string(delta['partial_json']);
    return true;
  }

  private responses(type: string, event: Json): boolean {
    const { answer } = this;
    const delta = string(event['delta']);
    switch (type) {
      case 'response.output_text.delta':
        answer.text += delta;
        return true;
      case 'response.refusal.delta':
        answer.refusal += delta;
        return true;
      case 'response.reasoning_text.delta':
      case 'response.reasoning_summary_text.delta':
      case 'response.reasoning.delta':
        answer.reasoning += delta;
        return true;
      case 'response.output_item.added': {
        const item = object(event['item']);
        if (item['type'] === 'function_call') {
          answer.toolCalls.push({ id: string(item['call_id']) || string(item['id']), name: string(item['name']), arguments: string(item['arguments']) });
          return true;
        }
        return false;
      }
      case 'response.function_call_arguments.delta': {
        const call = answer.toolCalls.at(-1);
        if (call !== undefined) call.arguments += delta;
        return true;
      }
      case 'response.failed':
      case 'response.incomplete':
      case 'response.completed': {
        const response = object(event['response']);
        readUsage(answer.usage, response);
        answer.complete = true;
        answer.finish = string(object(response['incomplete_details'])['reason']) || string(response['status']) || answer.finish;
        answer.error ||= errorIn(response['error'] ?? '');
        if (answer.text === '') answer.text = outputText(response);
        return false;
      }
      default:
        return false;
    }
  }
}

function outputText(response: Json): string {
  return list(response['output'])
    .flatMap((item) => list(item['content']))
    .map((part) => string(part['text']))
    .join('');
}

/** A whole answer that did not stream, in any of the three protocols. */
export function wholeAnswer(value: unknown): Answer | null {
  const source = object(value);
  const answer = emptyAnswer();
  answer.complete = true;
  readUsage(answer.usage, source);
  if (source['error'] !== undefined && source['error'] !== null) {
    answer.error = errorIn(source['error']);
    return answer;
  }
  if (Array.isArray(source['choices'])) {
    const choice = list(source['choices'])[0] ?? {};
    const message = object(choice['message']);
    answer.text = string(message['content']) || string(choice['text']);
    answer.reasoning = string(message['reasoning_content']) || string(message['reasoning']);
    answer.finish = string(choice['finish_reason']);
    answer.toolCalls = list(message['tool_calls']).map((call) => {
      const called = object(call['function']);
      return { id: string(call['id']), name: string(called['name']), arguments: string(called['arguments']) };
    });
    return answer;
  }
  if (source['type'] === 'message' && Array.isArray(source['content'])) {
    for (const part of list(source['content'])) {
      answer.text += string(part['text']);
      answer.reasoning += string(part['thinking']);
      if (part['type'] === 'tool_use') {
        answer.toolCalls.push({ id: string(part['id']), name: string(part['name']), arguments: JSON.stringify(part['input'] ?? {}) });
      }
    }
    answer.finish = string(source['stop_reason']);
    return answer;
  }
  if (Array.isArray(source['output'])) {
    answer.text = outputText(source);
    answer.finish = string(source['status']);
    for (const item of list(source['output'])) {
      if (item['type'] === 'function_call') {
        answer.toolCalls.push({ id: string(item['call_id']), name: string(item['name']), arguments: string(item['arguments']) });
      }
      if (item['type'] === 'reasoning') answer.reasoning += list(item['summary']).map((part) => string(part['text'])).join('\n');
    }
    return answer;
  }
  if (typeof source['content'] === 'string') {
    answer.text = source['content'];
    return answer;
  }
  return null;
}
