/** One chat request, measured: first token, end of thinking, total. */
import { call, isAbort, reason } from '../api/http';
import { readEvents } from '../api/sse';
import { AnswerReader, wholeAnswer, type Answer } from '../lib/chat';
import { sessionId } from '../state/session.svelte';
import type { Reply } from './tree';

export interface Progress {
  answer: Answer;
  firstMs: number | null;
  thoughtMs: number | null;
}

/** Sends a body and reports every bit that arrives; throws ApiError, or an AbortError when `signal` fires. */
export async function ask(
  path: string,
  body: unknown,
  signal: AbortSignal,
  report: (progress: Progress) => void,
): Promise<Progress & { totalMs: number }> {
  const from = performance.now();
  const since = (): number => performance.now() - from;
  const response = await call(path, {
    method: 'POST',
    signal,
    headers: { 'Content-Type': 'application/json', 'X-Session-ID': sessionId },
    body: JSON.stringify(body),
  });
  const progress: Progress = { answer: new AnswerReader().answer, firstMs: null, thoughtMs: null };
  if (!(response.headers.get('content-type') ?? '').includes('text/event-stream') || response.body === null) {
    const text = await response.text();
    progress.answer = wholeAnswer(safe(text)) ?? { ...progress.answer, text };
    progress.firstMs = since();
    return { ...progress, totalMs: since() };
  }
  const reader = new AnswerReader();
  progress.answer = reader.answer;
  for await (const events of readEvents(response.body)) {
    for (const event of events) {
      const visible = reader.read(event.data);
      if (visible && progress.firstMs === null && (reader.answer.text !== '' || reader.answer.reasoning !== '' || reader.answer.toolCalls.length > 0)) {
        progress.firstMs = since();
      }
      if (progress.thoughtMs === null && reader.answer.reasoning !== '' && (reader.answer.text !== '' || reader.answer.toolCalls.length > 0)) {
        progress.thoughtMs = since() - (progress.firstMs ?? 0);
      }
    }
    report(progress);
  }
  const { answer } = reader;
  if (answer.error === '' && !answer.complete && answer.finish === '') answer.error = 'the stream ended before it was complete';
  return { ...progress, totalMs: since() };
}

function safe(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function newReply(model: string): Reply {
  const { text, reasoning, loading, toolCalls, refusal, finish, error, usage } = new AnswerReader().answer;
  return { model, text, reasoning, loading, toolCalls, refusal, finish, error, usage, state: 'streaming', startedAt: Date.now(), firstMs: null, thoughtMs: null, totalMs: null };
}

/** Fills a reply as its answer streams; the page sees it at most once a frame. */
export async function fill(reply: Reply, path: string, body: unknown, signal: AbortSignal): Promise<void> {
  let latest: Progress | null = null;
  let frame: number | ReturnType<typeof setTimeout> = 0;
  const show = (): void => {
    frame = 0;
    if (latest === null) return;
    const { answer } = latest;
    reply.text = answer.text;
    reply.reasoning = answer.reasoning;
    reply.loading = answer.loading;
    reply.refusal = answer.refusal;
    reply.firstMs = latest.firstMs;
    reply.thoughtMs = latest.thoughtMs;
    if (answer.toolCalls.length > 0) reply.toolCalls = answer.toolCalls.map((entry) => ({ ...entry }));
  };
  const from = performance.now();
  try {
    const done = await ask(path, body, signal, (progress) => {
      latest = progress;
      if (frame === 0) frame = document.hidden ? setTimeout(show, 250) : requestAnimationFrame(show);
    });
    latest = done;
    show();
    reply.totalMs = done.totalMs;
    reply.finish = done.answer.finish;
    reply.error = done.answer.error;
    reply.usage = { ...done.answer.usage };
    reply.state = reply.error === '' ? 'done' : 'failed';
  } catch (error) {
    show();
    reply.totalMs = performance.now() - from;
    reply.state = isAbort(error) ? 'stopped' : 'failed';
    if (!isAbort(error)) reply.error = reason(error);
  }
}
