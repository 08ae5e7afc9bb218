/** Finding an entry by a few of its letters in order. */

/** Higher is better; null when the letters are not there.  Word beginnings and runs count more. */
export function score(query: string, text: string): number | null {
  const wanted = query.toLowerCase().replace(/\s+/g, '');
  const lower = text.toLowerCase();
  let total = 0;
  let at = -1;
  for (const letter of wanted) {
    const next = lower.indexOf(letter, at + 1);
    if (next < 0) return null;
    if (next === at + 1) total += 3;
    else if (next === 0 || /[\s\-_/:.]/.test(lower[next - 1] ?? '')) total += 2;
    total -= Math.min(2, (next - at - 1) * 0.1);
    at = next;
  }
  return total - lower.length * 0.01;
}

export function ranked<T>(query: string, entries: T[], text: (entry: T) => string): T[] {
  if (query.trim() === '') return entries;
  return entries
    .map((entry) => ({ entry, value: score(query, text(entry)) }))
    .filter((item): item is { entry: T; value: number } => item.value !== null)
    .sort((a, b) => b.value - a.value)
    .map((item) => item.entry);
}
