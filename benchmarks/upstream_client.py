"""What one exchange of the upstream client costs: requests per second, and processor time for each.

    python benchmarks/upstream_client.py [requests]

The answering server runs in a process of its own; processor time is that of the client alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection

import httptools
import uvloop

from swapyard.proxy.upstreams import Upstream, UpstreamRequest

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: bench\r\ncontent-length: 600\r\n\r\n"
    + b"a" * 600
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"78\r\n" + b"data: " + b"x" * 112 + b"\n\n" + b"\r\n"
EVENTS = 200
HEADERS = [
    (b"host", b"localhost"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"bench"),
]
BODY = b'{"model":"m","prompt":"' + b"p" * 500 + b'"}'


class AnsweringProtocol(asyncio.Protocol):
    """Answers `/stream` with events, one in each turn of the loop, and anything else at once."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        if self._url == b"/stream":
            self.transport.write(STREAM_HEAD)
            self._next_event(EVENTS)
        else:
            self.transport.write(ANSWER)

    def _next_event(self, left: int) -> None:
        self.transport.write(EVENT if left else b"0\r\n\r\n")
        if left:
            asyncio.get_running_loop().call_soon(self._next_event, left - 1)


def serve(pipe: Connection) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(AnsweringProtocol, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def measure(port: int, target: bytes, at_once: int, requests: int) -> None:
    upstream = Upstream(f"http://127.0.0.1:{port}")

    async def ask(times: int) -> None:
        for _ in range(times):
            async with upstream.exchange(UpstreamRequest(b"POST", target, HEADERS, BODY)) as answer:
                while await answer.read():
                    pass

    await ask(100)
    wall, busy = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(ask(requests // at_once))
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    print(
        f"{target.decode():8} {at_once:3} at once: {requests / wall:8.0f} requests/s, "
        f"{busy / requests * 1e6:7.1f} µs of processor time each"
    )
    upstream.close()


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    port: int = ours.recv()
    for at_once in (1, 64):
        uvloop.run(measure(port, b"/answer", at_once, requests))
        uvloop.run(measure(port, b"/stream", at_once, requests // 50))
    server.terminate()


if __name__ == "__main__":
    main()
