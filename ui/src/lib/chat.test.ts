import { describe, expect, test } from 'vitest';
import { SseParser } from '../api/sse';
import { AnswerReader, chatBody, noSampling, wholeAnswer, type ChatRequest } from './chat';
import { asChat, asCurl, requestTurns, responseAnswer } from './conversation';
import { diffLines } from './diff';

const image = 'data:image/png;base64,AAAA';
const request: ChatRequest = {
  endpoint: '/v1/chat/completions',
  model: 'm',
  system: 'Be brief.',
  messages: [{ role: 'user', text: 'What is it?', images: [image] }],
  sampling: { ...noSampling, temperature: 0.5, max_tokens: 9, stop: 'END\n' },
  tools: '[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}]',
  schema: '',
  extra: '',
};

describe('requests have the shape of their protocol', () => {
  test('chat completions', () => {
    expect(chatBody(request)).toMatchObject({
      model: 'm', stream: true, temperature: 0.5, max_tokens: 9, stop: ['END'],
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'What is it?' }, { type: 'image_url', image_url: { url: image } }] },
      ],
    });
  });

  test('messages', () => {
    expect(chatBody({ ...request, endpoint: '/v1/messages' })).toMatchObject({
      system: 'Be brief.', max_tokens: 9, stop_sequences: ['END'],
      messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } }, { type: 'text', text: 'What is it?' }] }],
      tools: [{ name: 'f', description: 'd', input_schema: { type: 'object' } }],
    });
  });

  test('messages always carry a limit', () => {
    expect(chatBody({ ...request, endpoint: '/v1/messages', sampling: noSampling })['max_tokens']).toBe(4096);
  });

  test('responses', () => {
    expect(chatBody({ ...request, endpoint: '/v1/responses' })).toMatchObject({
      instructions: 'Be brief.', max_output_tokens: 9,
      input: [{ role: 'user', content: [{ type: 'input_text', text: 'What is it?' }, { type: 'input_image', image_url: image }] }],
      tools: [{ type: 'function', name: 'f' }],
    });
  });

  test('what is not set is not sent', () => {
    const body = chatBody({ ...request, system: '', sampling: noSampling, tools: '' });
    expect(Object.keys(body).sort()).toEqual(['messages', 'model', 'stream', 'stream_options']);
  });

  test('extra members win, broken JSON is named', () => {
    expect(chatBody({ ...request, extra: '{"temperature":1,"x":2}' })).toMatchObject({ temperature: 1, x: 2 });
    expect(() => chatBody({ ...request, tools: '[' })).toThrow(/^Tools/);
    expect(() => chatBody({ ...request, extra: '[]' })).toThrow(/not an object/);
  });
});

function read(...events: unknown[]): AnswerReader['answer'] {
  const reader = new AnswerReader();
  for (const event of events) reader.read(typeof event === 'string' ? event : JSON.stringify(event));
  return reader.answer;
}

describe('streams', () => {
  test('chat completions with reasoning, tools, usage and timings', () => {
    const answer = read(
      { choices: [{ delta: { reasoning_content: 'hm' } }] },
      { choices: [{ delta: { content: 'Hello' } }] },
      { choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{"a"' } }] } }] },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: ':1}' } }] } }] },
      { choices: [{ delta: {}, finish_reason: 'tool_calls' }], usage: { prompt_tokens: 3, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 2 } }, timings: { predicted_per_second: 50 } },
      '[DONE]',
    );
    expect(answer).toMatchObject({
      text: 'Hello', reasoning: 'hm', finish: 'tool_calls', complete: true, toolCalls: [{ id: 'c', name: 'f', arguments: '{"a":1}' }],
      usage: { input: 3, output: 4, cached: 2, decode: 50 },
    });
  });

  test('messages', () => {
    const answer = read(
      { type: 'message_start', message: { usage: { input_tokens: 7 } } },
      { type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 'hm' } },
      { type: 'content_block_delta', delta: { type: 'text_delta', text: 'Hi' } },
      { type: 'content_block_start', content_block: { type: 'tool_use', id: 't', name: 'g' } },
      { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: '{}' } },
      { type: 'message_delta', delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 5 } },
      { type: 'message_stop' },
    );
    expect(answer).toMatchObject({ text: 'Hi', reasoning: 'hm', finish: 'tool_use', complete: true, toolCalls: [{ id: 't', name: 'g', arguments: '{}' }], usage: { input: 7, output: 5 } });
  });

  test('responses', () => {
    const answer = read(
      { type: 'response.reasoning_summary_text.delta', delta: 'hm' },
      { type: 'response.output_text.delta', delta: 'Hi' },
      { type: 'response.completed', response: { status: 'completed', usage: { input_tokens: 1, output_tokens: 2 } } },
    );
    expect(answer).toMatchObject({ text: 'Hi', reasoning: 'hm', complete: true, usage: { input: 1, output: 2 } });
  });

  test('an error inside of a stream is an error', () => {
    expect(read({ choices: [{ delta: { content: 'par' } }] }, { error: { message: 'upstream died' } })).toMatchObject({ text: 'par', error: 'upstream died' });
  });

  test('the gateway\'s loading text is not the model\'s reasoning', () => {
    const reader = new AnswerReader();
    const say = (reasoning_content: string): boolean => reader.read(JSON.stringify({ choices: [{ delta: { reasoning_content } }] }));
    for (const part of ['━━━━━', '\n', 'swapyard loading model: m\n', '...', '\nDone! (2.00s)\n', '━━━━━', '\n \n', 'real thought']) say(part);
    expect(reader.answer.reasoning).toBe('real thought');
    expect(reader.answer.loading).toContain('loading model: m');
  });

  test('malformed events are passed over', () => {
    expect(read('{nonsense', { choices: [{ delta: { content: 'ok' } }] }).text).toBe('ok');
  });
});

