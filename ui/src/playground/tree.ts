/** A conversation as a tree of turns: edited questions are siblings, repeated answers alternatives. */
import type { ChatMessage, Endpoint, Sampling, ToolCall, Usage } from '../lib/chat';

export interface Reply {
  model: string;
  text: string;
  reasoning: string;
  /** What the gateway said while the model loaded. */
  loading: string;
  toolCalls: ToolCall[];
  refusal: string;
  finish: string;
  error: string;
  state: 'streaming' | 'done' | 'stopped' | 'failed';
  usage: Usage;
  startedAt: number;
  /** Milliseconds after the start; null until it happened. */
  firstMs: number | null;
  thoughtMs: number | null;
  totalMs: number | null;
}

export interface Turn {
  id: string;
  parent: string | null;
  messages: ChatMessage[];
  /** By model: all answers, the chosen one last used. */
  replies: Record<string, Reply[]>;
  chosen: Record<string, number>;
}

export interface Settings {
  endpoint: Endpoint;
  system: string;
  sampling: Sampling;
  tools: string;
  schema: string;
  extra: string;
}

export interface Conversation {
  id: string;
  title: string;
  createdAt: number;
  updatedAt: number;
  models: string[];
  settings: Settings;
  turns: Turn[];
  /** The last turn of the branch on screen. */
  leaf: string | null;
}

/** The turns from the first to `leaf`. */
export function path(turns: Turn[], leaf: string | null): Turn[] {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const out: Turn[] = [];
  for (let turn = leaf === null ? undefined : byId.get(leaf); turn !== undefined; ) {
    out.unshift(turn);
    turn = turn.parent === null ? undefined : byId.get(turn.parent);
  }
  return out;
}

export function siblings(turns: Turn[], turn: Turn): Turn[] {
  return turns.filter((entry) => entry.parent === turn.parent);
}

/** The end of the newest branch below a turn. */
export function newestLeaf(turns: Turn[], from: string): string {
  const children = turns.filter((turn) => turn.parent === from);
  const last = children.at(-1);
  return last === undefined ? from : newestLeaf(turns, last.id);
}

export function replyOf(turn: Turn, model: string): Reply | undefined {
  const replies = turn.replies[model];
  return replies?.[turn.chosen[model] ?? replies.length - 1];
}

/**
 * What a model is sent: the questions of the branch and its own answers.  A model that joined later is given the answer
 * of another; failures are part of no history.
 */
export function history(turns: Turn[], model: string): ChatMessage[] {
  const out: ChatMessage[] = [];
  turns.forEach((turn, index) => {
    out.push(...turn.messages);
    if (index === turns.length - 1) return;
    const own = replyOf(turn, model);
    const reply = own ?? Object.keys(turn.replies).map((other) => replyOf(turn, other)).find((entry) => entry !== undefined);
    if (reply === undefined || (reply.text === '' && reply.toolCalls.length === 0)) return;
    out.push({
      role: 'assistant',
      text: reply.text,
      images: [],
      ...(reply.toolCalls.length > 0 ? { toolCalls: reply.toolCalls } : {}),
    });
  });
  return out;
}

export function titleFrom(text: string): string {
  const line = text.trim().split('\n')[0] ?? '';
  return line === '' ? 'Untitled' : line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

/** Generated tokens per second: the engine's own number, or what this page saw (`measured`). */
export function replySpeed(reply: Reply): { value: number; measured: boolean } | null {
  if (reply.usage.decode !== null) return { value: reply.usage.decode, measured: false };
  if (reply.usage.output === null || reply.totalMs === null || reply.firstMs === null) return null;
  const seconds = (reply.totalMs - reply.firstMs) / 1000;
  return seconds > 0.05 ? { value: reply.usage.output / seconds, measured: true } : null;
}

export function exportMarkdown(conversation: Conversation): string {
  const lines = [`# ${conversation.title}`, ''];
  if (conversation.settings.system !== '') lines.push('**System**', '', conversation.settings.system, '');
  for (const turn of path(conversation.turns, conversation.leaf)) {
    for (const message of turn.messages) lines.push(`**${message.role}**`, '', message.text, '');
    for (const model of Object.keys(turn.replies)) {
      const reply = replyOf(turn, model);
      if (reply !== undefined) lines.push(`**${model}**`, '', reply.error === '' ? reply.text : `(failed: ${reply.error})`, '');
    }
  }
  return lines.join('\n');
}
