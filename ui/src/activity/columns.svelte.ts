/** Which columns a table shows and in which order, remembered for each table. */
import { columns, type Column } from '../lib/export';
import { Pref } from '../state/prefs.svelte';

interface Stored {
  order: string[];
  hidden: string[];
}

/** A stored order repaired: unknown columns are dropped, new ones appended where they belong by default. */
export function repaired(order: string[], all: Column[]): Column[] {
  const known = order.map((key) => all.find((column) => column.key === key)).filter((column) => column !== undefined);
  return [...known, ...all.filter((column) => !known.includes(column))];
}

export class ColumnChoice {
  private readonly pref: Pref<Stored>;

  constructor(name: string) {
    const fallback: Stored = {
      order: columns.map((column) => column.key),
      hidden: columns.filter((column) => !column.shown).map((column) => column.key),
    };
    this.pref = new Pref<Stored>(
      `columns.${name}`,
      fallback,
      (value) => Array.isArray(value?.order) && Array.isArray(value?.hidden),
    );
  }

  get all(): Column[] {
    return repaired(this.pref.value.order, columns);
  }

  get shown(): Column[] {
    return this.all.filter((column) => !this.pref.value.hidden.includes(column.key));
  }

  isShown(key: string): boolean {
    return !this.pref.value.hidden.includes(key);
  }

  toggle(key: string): void {
    const { hidden, order } = this.pref.value;
    this.pref.value = { order, hidden: hidden.includes(key) ? hidden.filter((entry) => entry !== key) : [...hidden, key] };
  }

  /** Moves a column by so many places. */
  move(key: string, by: number): void {
    const order = this.all.map((column) => column.key as string);
    const from = order.indexOf(key);
    const to = Math.max(0, Math.min(order.length - 1, from + by));
    order.splice(to, 0, ...order.splice(from, 1));
    this.pref.value = { ...this.pref.value, order };
  }

  reset(): void {
    this.pref.reset();
  }
}
