/**
 * Markdown as it arrives, straight into the document and in linear time: every complete line is looked at once, every
 * finished block is left alone for ever, and only the block at the end is rendered again.
 */
import { CodeBlock } from './code';
import { renderInline } from './inline';
import { math } from './math';

interface Quote {
  kind: 'quote';
  element: Element;
}

interface ListItem {
  kind: 'item';
  element: Element;
  list: Element;
  /** `-`, `*`, `+`, `.` or `)`: another one begins another list. */
  marker: string;
  /** Columns to strip from the lines of this item. */
  indent: number;
  blank: boolean;
}

type Container = Quote | ListItem;

type Leaf =
  | { kind: 'paragraph'; element: Element; lines: string[]; dirty: boolean; cost: number; renderedAt: number }
  | { kind: 'fence'; block: CodeBlock; mark: string; indent: number }
  | { kind: 'indented'; block: CodeBlock; blanks: number }
  | { kind: 'math'; element: HTMLElement; lines: string[]; close: string }
  | { kind: 'table'; body: Element; aligns: string[] };

const fenceOpen = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const heading = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$/;
const rule = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const bullet = /^( {0,3})([-+*])( +|$)/;
const ordered = /^( {0,3})(\d{1,9})([.)])( +|$)/;
const quote = /^ {0,3}> ?/;
const delimiterRow = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const mathOpen = /^ {0,3}(\$\$|\\\[)(.*)$/;
/** A line that may yet become a rule, an underline, a fence or a table's second row: not shown before it is complete. */
const undecided = /^\s*(?:[|:\-\s=_*#>+]+|[`~]+\w*|\d{1,9}[.)]?|\$+|\\)$/;
const maxDepth = 24;

export class MarkdownStream {
  private rest = '';
  private stack: Container[] = [];
  private leaf: Leaf | null = null;
  private readonly document: Document;
  /** What the unfinished line has put into the document; taken away before the next look at it. */
  private tentative: { stack: Container[]; leaf: Leaf | null; lines: number; added: Node[] } | null = null;
  private ended = false;

  constructor(private readonly root: Element) {
    this.document = root.ownerDocument;
  }

  append(text: string): void {
    if (text === '' || this.ended) return;
    this.rollback();
    const lines = (this.rest + text.replace(/\r\n?/g, '\n')).split('\n');
    this.rest = lines.pop() ?? '';
    for (const line of lines) this.line(this.spaced(line));
    this.preview();
    this.renderOpen(false);
  }

  finish(): void {
    if (this.ended) return;
    this.rollback();
    if (this.rest !== '') this.line(this.spaced(this.rest));
    this.rest = '';
    this.closeTo(0);
    this.ended = true;
  }

  /** Tabs that indent become spaces; those that belong to code stay what they are. */
  private spaced(line: string): string {
    const { leaf } = this;
    if (leaf?.kind !== 'fence' && leaf?.kind !== 'indented') return expanded(line);
    const around = this.stack.reduce((sum, container) => sum + (container.kind === 'item' ? container.indent : 0), 0);
    return expanded(line, around + (leaf.kind === 'fence' ? leaf.indent : 4));
  }

  // --- the unfinished line ---

  private preview(): void {
    if (this.rest === '') return;
    const line = this.spaced(this.rest);
    const inCode = this.leaf?.kind === 'fence' || this.leaf?.kind === 'math' || this.leaf?.kind === 'indented';
    if (inCode) {
      // Only the text grows; whether this line closes the block is decided when it is complete.
      if (this.leaf?.kind === 'fence' && !/^\s*[`~]+\s*$/.test(line) && !/^[\s>]*[`~]+$/.test(line)) {
        const stripped = this.stripContainers(line);
        if (stripped !== null) this.leaf.block.setTail(stripped.slice(Math.min(this.leaf.indent, leading(stripped))));
      }
      return;
    }
    if (undecided.test(line)) return;
    const lines = this.leaf?.kind === 'paragraph' ? this.leaf.lines.length : 0;
    this.tentative = { stack: this.stack.map((entry) => ({ ...entry })), leaf: this.leaf, lines, added: [] };
    this.line(line);
  }

  private rollback(): void {
    const before = this.tentative;
    if (before === null) {
      if (this.leaf?.kind === 'fence') this.leaf.block.setTail('');
      return;
    }
    this.tentative = null;
    for (const node of before.added) node.parentNode?.removeChild(node);
    this.stack = before.stack;
    this.leaf = before.leaf;
    if (this.leaf?.kind === 'paragraph' && this.leaf.lines.length !== before.lines) {
      this.leaf.lines.length = before.lines;
      this.leaf.dirty = true;
    }
  }

  /** The line without the marks of the open containers; null when it does not belong to all of them. */
  private stripContainers(line: string): string | null {
    let rest = line;
    for (const container of this.stack) {
      if (container.kind === 'quote') {
        const match = quote.exec(rest);
        if (match === null) return null;
        rest = rest.slice(match[0].length);
      } else if (rest.trim() !== '') {
        if (leading(rest) < container.indent) return null;
        rest = rest.slice(container.indent);
      }
    }
    return rest;
  }

  // --- complete lines ---

  private line(line: string): void {
    let rest = line;
    let matched = 0;
    for (const container of this.stack) {
      if (container.kind === 'quote') {
        const match = quote.exec(rest);
        if (match === null) break;
        rest = rest.slice(match[0].length);
      } else if (rest.trim() !== '') {
        if (leading(rest) < container.indent) break;
        rest = rest.slice(container.indent);
      }
      matched++;
    }
    const inside = matched === this.stack.length;
    if (inside && this.continued(rest)) return;
    if (rest.trim() === '') {
      if (!inside && this.stack[matched]?.kind === 'quote') this.closeTo(matched);
      return this.blank();
    }
    if (!inside && this.leaf?.kind === 'paragraph' && !this.begins(rest)) {
      this.leaf.lines.push(rest.trimStart());
      this.leaf.dirty = true;
      return;
    }
    if (!inside) this.closeTo(this.sameList(matched, rest) ? matched + 1 : matched, matched);
    this.open(rest);
  }

  /** Lines that belong to the open leaf whatever they look like. */
  private continued(rest: string): boolean {
    const leaf = this.leaf;
    if (leaf?.kind === 'fence') {
      const trimmed = rest.trim();
      if (trimmed.startsWith(leaf.mark) && trimmed.split('').every((letter) => letter === leaf.mark[0]) && leading(rest) < 4) {
        this.closeLeaf();
      } else leaf.block.addLine(rest.slice(Math.min(leaf.indent, leading(rest))));
      return true;
    }
    if (leaf?.kind === 'math') {
      const end = rest.indexOf(leaf.close);
      if (end < 0) {
        leaf.lines.push(rest);
        leaf.element.textContent = leaf.lines.join('\n');
        return true;
      }
      leaf.lines.push(rest.slice(0, end));
      this.closeLeaf();
      return true;
    }
    if (leaf?.kind === 'indented') {
      if (rest.trim() === '') {
        leaf.blanks++;
        return true;
      }
      if (leading(rest) >= 4) {
        for (; leaf.blanks > 0; leaf.blanks--) leaf.block.addLine('');
        leaf.block.addLine(rest.slice(4));
        return true;
      }
    }
    return false;
  }

  private blank(): void {
    if (this.leaf?.kind !== 'indented') this.closeLeaf();
    const last = this.stack.at(-1);
    if (last?.kind === 'item') last.blank = true;
  }

  /** Whether a line would begin a block of its own instead of going on with a paragraph. */
  private begins(rest: string): boolean {
    const number = ordered.exec(rest);
    return (
      quote.test(rest) ||
      heading.test(rest) ||
      fenceOpen.test(rest) ||
      rule.test(rest) ||
      mathOpen.test(rest) ||
      (bullet.test(rest) && rest.trim().length > 1) ||
      (number !== null && (number[2] === '1' || this.stack.some((entry) => entry.kind === 'item')))
    );
  }

  private markerOf(rest: string): { marker: string; width: number; start: number | null } | null {
    if (rule.test(rest)) return null;
    const dash = bullet.exec(rest);
    const number = dash === null ? ordered.exec(rest) : null;
    if (dash !== null) {
      const gap = (dash[3] ?? '').length;
      const content = (dash[1] ?? '').length + 1;
      return { marker: dash[2] ?? '-', width: content + (gap > 4 || gap === 0 ? 1 : gap), start: null };
    }
    if (number === null) return null;
    const gap = (number[4] ?? '').length;
    const content = (number[1] ?? '').length + (number[2] ?? '').length + 1;
    return { marker: number[3] ?? '.', width: content + (gap > 4 || gap === 0 ? 1 : gap), start: Number(number[2]) };
  }

  /** True when the first container that does not match is an item whose list goes on with this line. */
  private sameList(matched: number, rest: string): boolean {
    const container = this.stack[matched];
    return container?.kind === 'item' && this.markerOf(rest)?.marker === container.marker;
  }

  private open(line: string): void {
    let rest = line;
    for (let depth = 0; depth < maxDepth; depth++) {
      const marked = this.leaf?.kind === 'paragraph' && !this.begins(rest) ? null : this.markerOf(rest);
      if (quote.test(rest) && this.stack.length < maxDepth) {
        this.closeLeaf();
        const element = this.put(this.document.createElement('blockquote'));
        this.stack.push({ kind: 'quote', element });
        rest = rest.replace(quote, '');
      } else if (marked !== null && this.stack.length < maxDepth) {
        this.closeLeaf();
        this.item(marked);
        rest = rest.slice(marked.width);
        if (rest.trim() === '') return;
      } else break;
    }
    this.leafLine(rest);
  }

  private item({ marker, width, start }: { marker: string; width: number; start: number | null }): void {
    const pending = this.reusable;
    this.reusable = null;
    let list: Element;
    if (pending !== null && pending.marker === marker) list = pending.list;
    else {
      list = this.document.createElement(start === null ? 'ul' : 'ol');
      if (start !== null && start !== 1) list.setAttribute('start', String(start));
      this.put(list);
    }
    const element = this.document.createElement('li');
    list.append(element);
    this.tentative?.added.push(element);
    this.stack.push({ kind: 'item', element, list, marker, indent: width, blank: false });
  }

  private leafLine(rest: string): void {
    const leaf = this.leaf;
    if (leaf?.kind === 'table') {
      if (rest.includes('|') && !this.begins(rest)) return this.row(leaf, rest);
      this.closeLeaf();
    }
    if (leaf?.kind === 'paragraph') {
      const underline = /^ {0,3}(=+|-+)\s*$/.exec(rest);
      if (underline !== null && this.tentative === null) return this.underlined(leaf, underline[1]?.[0] === '=' ? 'h1' : 'h2');
      if (delimiterRow.test(rest) && rest.includes('-') && this.tentative === null && this.table(leaf, rest)) return;
      if (!this.begins(rest)) {
        leaf.lines.push(rest.trimStart());
        leaf.dirty = true;
        return;
      }
    }
    this.closeLeaf();
    this.begin(rest);
  }

  private begin(rest: string): void {
    const fence = fenceOpen.exec(rest);
    const formula = mathOpen.exec(rest);
    const title = heading.exec(rest);
    if (fence !== null) {
      const block = new CodeBlock(this.document, fence[3] ?? '');
      this.put(block.element);
      this.leaf = { kind: 'fence', block, mark: fence[2] ?? '```', indent: (fence[1] ?? '').length };
    } else if (formula !== null && this.formula(formula[1] ?? '$$', formula[2] ?? '')) return;
    else if (title !== null) {
      const element = this.put(this.document.createElement(`h${(title[1] ?? '#').length}`));
      renderInline(element, title[2] ?? '');
    } else if (rule.test(rest)) this.put(this.document.createElement('hr'));
    else if (leading(rest) >= 4) {
      const block = new CodeBlock(this.document, '');
      this.put(block.element);
      block.addLine(rest.slice(4));
      this.leaf = { kind: 'indented', block, blanks: 0 };
    } else {
      const element = this.put(this.document.createElement('p'));
      this.leaf = { kind: 'paragraph', element, lines: [rest.trimStart()], dirty: true, cost: 0, renderedAt: 0 };
    }
  }

  /** A displayed formula; false when the line holds more than one and is better taken as text. */
  private formula(open: string, after: string): boolean {
    const close = open === '$$' ? '$$' : '\\]';
    const end = after.indexOf(close);
    if (end >= 0) {
      if (after.slice(end + close.length).trim() !== '' || after.slice(0, end).trim() === '') return false;
      this.put(math(this.document, after.slice(0, end), true));
      return true;
    }
    if (this.tentative !== null) return true;
    const element = this.document.createElement('div');
    element.className = 'md-math md-display';
    this.put(element);
    this.leaf = { kind: 'math', element, lines: [after], close };
    return true;
  }

  private underlined(leaf: Leaf & { kind: 'paragraph' }, tag: 'h1' | 'h2'): void {
    const element = this.document.createElement(tag);
    renderInline(element, leaf.lines.join('\n'));
    leaf.element.replaceWith(element);
    this.leaf = null;
  }

  private table(leaf: Leaf & { kind: 'paragraph' }, delimiters: string): boolean {
    const head = cells(leaf.lines.at(-1) ?? '');
    const marks = cells(delimiters);
    if (head.length !== marks.length || !(leaf.lines.at(-1) ?? '').includes('|')) return false;
    leaf.lines.pop();
    const aligns = marks.map((mark) => (mark.endsWith(':') ? (mark.startsWith(':') ? 'center' : 'right') : ''));
    const box = this.document.createElement('div');
    box.className = 'md-table';
    const table = this.document.createElement('table');
    const header = this.document.createElement('thead');
    const body = this.document.createElement('tbody');
    header.append(this.tableRow('th', head, aligns));
    table.append(header, body);
    box.append(table);
    if (leaf.lines.length === 0) leaf.element.replaceWith(box);
    else {
      renderInline(leaf.element, leaf.lines.join('\n'));
      leaf.element.after(box);
    }
    this.leaf = { kind: 'table', body, aligns };
    return true;
  }

  private row(leaf: Leaf & { kind: 'table' }, line: string): void {
    const row = this.tableRow('td', cells(line), leaf.aligns);
    leaf.body.append(row);
    this.tentative?.added.push(row);
  }

  private tableRow(tag: 'th' | 'td', texts: string[], aligns: string[]): Element {
    const row = this.document.createElement('tr');
    aligns.forEach((align, index) => {
      const cell = this.document.createElement(tag);
      if (align !== '') cell.className = `md-${align}`;
      renderInline(cell, texts[index] ?? '');
      row.append(cell);
    });
    return row;
  }

  // --- opening and closing ---

  private put<T extends Element>(element: T): T {
    (this.stack.at(-1)?.element ?? this.root).append(element);
    this.tentative?.added.push(element);
    return element;
  }

  /** The list that the next item may go on with. */
  private reusable: { list: Element; marker: string } | null = null;

  /** Closes containers down to `depth`; between `keep` and it stands an item whose list goes on. */
  private closeTo(depth: number, keep = depth): void {
    this.closeLeaf();
    this.reusable = null;
    const going = this.stack[keep];
    if (depth > keep && going?.kind === 'item') this.reusable = { list: going.list, marker: going.marker };
    this.stack.length = Math.min(this.stack.length, keep);
  }

  private closeLeaf(): void {
    const leaf = this.leaf;
    if (leaf === null) return;
    this.leaf = null;
    if (leaf.kind === 'paragraph') {
      if (leaf.dirty) this.renderParagraph(leaf);
    } else if (this.tentative !== null) return;
    else if (leaf.kind === 'fence' || leaf.kind === 'indented') leaf.block.close();
    else if (leaf.kind === 'math') {
      leaf.element.replaceWith(math(this.document, leaf.lines.join('\n'), true));
    }
  }

  private renderOpen(force: boolean): void {
    const leaf = this.leaf;
    if (leaf?.kind !== 'paragraph' || !leaf.dirty) return;
    // A paragraph without end is rendered ever more rarely: all its renderings together cost a small part of the time.
    if (!force && leaf.cost > 4 && performance.now() - leaf.renderedAt < leaf.cost * 12) return;
    this.renderParagraph(leaf);
  }

  private renderParagraph(leaf: Leaf & { kind: 'paragraph' }): void {
    const from = performance.now();
    const text = leaf.lines.join('\n').trimEnd();
    const box = /^\[([ xX])\]\s+/.exec(text);
    const inItem = box !== null && leaf.element.parentElement?.tagName === 'LI' && leaf.element.previousSibling === null;
    renderInline(leaf.element, inItem ? text.slice(box[0].length) : text);
    if (inItem) {
      const check = this.document.createElement('input');
      check.type = 'checkbox';
      check.disabled = true;
      check.checked = box[1] !== ' ';
      leaf.element.prepend(check, ' ');
      leaf.element.parentElement?.classList.add('md-task');
    }
    leaf.dirty = false;
    leaf.cost = performance.now() - from;
    leaf.renderedAt = performance.now();
  }
}

/** The line with its first `columns` columns of tabs and blanks as blanks. */
function expanded(line: string, columns = Infinity): string {
  if (!line.includes('\t')) return line;
  let blanks = '';
  let at = 0;
  for (; blanks.length < columns && (line[at] === ' ' || line[at] === '\t'); at++) blanks += line[at] === '\t' ? '    ' : ' ';
  return blanks + line.slice(at);
}

function leading(line: string): number {
  let count = 0;
  while (line[count] === ' ') count++;
  return count;
}

/** Cells of a table row; an escaped pipe and one in a code span belong to their cell. */
export function cells(line: string): string[] {
  const out: string[] = [];
  let cell = '';
  let code = false;
  const text = line.trim().replace(/^\|/, '');
  for (let index = 0; index < text.length; index++) {
    const letter = text[index];
    if (letter === '\\' && text[index + 1] === '|') {
      cell += '|';
      index++;
    } else if (letter === '|' && !code) {
      out.push(cell.trim());
      cell = '';
    } else {
      if (letter === '`') code = !code;
      cell += letter;
    }
  }
  if (cell.trim() !== '') out.push(cell.trim());
  return out;
}
