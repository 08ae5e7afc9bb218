/** A real swapyard with demonstration models, on free ports, in a folder of its own, ended by its pid. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
export const python = process.env['SWAPYARD_PYTHON'] ?? join(root, '.venv', 'bin', 'python');
const startSeconds = 30;
const stopSeconds = 20;

/** The command of a demonstration model. */
export function demo(name: string, { load = 0, pace = 1000 }: { load?: number; pace?: number } = {}): string {
  return `${JSON.stringify(python)} -m swapyard.demo.server --port \${PORT} --name ${name} --load-seconds ${load} --tokens-per-second ${pace}`;
}

/** Listens on a port of 127.0.0.1 for a moment, 0 for any; null when somebody has it. */
function tried(port: number): Promise<number | null> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(null));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(address !== null && typeof address === 'object' ? address.port : null));
    });
  });
}

// Ports for models: below the range from which the system gives out ports by itself, a stretch for each gateway, and
// by chance, because several runs may share a machine.
const firstModelPort = 11_000;
const lastModelPort = 31_000;
const portsEach = 20;

async function modelPorts(): Promise<number> {
  for (;;) {
    const start = firstModelPort + portsEach * Math.floor((Math.random() * (lastModelPort - firstModelPort)) / portsEach);
    const stretch = Array.from({ length: portsEach }, (_, index) => start + index);
    if (!(await Promise.all(stretch.map(tried))).includes(null)) return start;
  }
}

export type Settings = Record<string, unknown>;

export class Gateway {
  private child: ChildProcess | null = null;
  private output = '';
  private readonly folder = mkdtempSync(join(tmpdir(), 'swapyard-ui-'));

  private constructor(
    readonly port: number,
    private readonly startPort: number,
  ) {}

  private get tools(): string {
    return join(this.folder, 'bin');
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Everything that the program wrote to its standard output and error. */
  get log(): string {
    return this.output;
  }

  /** `tools` are scripts by name, found before those of the machine: a card's own tool, say. */
  static async start(settings: Settings, tools: Record<string, string> = {}): Promise<Gateway> {
    const port = await tried(0);
    if (port === null) throw new Error('no port is free');
    const gateway = new Gateway(port, await modelPorts());
    gateway.configure(settings);
    mkdirSync(gateway.tools);
    for (const [name, script] of Object.entries(tools)) writeFileSync(join(gateway.tools, name), script, { mode: 0o755 });
    try {
      await gateway.run();
    } catch (error) {
      await gateway.stop();
      throw error;
    }
    return gateway;
  }

  /** Writes the configuration; JSON is YAML too. */
  configure(settings: Settings): void {
    writeFileSync(join(this.folder, 'config.yaml'), JSON.stringify({ startPort: this.startPort, ...settings }, null, 1));
  }

  /** Starts the program on its port and waits until it answers. */
  async run(): Promise<void> {
    const child = spawn(
      python,
      ['-m', 'swapyard', '-config', join(this.folder, 'config.yaml'), '-listen', `127.0.0.1:${this.port}`],
      { cwd: this.folder, env: { ...process.env, XDG_STATE_HOME: join(this.folder, 'state'), PATH: `${this.tools}:${process.env['PATH'] ?? ''}` }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.child = child;
    const keep = (data: Buffer): void => void (this.output = (this.output + data.toString()).slice(-200_000));
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const deadline = Date.now() + startSeconds * 1000;
    while (Date.now() < deadline && child.exitCode === null) {
      try {
        if ((await fetch(`${this.url}/health`)).ok) return;
      } catch {
        await new Promise((again) => setTimeout(again, 50));
      }
    }
    throw new Error(`the gateway does not answer:\n${this.output}`);
  }

  /** Ends the program as an operator would; with SIGKILL where it does not end. */
  async halt(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.child;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((done) => child.once('exit', () => done()));
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), stopSeconds * 1000);
    await gone;
    clearTimeout(late);
  }

  /** Stands still for so long, as a machine that sleeps. */
  async frozen(milliseconds: number): Promise<void> {
    this.child?.kill('SIGSTOP');
    await new Promise((done) => setTimeout(done, milliseconds));
    this.child?.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    await this.halt();
    rmSync(this.folder, { recursive: true, force: true });
  }

  call(path: string, init?: RequestInit): Promise<Response> {
    return fetch(this.url + path, init);
  }

  async json<T>(path: string): Promise<T> {
    const answer = await this.call(path);
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.call(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  /** One chat request with a scripted answer, read to its end. */
  async chat(model: string, script: Script = { say: 'hello' }, more: { stream?: boolean; headers?: Record<string, string> } = {}): Promise<number> {
    const answer = await this.post(
      '/v1/chat/completions',
      { model, stream: more.stream ?? false, messages: [{ role: 'user', content: JSON.stringify(script) }] },
      more.headers,
    );
    await answer.text();
    return answer.status;
  }

  /** A streamed chat request that goes on until it is ended. */
  async stream(model: string, script: Script, headers: Record<string, string> = {}): Promise<() => Promise<void>> {
    const abort = new AbortController();
    const body = { model, stream: true, messages: [{ role: 'user', content: JSON.stringify(script) }] };
    const answer = fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(body),
      signal: abort.signal,
    });
    const drained = answer.then((response) => response.text()).catch(() => '');
    return async () => {
      abort.abort();
      await drained;
    };
  }

  async state(model: string): Promise<string> {
    const models = await this.json<{ id: string; state: string }[]>('/api/models');
    return models.find((entry) => entry.id === model)?.state ?? 'unknown';
  }

  load(model: string): Promise<Response> {
    return this.post(`/api/models/load/${encodeURIComponent(model)}`);
  }

  unload(model: string): Promise<Response> {
    return this.post(`/api/models/unload/${encodeURIComponent(model)}`);
  }

  /** The newest finished request; id 0 before the first. */
  async newest(): Promise<Row> {
    const page = await this.json<{ data: Row[] }>('/api/metrics/activity?limit=1');
    return page.data[0] ?? { id: 0, resp_status_code: 0 };
  }

  /** The row of a request that `work` makes: rows are written shortly after the last byte. */
  async row(work: () => Promise<unknown>): Promise<Row> {
    const before = (await this.newest()).id;
    await work();
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
      const row = await this.newest();
      if (row.id > before) return row;
      await new Promise((again) => setTimeout(again, 25));
    }
    throw new Error('the request has left no row');
  }
}

export interface Row {
  id: number;
  resp_status_code: number;
}

/** What a request may ask the demonstration to say: src/swapyard/demo/script.py. */
export interface Script {
  say?: string;
  fence_bytes?: number;
  think?: string;
  pace?: number;
  piece?: number;
  error?: string;
  status?: number;
  log?: string;
  send?: 'picture' | 'bytes' | 'nothing';
}
