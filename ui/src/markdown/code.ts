/** A code block that grows at its end: finished lines are never touched again, colours come when it is closed. */
import { copyText } from '../lib/clipboard';
import { isKnown, tokens, type Token } from './highlight';

const linesPerChunk = 60;
const maxHighlighted = 300_000;
const sliceMs = 8;

export class CodeBlock {
  readonly element: HTMLElement;
  private readonly code: HTMLElement;
  private chunk: HTMLElement;
  private chunkText: Text;
  private chunkLines = 0;
  private readonly tail: Text;
  private readonly lines: string[] = [];

  constructor(
    document: Document,
    readonly language: string,
  ) {
    this.element = document.createElement('div');
    this.element.className = 'md-code';
    const bar = document.createElement('div');
    bar.className = 'md-bar';
    const label = document.createElement('span');
    label.textContent = language || 'text';
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'btn tiny quiet';
    button.textContent = 'Copy';
    button.addEventListener('click', () => {
      copyText(this.text).then(
        () => (button.textContent = 'Copied'),
        (error: unknown) => (button.textContent = error instanceof Error ? error.message : 'Not copied'),
      );
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
    bar.append(label, button);
    const pre = document.createElement('pre');
    pre.tabIndex = 0;
    this.code = document.createElement('code');
    pre.append(this.code);
    this.element.append(bar, pre);
    this.tail = document.createTextNode('');
    this.chunk = document.createElement('span');
    this.chunkText = document.createTextNode('');
    this.chunk.append(this.chunkText, this.tail);
    this.code.append(this.chunk);
  }

  /** Exactly what stood between the fences. */
  get text(): string {
    return this.lines.join('\n');
  }

  addLine(line: string): void {
    if (this.chunkLines === linesPerChunk) {
      this.chunk = this.code.ownerDocument.createElement('span');
      this.chunkText = this.code.ownerDocument.createTextNode('');
      this.chunk.append(this.chunkText, this.tail);
      this.code.append(this.chunk);
      this.chunkLines = 0;
    }
    this.lines.push(line);
    this.chunkText.appendData(`${line}\n`);
    this.chunkLines++;
  }

  /** The line that is still being written. */
  setTail(text: string): void {
    if (this.tail.data !== text) this.tail.data = text;
  }

  /** No more lines: colours are put on in short slices, so that nothing else has to wait. */
  close(): void {
    this.tail.remove();
    const text = this.text;
    if (!isKnown(this.language) || text.length > maxHighlighted) return;
    const source = tokens(text, this.language);
    let chunk = this.code.firstElementChild;
    let room = chunk?.textContent?.length ?? 0;
    let fragment = this.code.ownerDocument.createDocumentFragment();
    const put = ([kind, part]: Token): void => {
      let rest = part;
      while (rest !== '') {
        const piece = rest.slice(0, room);
        rest = rest.slice(piece.length);
        room -= piece.length;
        append(fragment, kind, piece);
        if (room > 0) break;
        chunk?.replaceChildren(fragment);
        chunk = chunk?.nextElementSibling ?? null;
        if (chunk === null) return;
        room = chunk.textContent?.length ?? 0;
        fragment = this.code.ownerDocument.createDocumentFragment();
      }
    };
    const slice = (): void => {
      const until = performance.now() + sliceMs;
      for (;;) {
        const step = source.next();
        if (step.done) {
          put(['', '\n']);
          return;
        }
        put(step.value);
        if (performance.now() > until) break;
      }
      setTimeout(slice, 0);
    };
    slice();
  }
}

function append(parent: Node, kind: string, text: string): void {
  const document = parent.ownerDocument as Document;
  if (kind === '') {
    parent.appendChild(document.createTextNode(text));
    return;
  }
  const span = document.createElement('span');
  span.className = `hl-${kind}`;
  span.textContent = text;
  parent.appendChild(span);
}
