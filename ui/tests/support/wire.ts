/** A wire between the page and the gateway that can be slow and can carry noise; everything else goes through as it is. */
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

type Matches = (path: string) => boolean;

export class Wire {
  /** Paths that were asked for, with how many bytes of body went to the page. */
  readonly seen: { method: string; path: string; bytes: number }[] = [];
  private readonly streams = new Set<ServerResponse>();
  private readonly sockets = new Set<Socket>();
  private readonly held: { matches: Matches; release: Promise<void> }[] = [];

  private constructor(
    private readonly server: Server,
    private readonly target: number,
  ) {}

  static async to(port: number): Promise<Wire> {
    const server = createServer();
    const wire = new Wire(server, port);
    server.on('request', (incoming, answer) => void wire.pass(incoming, answer));
    server.on('connection', (socket) => {
      wire.sockets.add(socket);
      socket.once('close', () => wire.sockets.delete(socket));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return wire;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Keeps requests for such paths until the returned function is called. */
  hold(matches: Matches): () => void {
    let release = (): void => undefined;
    const entry = { matches, release: new Promise<void>((done) => (release = done)) };
    this.held.push(entry);
    return () => {
      this.held.splice(this.held.indexOf(entry), 1);
      release();
    };
  }

  /** Writes into every open event stream what the gateway did not say. */
  noise(text: string): void {
    for (const stream of this.streams) stream.write(text);
  }

  private async pass(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = incoming.url ?? '/';
    const entry = { method: incoming.method ?? 'GET', path, bytes: 0 };
    this.seen.push(entry);
    for (const { matches, release } of [...this.held]) if (matches(path)) await release;
    const onward = request(
      { host: '127.0.0.1', port: this.target, path, method: incoming.method, headers: incoming.headers },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        if (path.startsWith('/api/events')) {
          this.streams.add(answer);
          answer.once('close', () => this.streams.delete(answer));
        }
        response.on('data', (data: Buffer) => (entry.bytes += data.length));
        response.pipe(answer);
        response.once('error', () => answer.destroy());
      },
    );
    onward.once('error', () => answer.destroy());
    answer.once('close', () => onward.destroy());
    incoming.pipe(onward);
  }

  /** Breaks every connection of the moment; new ones are taken. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((done) => this.server.close(() => done()));
  }
}
