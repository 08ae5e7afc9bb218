/** The yard kept up to date: one answer of the server, then the live messages. */
import * as api from '../api/client';
import type { ModelStatus, StateChange, WaitingChange } from '../api/types';
import { countByModel, isAnswering, type Tracked } from '../lib/inflight';
import { hour, lanesFrom, trimmed, withServing, withState, withWaiting, type Lane } from '../lib/yard';

class YardView {
  lanes = $state.raw<Lane[]>([]);
  /** Null until the first answer; false when this gateway keeps no yard and the picture begins with this page. */
  kept = $state<boolean | null>(null);
  error = $state('');
  private readonly openedAt = Date.now();

  async load(): Promise<void> {
    try {
      const answer = await api.yard();
      this.kept = answer !== null;
      this.error = '';
      if (answer !== null) this.lanes = lanesFrom(answer, Date.now());
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  stateChanged(event: StateChange): void {
    const now = Date.now();
    this.lanes = trimmed(withState(this.lanes, event, now), now - hour);
  }

  waitingChanged(event: WaitingChange): void {
    this.lanes = withWaiting(this.lanes, event, Date.now());
  }

  /** Requests that hold a lease, by model. */
  serving(counts: Map<string, number>): void {
    this.lanes = withServing(this.lanes, counts, Date.now());
  }

  /** Where leases are not told, requests that have got an answer stand for them. */
  answering(tracked: Iterable<Tracked>): void {
    this.serving(countByModel([...tracked].filter((entry) => isAnswering(entry.request))));
  }

  /** For gateways without a yard: lanes from the states that the model list shows; peers have none. */
  statesSeen(states: ModelStatus[]): void {
    const now = Date.now();
    for (const { id, state } of states) {
      if (state === '') continue;
      const last = this.lanes.find((lane) => lane.model === id)?.spans.at(-1);
      if (last?.state === state) continue;
      this.lanes = withState(this.lanes, { model: id, new: state, reason: '' }, last === undefined ? this.openedAt : now);
    }
  }
}

export const yardView = new YardView();
