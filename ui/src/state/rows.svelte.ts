/**
 * The rows behind an explorer: fetched newest first for a set of models and a time range, then kept up to date by
 * asking only for rows with a higher id.  Everything else (facets, sums, order, text) is worked out here in the page,
 * so table and statistics always speak of the same rows.
 */
import * as api from '../api/client';
import { reason } from '../api/http';
import type { ActivityRow } from '../api/types';

const batch = 999;
const maxRows = 20_000;

export type Query = Pick<
  api.ActivityParams,
  'models' | 'start' | 'end' | 'minId' | 'maxId' | 'statuses' | 'paths' | 'keys' | 'sessions' | 'text'
>;

export class Rows {
  /** Newest first. */
  rows = $state.raw<ActivityRow[]>([]);
  /** Rows that came while the view is held. */
  held = $state.raw<ActivityRow[]>([]);
  /** How many rows the server has for the query. */
  total = $state(0);
  loading = $state(true);
  failure = $state('');
  private query: Query | null = null;
  private revision = 0;
  private pages = 0;
  private newest = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private hold = false;

  get complete(): boolean {
    return this.rows.length + this.held.length >= this.total;
  }

  /** Fetches the newest rows of a query; answers of older queries are thrown away. */
  async load(query: Query): Promise<void> {
    this.query = query;
    const revision = ++this.revision;
    this.loading = true;
    try {
      const page = await api.activity({ ...query, limit: batch });
      if (revision !== this.revision) return;
      this.rows = page.data;
      this.held = [];
      this.pages = 1;
      this.total = page.total;
      this.newest = page.data[0]?.id ?? 0;
      this.failure = '';
    } catch (error) {
      if (revision === this.revision) this.failure = reason(error);
    } finally {
      if (revision === this.revision) this.loading = false;
    }
  }

  async loadMore(): Promise<void> {
    if (this.query === null || this.loading || this.rows.length >= maxRows) return;
    const revision = this.revision;
    this.loading = true;
    try {
      // By id and not by page number: new rows would shift the pages.
      const oldest = this.rows.at(-1)?.id ?? 1;
      const page = await api.activity({ ...this.query, limit: batch, maxId: Math.max(1, oldest - 1) });
      if (revision !== this.revision) return;
      this.pages++;
      const known = new Set(this.rows.map((row) => row.id));
      this.rows = [...this.rows, ...page.data.filter((row) => !known.has(row.id))];
    } catch (error) {
      this.failure = reason(error);
    } finally {
      if (revision === this.revision) this.loading = false;
    }
  }

  /** Something was recorded: ask for it, at most once a second. */
  follow(): void {
    if (this.timer !== undefined || this.query === null) return;
    this.timer = setTimeout(async () => {
      await this.fetchNew();
      this.timer = setTimeout(() => {
        this.timer = undefined;
        if (this.again) this.follow();
        this.again = false;
      }, 950);
    }, 30);
  }

  private again = false;
  /** Like `follow`, and once more if it is too early now. */
  followSoon(): void {
    if (this.timer !== undefined) this.again = true;
    else this.follow();
  }

  private async fetchNew(): Promise<void> {
    const revision = this.revision;
    if (this.query === null || this.loading) return;
    const minId = Math.max(this.newest + 1, this.query.minId ?? 0);
    if (this.query.maxId !== undefined && this.query.maxId < minId) return;
    try {
      const page = await api.activity({ ...this.query, limit: batch, minId });
      if (revision !== this.revision || page.data.length === 0) return;
      if (page.total > page.data.length) return await this.load(this.query);
      this.newest = page.data[0]?.id ?? this.newest;
      this.total += page.data.length;
      if (this.hold) this.held = [...page.data, ...this.held];
      else this.rows = [...page.data, ...this.rows].slice(0, maxRows);
    } catch {
      // The banner says that the server is away; the rows on screen stay.
    }
  }

  /** While held, new rows wait and the ones on screen do not move. */
  setHold(hold: boolean): void {
    this.hold = hold;
    if (!hold && this.held.length > 0) {
      this.rows = [...this.held, ...this.rows];
      this.held = [];
    }
  }

  stop(): void {
    clearTimeout(this.timer);
    this.revision++;
    this.query = null;
  }
}
