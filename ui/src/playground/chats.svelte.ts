/** All conversations, the one on screen, and the answers under way: they go on whatever page is shown. */
import * as db from '../lib/db';
import { chatBody, noSampling, type ChatMessage, type ChatRequest } from '../lib/chat';
import { whileBusy } from '../state/busy.svelte';
import { Pref } from '../state/prefs.svelte';
import { complain } from '../state/toasts.svelte';
import { fill, newReply } from './stream';
import { history, newestLeaf, path, titleFrom, type Conversation, type Reply, type Settings, type Turn } from './tree';

export const defaults: Settings = {
  endpoint: '/v1/chat/completions',
  system: '',
  sampling: { ...noSampling, temperature: 0.7, max_tokens: 4096 },
  tools: '',
  schema: '',
  extra: '',
};

const lastSettings = new Pref<Settings>('chat.settings', defaults, (value) => typeof value?.endpoint === 'string');
const lastModels = new Pref<string[]>('chat.models', [], Array.isArray);
const lastOpen = new Pref('chat.open', '');

class Chats {
  all = $state<Conversation[]>([]);
  current = $state<Conversation>(this.blank());
  loaded = $state(false);
  /** Reply by `turn model` while it streams. */
  private readonly running = new Map<Reply, AbortController>();
  streaming = $state(0);

  constructor() {
    db.all<Conversation>('conversations').then(
      (stored) => {
        this.all = stored.sort((a, b) => b.updatedAt - a.updatedAt).map(settled);
        const last = this.all.find((entry) => entry.id === lastOpen.value);
        if (last !== undefined && this.current.turns.length === 0) this.current = last;
        this.loaded = true;
      },
      (error: unknown) => {
        this.loaded = true;
        complain('Stored conversations cannot be read', error);
      },
    );
  }

  private blank(): Conversation {
    return {
      id: db.newId(),
      title: '',
      createdAt: Date.now(),
      updatedAt: Date.now(),
      models: lastModels.value.slice(0, 4),
      settings: JSON.parse(JSON.stringify({ ...defaults, ...lastSettings.value })) as Settings,
      turns: [],
      leaf: null,
    };
  }

  get turns(): Turn[] {
    return path(this.current.turns, this.current.leaf);
  }

  startNew(): void {
    this.current = this.blank();
    lastOpen.value = '';
  }

  open(id: string): void {
    const found = this.all.find((entry) => entry.id === id);
    if (found === undefined) return;
    this.current = found;
    lastOpen.value = id;
  }

  adopt(part: Partial<Conversation>, messages: ChatMessage[]): void {
    this.startNew();
    const { current } = this;
    Object.assign(current, part);
    // Earlier turns of the captured conversation become history; its last question waits to be sent.
    const turns: Turn[] = [];
    for (const message of messages) {
      const turn = turns.at(-1);
      if (message.role === 'assistant' && turn !== undefined) {
        const reply = newReply(current.models[0] ?? '');
        Object.assign(reply, { text: message.text, toolCalls: message.toolCalls ?? [], state: 'done' });
        turn.replies[reply.model] = [reply];
      } else if (turn !== undefined && Object.keys(turn.replies).length === 0) turn.messages.push(message);
      else {
        const id = `${db.newId()}-${turns.length}`;
        turns.push({ id, parent: turn?.id ?? null, messages: [message], replies: {}, chosen: {} });
      }
    }
    current.turns = turns;
    current.leaf = turns.at(-1)?.id ?? null;
    current.title = titleFrom(messages.find((message) => message.role === 'user')?.text ?? '');
  }

  setModels(models: string[]): void {
    this.current.models = models;
    lastModels.value = [...models];
    this.changed();
  }

  rememberSettings(): void {
    lastSettings.value = $state.snapshot(this.current.settings);
    this.changed();
  }

  request(model: string, messages: ChatMessage[]): ChatRequest {
    return { model, messages, ...$state.snapshot(this.current.settings) };
  }

  /** Adds a turn and asks all chosen models; `parent` is where the branch goes on. */
  send(messages: ChatMessage[], parent: string | null = this.current.leaf): void {
    const { current } = this;
    const turn: Turn = { id: db.newId(), parent, messages, replies: {}, chosen: {} };
    if (current.title === '') current.title = titleFrom(messages[0]?.text ?? '');
    current.turns.push(turn);
    current.leaf = turn.id;
    if (!this.all.some((entry) => entry.id === current.id)) {
      this.all.unshift(current);
      // From here on the list's own proxy is the one that is worked with.
      this.current = this.all[0] as Conversation;
    }
    lastOpen.value = current.id;
    for (const model of this.current.models) this.answer(turn.id, model);
  }

  /** Asks one model (again) at a turn. */
  answer(turnId: string, model: string): void {
    const conversation = this.current;
    const turn = conversation.turns.find((entry) => entry.id === turnId);
    if (turn === undefined) return;
    let body: Record<string, unknown>;
    try {
      body = chatBody(this.request(model, history(path(conversation.turns, turnId), model)));
    } catch (error) {
      complain('Not sent', error);
      return;
    }
    turn.replies[model] ??= [];
    // Read back: only the list inside of the state is a live one.
    const replies = turn.replies[model];
    replies.push(newReply(model));
    turn.chosen[model] = replies.length - 1;
    const reply = replies.at(-1) as Reply;
    const abort = new AbortController();
    this.running.set(reply, abort);
    this.streaming++;
    const work = fill(reply, conversation.settings.endpoint, body, abort.signal).finally(() => {
      this.running.delete(reply);
      this.streaming--;
      conversation.updatedAt = Date.now();
      void this.save(conversation);
    });
    void whileBusy('playground', work);
    void this.save(conversation);
  }

  stop(): void {
    for (const abort of this.running.values()) abort.abort();
  }

  /** Shows another version of a question. */
  goTo(turnId: string): void {
    this.current.leaf = newestLeaf(this.current.turns, turnId);
    this.changed();
  }

  choose(turn: Turn, model: string, index: number): void {
    turn.chosen[model] = index;
    this.changed();
  }

  rename(conversation: Conversation, title: string): void {
    conversation.title = title.trim() || 'Untitled';
    void this.save(conversation);
  }

  async delete(conversation: Conversation): Promise<void> {
    this.all = this.all.filter((entry) => entry.id !== conversation.id);
    if (this.current.id === conversation.id) this.startNew();
    try {
      await db.remove('conversations', conversation.id);
    } catch (error) {
      complain('The conversation was not deleted', error);
    }
  }

  import(conversations: Conversation[]): void {
    for (const entry of conversations) {
      if (typeof entry?.id !== 'string' || !Array.isArray(entry.turns)) continue;
      const added = settled({ ...entry, id: db.newId() });
      this.all.unshift(added);
      void this.save(added);
    }
  }

  private timer: ReturnType<typeof setTimeout> | undefined;
  private changed(): void {
    if (this.current.turns.length === 0) return;
    const conversation = this.current;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.save(conversation), 600);
  }

  private async save(conversation: Conversation): Promise<void> {
    try {
      await db.put('conversations', $state.snapshot(conversation));
    } catch (error) {
      complain('The conversation could not be stored; it lasts until this page is closed', error);
    }
  }
}

/** What was streaming when the page was closed is over. */
function settled(conversation: Conversation): Conversation {
  for (const turn of conversation.turns) {
    for (const replies of Object.values(turn.replies)) {
      for (const reply of replies) if (reply.state === 'streaming') reply.state = 'stopped';
    }
  }
  return conversation;
}

export const chats = new Chats();
