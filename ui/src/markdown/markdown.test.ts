import { describe, expect, test, vi } from 'vitest';
import { safeHref } from './inline';
import { cells, MarkdownStream } from './stream';

function rendered(text: string, size = Infinity): HTMLElement {
  const root = document.createElement('div');
  const stream = new MarkdownStream(root);
  for (let at = 0; at < text.length; at += Math.min(size, text.length)) stream.append(text.slice(at, at + Math.min(size, text.length)));
  stream.finish();
  return root;
}

const html = (text: string): string => rendered(text).innerHTML;

describe('hostile text', () => {
  test('what looks like HTML is text', () => {
    const root = rendered('<img src=x onerror="alert(1)"> <script>x</script>\n\n<iframe src=y></iframe> <svg onload=z>');
    expect(root.querySelector('img, script, iframe, svg')).toBeNull();
    expect(root.textContent).toContain('<img src=x onerror="alert(1)">');
  });

  test('links lead only to http, https and mail', () => {
    const root = rendered('[a](javascript:alert(1)) [b](data:text/html,x) [c](JaVa\tscript:x) [d](https://ok.example) [e](vbscript:x)');
    expect([...root.querySelectorAll('a')].map((link) => link.getAttribute('href'))).toEqual(['https://ok.example']);
    expect(safeHref(' \u0001java\nscript:alert(1)')).toBeNull();
    expect(safeHref('//evil.example')).toBeNull();
  });

  test('pictures from elsewhere are links, not requests', () => {
    const root = rendered('![x](https://evil.example/track.png)');
    expect(root.querySelector('img')).toBeNull();
    expect(root.querySelector('a')?.textContent).toContain('x');
  });

  test('a picture in the text itself is shown, an SVG one is not', () => {
    expect(rendered('![x](data:image/png;base64,AAAA)').querySelector('img')).not.toBeNull();
    expect(rendered('![x](data:image/svg+xml;base64,AAAA)').querySelector('img')).toBeNull();
  });
});

describe('blocks', () => {
  test('headings, both ways', () => {
    expect(html('# One\n\nTwo\n===\n\n### Three ###')).toBe('<h1>One</h1><h1>Two</h1><h3>Three</h3>');
  });

  test('nested lists', () => {
    expect(html('- a\n  - b\n    - c\n- d')).toBe(
      '<ul><li><p>a</p><ul><li><p>b</p><ul><li><p>c</p></li></ul></li></ul></li><li><p>d</p></li></ul>',
    );
  });

  test('numbered lists keep their start and take nested bullets', () => {
    expect(html('3. a\n   - x\n4. b')).toBe('<ol start="3"><li><p>a</p><ul><li><p>x</p></li></ul></li><li><p>b</p></li></ol>');
  });

  test('items after a blank line belong to the same list', () => {
    expect(rendered('1. a\n\n2. b\n\n3. c').querySelectorAll('ol').length).toBe(1);
  });

  test('task lists', () => {
    const boxes = [...rendered('- [x] done\n- [ ] open').querySelectorAll('input')];
    expect(boxes.map((box) => box.checked)).toEqual([true, false]);
  });

  test('quotes with lazy lines', () => {
    expect(html('> a\nb\n\nc')).toBe('<blockquote><p>a\nb</p></blockquote><p>c</p>');
  });

  test('tables with alignment, code and escaped pipes', () => {
    const root = rendered('| a | b |\n|:--|--:|\n| `x|y` | 1 \\| 2 |\n\nafter');
    expect([...root.querySelectorAll('td')].map((cell) => cell.textContent)).toEqual(['x|y', '1 | 2']);
    expect(root.querySelectorAll('th')[1]?.className).toBe('md-right');
    expect(cells('| a | b |')).toEqual(['a', 'b']);
  });

  test('a fence inside of a list item', () => {
    const root = rendered('1. run\n   ```sh\n   ls\n     -l\n   ```\n2. done');
    expect(root.querySelector('li code')?.textContent).toBe('ls\n  -l\n');
    expect(root.querySelectorAll('li').length).toBe(2);
  });

  test('a rule is no list', () => {
    expect(html('a\n\n---\n\n* * *')).toBe('<p>a</p><hr><hr>');
  });
});