describe('whole answers', () => {
  test('all three protocols', () => {
    expect(wholeAnswer({ choices: [{ message: { content: 'a' }, finish_reason: 'stop' }] })?.text).toBe('a');
    expect(wholeAnswer({ type: 'message', content: [{ type: 'text', text: 'b' }] })?.text).toBe('b');
    expect(wholeAnswer({ output: [{ type: 'message', content: [{ type: 'output_text', text: 'c' }] }] })?.text).toBe('c');
    expect(wholeAnswer({ data: [] })).toBeNull();
  });
});

describe('captures', () => {
  test('a captured request becomes turns with calls and results', () => {
    const turns = requestTurns({
      messages: [
        { role: 'user', content: 'q' },
        { role: 'assistant', content: null, tool_calls: [{ id: 'c', function: { name: 'f', arguments: '{}' } }] },
        { role: 'tool', tool_call_id: 'c', content: 'r' },
      ],
    });
    expect(turns.map((turn) => turn.parts[0]?.kind)).toEqual(['text', 'call', 'result']);
  });

  test('the three protocols reach the playground alike', () => {
    const wanted = [{ role: 'user', text: 'q', images: [] }];
    expect(asChat('/v1/chat/completions', { model: 'm', messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'q' }] })).toMatchObject({ system: 's', messages: wanted });
    expect(asChat('/v1/messages', { model: 'm', system: 's', messages: [{ role: 'user', content: [{ type: 'text', text: 'q' }] }] })).toMatchObject({ system: 's', messages: wanted });
    expect(asChat('/v1/responses', { model: 'm', instructions: 's', input: 'q' })).toMatchObject({ system: 's', messages: wanted });
    expect(asChat('/v1/embeddings', { input: 'q' })).toBeNull();
  });

  test('an event stream is read to the end, even without its last blank line', () => {
    expect(responseAnswer('text/event-stream', 'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]')).toMatchObject({ text: 'x', complete: true });
  });

  test('a shell command keeps quotes and leaves out what was redacted', () => {
    const text = asCurl('http://h', { id: 1, req_path: '/p', req_headers: { Authorization: '[REDACTED]', 'Content-Type': 'application/json', Host: 'h' }, req_body: btoa(`{"a":"it's"}`), resp_headers: null, resp_body: null });
    expect(text).toContain(`--data-raw '{"a":"it'\\''s"}'`);
    expect(text).not.toContain('REDACTED');
    expect(text).not.toContain('Host');
  });
});

test('server-sent events survive any cut', () => {
  const text = 'event: a\r\ndata: 1\r\n\r\n: comment\n\ndata: 2\ndata: 3\n\n';
  for (let size = 1; size < text.length; size++) {
    const parser = new SseParser();
    const found: string[] = [];
    for (let at = 0; at < text.length; at += size) for (const event of parser.push(text.slice(at, at + size))) found.push(`${event.event}|${event.data}`);
    expect(found).toEqual(['a|1', '|2\n3']);
  }
});

test('a difference keeps what is common', () => {
  expect(diffLines('a\nb\nc', 'a\nx\nc').map((line) => line.kind + line.text)).toEqual([' a', '-b', '+x', ' c']);
  expect(diffLines('a', 'a').every((line) => line.kind === ' ')).toBe(true);
});
