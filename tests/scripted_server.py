"""A model server that does what each request's `x-do` header tells it; tests run it as a child process.

    echo (default)   a JSON object: what was asked
    stream           three events and [DONE]
    hang             no answer at all, until whoever asked has left
    stream-hang      one event, then nothing more until whoever asked has left
    flood            bytes without end
    break            an event stream that breaks off within its second event
    break-between    the same, after a complete event
    break-length     seven of a hundred promised bytes
    drop             the connection is closed without an answer
    die              the process ends without an answer
    status=<n>       that status with a JSON error, or with the text of `x-text`

`GET /journal` lists what became of earlier requests, as soon as there is anything to list, and which of them
came before the server was ready.
`GET /health` is 503 until --gate exists.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping

Headers = dict[str, str]
EVENTS = [b'data: {"n":%d}\n\n' % n for n in range(3)] + [b"data: [DONE]\n\n"]


class Server:
    def __init__(self, name: str, gate: str) -> None:
        self._name = name
        self._gate = gate
        self._journal: list[str] = []
        self._noted = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await self._body(reader, headers)
        if target != "/health" and not self._is_ready():
            self._note(f"{method} {target} before readiness")
        if target == "/health":
            ready = self._is_ready()
            self._send(writer, 200 if ready else 503, b"")
        elif target == "/journal":
            await self._noted.wait()
            self._send(writer, 200, json.dumps(self._journal).encode())
        else:
            text = body.decode("latin-1")
            asked = {
                "model": self._name,
                "method": method,
                "target": target,
                "headers": headers,
                "body": text,
            }
            await self._do(headers, asked, reader, writer)
        await writer.drain()

    def _is_ready(self) -> bool:
        return not self._gate or os.path.exists(self._gate)

    async def _body(self, reader: asyncio.StreamReader, headers: Headers) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body

    async def _do(
        self,
        headers: Headers,
        asked: Mapping[str, object],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        what, _, argument = headers.get("x-do", "echo").partition("=")
        match what:
            case "echo":
                self._send(writer, 200, json.dumps(asked).encode())
            case "status":
                error = json.dumps({"error": {"message": "as asked", "code": int(argument)}})
                self._send(writer, int(argument), headers.get("x-text", error).encode())
            case "stream":
                self._begin(writer, b"text/event-stream")
                for event in EVENTS:
                    self._chunk(writer, event)
                writer.write(b"0\r\n\r\n")
            case "hang":
                await self._until_left(reader)
            case "stream-hang":
                self._begin(writer, b"text/event-stream")
                self._chunk(writer, EVENTS[0])
                await self._until_left(reader)
            case "flood":
                await self._flood(writer)
            case "break" | "break-between":
                self._begin(writer, b"text/event-stream")
                self._chunk(writer, EVENTS[0] + (EVENTS[1][:9] if what == "break" else b""))
                await writer.drain()
                writer.close()
            case "break-length":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nseven b")
                writer.close()
            case "drop":
                writer.close()
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)

    def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (status, len(body)) + body)

    def _begin(self, writer: asyncio.StreamWriter, kind: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind)

    def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        self._note("left")
        raise ConnectionResetError

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        self._begin(writer, b"application/octet-stream")
        sent_bytes = 0
        try:
            while True:
                self._chunk(writer, bytes(100_000))
                await writer.drain()
                sent_bytes += 100_000
        finally:
            self._note(f"flood ended after {sent_bytes}")

    def _note(self, entry: str) -> None:
        self._journal.append(entry)
        self._noted.set()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="")
    parser.add_argument("--gate", default="")
    options = parser.parse_args()
    await asyncio.start_server(Server(options.name, options.gate).converse, "127.0.0.1", options.port)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print(f"{options.name} listens", flush=True)
    await stopped.wait()
    # From Python 3.12 on a server that is closed waits for clients that never leave.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
