/** Server-sent events out of a byte stream, in linear time, for our own stream and for every model's answer. */

export interface SseEvent {
  event: string;
  data: string;
}

/** Feed it text as it comes; it hands back the events that became complete. */
export class SseParser {
  private rest = '';
  private event = '';
  private data: string[] = [];

  push(text: string): SseEvent[] {
    const out: SseEvent[] = [];
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      if (line === '') {
        if (this.data.length > 0) out.push({ event: this.event, data: this.data.join('\n') });
        this.event = '';
        this.data = [];
      } else if (line.startsWith('data:')) {
        this.data.push(line.startsWith('data: ') ? line.slice(6) : line.slice(5));
      } else if (line.startsWith('event:')) {
        this.event = line.slice(6).trim();
      }
    }
    return out;
  }

  /** What is left when the stream ends without a closing blank line. */
  end(): SseEvent[] {
    return this.push('\n\n');
  }
}

/** Reads a response body as events until it ends; throws what the body throws (an abort included). */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<SseEvent[]> {
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const events = parser.push(decoder.decode(value, { stream: true }));
      yield events;
    }
    const last = parser.end();
    if (last.length > 0) yield last;
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
