"""A model server that answers as each request tells it to, byte for byte, and remembers what it was asked.

    python -m tests.hostile.obedient_model PORT

It prints the port on which it listens; PORT may be 0.  The header `x-steps` is a JSON list of steps, each a
list of a word and its arguments:

    send TEXT [TIMES]   these bytes (latin-1), this many times
    dribble TEXT        the same, in one write for each byte
    endless TEXT        the same again and again, until the connection breaks
    pause SECONDS       do nothing
    body                read the request's body; without this step it stays unread
    half-close          end our direction
    hang                wait until the other side has closed
    close, reset        end the connection, the second with a reset

Without that header the body is read and the answer is a JSON object of what was asked.  `GET /received` lists
the requests since the last such question, with method, target, headers and body, and is not among them.
A request of which less than all arrived is not listed.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LONGEST_HEAD_BYTES = 4 * 1024 * 1024
LONGEST_WRITE_BYTES = 1024 * 1024


class PeerLeft(Exception):  # noqa: N818 - what happened, not what went wrong
    """The other side has closed the connection."""


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]

    def first(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class Memory:
    """The requests that arrived whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[dict[str, Any]] = []

    def add(self, description: dict[str, Any]) -> None:
        with self._lock:
            self._requests.append(description)

    def take(self) -> list[dict[str, Any]]:
        with self._lock:
            taken, self._requests = self._requests, []
        return taken


class Connection:
    """One connection, in a thread of its own."""

    def __init__(self, sock: socket.socket, memory: Memory) -> None:
        self._sock = sock
        self._memory = memory
        self._received = b""

    def serve(self) -> None:
        with self._sock, suppress(OSError, PeerLeft):
            while self._sock.fileno() >= 0:
                self._answer(self._read_head())

    def _answer(self, request: Request) -> None:
        if request.target == "/health":
            self._send_json({"status": "ok"})
        elif request.target == "/received":
            self._send_json(self._memory.take())
        elif steps := request.first("x-steps"):
            self._follow(json.loads(steps), request)
        else:
            self._send_json(self._read_whole(request), bodiless=request.method == "HEAD")

    def _follow(self, steps: list[list[Any]], request: Request) -> None:
        for word, *arguments in steps:
            match word:
                case "send":
                    text, *times = arguments
                    self._send_times(text.encode("latin-1"), *times)
                case "dribble":
                    for byte in arguments[0].encode("latin-1"):
                        self._sock.sendall(bytes([byte]))
                case "endless":
                    piece = arguments[0].encode("latin-1")
                    while True:
                        self._sock.sendall(piece * (LONGEST_WRITE_BYTES // 16 // len(piece)))
                case "pause":
                    time.sleep(arguments[0])
                case "body":
                    self._read_whole(request)
                case "half-close":
                    self._sock.shutdown(socket.SHUT_WR)
                case "hang":
                    while self._sock.recv(65536):
                        pass
                case "close":
                    self._sock.close()
                case "reset":
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._sock.close()
                case _:
                    raise ValueError(word)

    def _send_times(self, data: bytes, times: int = 1) -> None:
        at_once = max(1, LONGEST_WRITE_BYTES // len(data))
        while times > 0:
            self._sock.sendall(data * min(times, at_once))
            times -= at_once

    def _send_json(self, value: object, *, bodiless: bool = False) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._sock.sendall(head.encode() + (b"" if bodiless else body))

    # Reading

    def _read_head(self) -> Request:
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            assert len(self._received) < LONGEST_HEAD_BYTES
            self._fill()
        head, self._received = self._received[:end], self._received[end + 4 :]
        first_line, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first_line.split(" ")
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value.strip(" ")) for name, _, value in (x.partition(":") for x in lines)]
        return Request(method, target, headers)

    def _read_whole(self, request: Request) -> dict[str, Any]:
        if request.first("transfer-encoding") == "chunked":
            body = self._read_chunks()
        else:
            body = self._read(int(request.first("content-length") or 0))
        description = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": body.decode("latin-1"),
        }
        self._memory.add(description)
        return description

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self._read_line(), 16):
            parts.append(self._read(size))
            assert self._read_line() == b""
        assert self._read_line() == b"", "a trailer reached the model"
        return b"".join(parts)

    def _read_line(self) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            self._fill()
        line, self._received = self._received[:end], self._received[end + 2 :]
        return line

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            self._fill()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _fill(self) -> None:
        data = self._sock.recv(262144)
        if not data:
            raise PeerLeft
        self._received += data


def serve(port: int) -> None:
    """Serve until the process ends."""
    memory = Memory()
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(sock, memory).serve, daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
