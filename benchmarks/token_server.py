"""An upstream that sends tokens at a pace, or as fast as they are taken, one write each; and swallows bodies.

    python token_server.py PORT

A JSON request with `count` gets that many events, `rate` of them a second, 0 for no pause; each says when it
was written, in nanoseconds of the monotonic clock.  Any other request gets a short answer once it is read.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"tokens",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}],"t":%020d}\n\n'
)
SMALL_BYTES = 64 * 1024


class TokenProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._head = b""
        self._body = b""
        self._missing = 0
        self._timer: asyncio.Handle | None = None
        self._left = 0
        self._pause = 0.0
        self._due = 0.0
        self._full = False

    def data_received(self, data: bytes) -> None:
        if not self._head:
            self._body += data
            head, blank, rest = self._body.partition(b"\r\n\r\n")
            if not blank:
                return
            self._head, self._body = head.lower(), rest
            self._missing = self._length() - len(rest)
        elif self._length() <= SMALL_BYTES:
            self._body += data
            self._missing -= len(data)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._answer()

    def _length(self) -> int:
        _, found, rest = self._head.partition(b"content-length:")
        return int(rest.partition(b"\r\n")[0]) if found else 0

    def _answer(self) -> None:
        small = 0 < self._length() <= SMALL_BYTES
        asked = json.loads(self._body) if small else {}
        self._head = self._body = b""
        if "count" not in asked:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
            )
            return
        self._left = int(asked["count"])
        self._pause = 1 / asked["rate"] if asked.get("rate") else 0.0
        self._due = self._loop.time()
        self._transport.write(HEAD)
        self._next()

    def _next(self) -> None:
        event = EVENT % time.monotonic_ns()
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._left -= 1
        if not self._left:
            self._transport.write(b"0\r\n\r\n")
        elif self._pause:
            self._due += self._pause
            self._timer = self._loop.call_at(self._due, self._next)
        elif not self._full:
            self._timer = self._loop.call_soon(self._next)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._left and not self._pause:
            self._timer = self._loop.call_soon(self._next)

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(TokenProtocol, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