describe('code stays what it is', () => {
  test('dollars and backslashes in a fence are unchanged to the byte', () => {
    const code = "find . \\( -name 'a' \\) | sed 's/\\[a\\]/$1/' # $5 and $10";
    expect(rendered(`\`\`\`bash\n${code}\n\`\`\``).querySelector('code')?.textContent).toBe(`${code}\n`);
  });

  test('tabs in code stay tabs, also inside of a list item', () => {
    const code = 'all:\n\tcc a.c\n\t\tcc b.c\n';
    expect(rendered(`\`\`\`make\n${code}\`\`\``, 3).querySelector('code')?.textContent).toBe(code);
    const inside = code.replace(/^/gm, '  ').trimEnd();
    expect(rendered(`- item\n\n  \`\`\`make\n${inside}\n  \`\`\``).querySelector('li code')?.textContent).toBe(code);
  });

  test('code spans keep what looks like emphasis or maths', () => {
    expect(rendered('`a*b*c $x$ \\(y\\)`').querySelector('code')?.textContent).toBe('a*b*c $x$ \\(y\\)');
  });

  test('a longer fence holds a shorter one', () => {
    expect(rendered('````md\n```js\nx\n```\n````').querySelector('code')?.textContent).toBe('```js\nx\n```\n');
  });
});

describe('maths', () => {
  test('prices stay text', () => {
    const root = rendered('It costs $5 here and $10 there, or $3-$4.');
    expect(root.querySelector('.md-math')).toBeNull();
    expect(root.textContent).toBe('It costs $5 here and $10 there, or $3-$4.');
  });

  test('all four delimiters make formulas', () => {
    const root = rendered('$a+b$ and \\(c\\)\n\n$$\nx\n$$\n\n\\[ y \\]');
    expect(root.querySelectorAll('.md-math').length).toBe(4);
    expect(root.querySelectorAll('.md-display').length).toBe(2);
  });
});

describe('inline', () => {
  test('emphasis nests', () => {
    expect(html('**a *b* c** ***d*** ~~e~~ snake_case_word')).toBe(
      '<p><strong>a <em>b</em> c</strong> <em><strong>d</strong></em> <del>e</del> snake_case_word</p>',
    );
  });

  test('addresses in the text become links without the closing mark', () => {
    const link = rendered('see https://example.com/a_(b). Then').querySelector('a');
    expect(link?.getAttribute('href')).toBe('https://example.com/a_(b)');
  });

  test('escapes and entities', () => {
    expect(rendered('\\*no\\* &amp; &lt;b&gt; &#65;').textContent).toBe('*no* & <b> A');
  });
});

describe('streaming', () => {
  const sample =
    '# Title\n\nA paragraph with **bold** and `code`\nover lines.\n\n- one\n- two\n  1. deep\n\n> quote\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\nconst a = 1; // x\n```\n\nTwo\n---\n\n$$\nx^2\n$$\n\nend';

  test.each([1, 2, 3, 7, 50])('pieces of %i letters give the same document as the whole', (size) => {
    // Colours come in slices of time; with the clock standing still all of them come at once.
    const clock = vi.spyOn(performance, 'now').mockReturnValue(0);
    expect(rendered(sample, size).innerHTML).toBe(rendered(sample).innerHTML);
    clock.mockRestore();
  });

  test('finished blocks are never touched again', () => {
    const root = document.createElement('div');
    const stream = new MarkdownStream(root);
    stream.append('First **one**.\n\n```\ncode\n```\n\nand');
    const [first, second] = [...root.children];
    stream.append(' more and more\n\nnext');
    expect(root.children[0]).toBe(first);
    expect(root.children[1]).toBe(second);
    expect(first?.querySelector('strong')).not.toBeNull();
  });

  test('an open code block grows without being rebuilt', () => {
    const root = document.createElement('div');
    const stream = new MarkdownStream(root);
    stream.append('```\nline 1\nline');
    const code = root.querySelector('code');
    const text = code?.firstChild?.firstChild;
    expect(code?.textContent).toBe('line 1\nline');
    stream.append(' 2\nline 3\n');
    expect(code?.firstChild?.firstChild).toBe(text);
    expect(code?.textContent).toBe('line 1\nline 2\nline 3\n');
  });

  test('time grows with the text, not with its square', () => {
    const time = (lines: number): number => {
      const from = performance.now();
      rendered(`\`\`\`\n${'some line of code\n'.repeat(lines)}`, 40);
      return performance.now() - from;
    };
    time(200);
    const small = time(1000);
    expect(time(8000)).toBeLessThan(Math.max(small, 20) * 40);
  });

  test.each([
    ['brackets', '['.repeat(20_000)],
    ['stars', '*a '.repeat(10_000)],
    ['backticks', Array.from({ length: 400 }, (_, index) => '`'.repeat((index % 60) + 1)).join(' ')],
    ['dollars', '$a '.repeat(10_000)],
    ['quotes', '>'.repeat(5000)],
    ['half links', '[a]('.repeat(5000)],
  ])('%s without end do not stop the page', (_, text) => {
    const from = performance.now();
    rendered(text);
    // A busy machine is slow too; what is quadratic takes minutes.
    expect(performance.now() - from).toBeLessThan(15_000);
  });
});
