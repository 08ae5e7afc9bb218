/** One log, followed only while somebody looks at it. */
import * as api from '../api/client';
import { isAbort, reason } from '../api/http';
import { continued, LineBuffer, type LogLine } from '../lib/loglines';

export class Feed {
  readonly buffer: LineBuffer;
  failure = $state('');
  connected = $state(false);
  /** Counts up with every batch of lines. */
  version = $state(0);
  private abort = new AbortController();
  private pending: string[] = [];
  /** The last lines before the connection was lost, until it is known how the log goes on. */
  private seen: string[] | null = null;
  private frame = 0;

  /** `added` gets every batch of new lines, at most one a frame. */
  constructor(
    readonly source: string,
    private readonly added: (lines: LogLine[]) => void,
  ) {
    this.buffer = new LineBuffer(source);
    void this.run();
  }

  private async run(): Promise<void> {
    for (let attempt = 0; !this.abort.signal.aborted; attempt++) {
      try {
        for await (const text of api.logStream(this.source, this.abort.signal)) {
          if (!this.connected) {
            attempt = 0;
            this.connected = true;
            this.failure = '';
          }
          this.take(text);
        }
      } catch (error) {
        if (isAbort(error)) return;
        this.failure = reason(error);
      }
      this.connected = false;
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 500 * 2 ** attempt)));
      if (this.abort.signal.aborted) return;
      // The history comes again with the next connection: its known part is left out.
      this.buffer.dropPartial();
      this.seen = this.buffer.lines.slice(-40).map((line) => line.raw);
    }
  }

  private take(text: string): void {
    this.pending.push(text);
    if (this.frame !== 0) return;
    const flush = (): void => {
      this.frame = 0;
      let text = this.pending.join('');
      this.pending = [];
      if (this.seen !== null) text = continued(this.seen, text);
      this.seen = null;
      const lines = this.buffer.push(text);
      this.added(lines);
      this.version++;
    };
    // A hidden page gets no frames, but its buffer must stay bounded all the same; a history that comes again must be
    // complete before its known part can be found.
    const later = document.hidden || this.seen !== null;
    this.frame = later ? window.setTimeout(flush, 500) : requestAnimationFrame(flush);
  }

  stop(): void {
    this.abort.abort();
  }
}
