"""An inference server without a model that does what the request's own fields ask for, and nothing else.

    python -m tests.end_to_end.servers.well_behaved PORT [SECONDS_TO_LOAD]

Fields of a POSTed JSON object: `stream`; `count` events, `pause` seconds apart, or events until the file
`until` exists; `hold` until that file exists before a word is said; an answer of `answer_bytes` bytes.
Every other body is counted and hashed.  It prints what happens to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

TICK = 0.005
PIECE = b"x" * 65536


class ClientLeft(Exception):  # noqa: N818 - what happened, not what went wrong
    """Whoever asked has closed the connection."""


def say(text: str) -> None:
    print(text, flush=True)


class Answers(BaseHTTPRequestHandler):
    """One connection.  Those that misbehave override a method or two."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    ready_at = 0.0

    def do_GET(self) -> None:
        if self.path == "/health":
            self.health()
        else:
            self.other()

    def do_HEAD(self) -> None:
        self.answer(200, {"path": self.path})

    def do_POST(self) -> None:
        try:
            body = self.read_body()
            if self.headers.get("Content-Type", "").startswith("application/json"):
                self.converse(json.loads(body))
            else:
                digest = hashlib.sha256(body).hexdigest()
                self.answer(200, {"bytes": len(body), "sha256": digest})
        except (ClientLeft, ConnectionError):
            say("the client left")
            self.close_connection = True

    def health(self) -> None:
        ready = time.monotonic() >= self.ready_at
        self.answer(200 if ready else 503, {"status": "ok" if ready else "loading"})

    def other(self) -> None:
        self.answer(200, {"path": self.path})

    def converse(self, wish: dict[str, Any]) -> None:
        self.before_answer(wish)
        if wish.get("stream"):
            self.stream(wish)
        elif "answer_bytes" in wish:
            self.long_answer(int(wish["answer_bytes"]))
        else:
            message = {"role": "assistant", "content": f"{wish.get('model')} heard you"}
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            self.answer(
                200, {"choices": [{"index": 0, "message": message}], "usage": usage, "pid": os.getpid()}
            )

    def before_answer(self, wish: dict[str, Any]) -> None:
        if "hold" in wish:
            say("holding")
            while not os.path.exists(wish["hold"]):
                self.pause(TICK)

    def stream(self, wish: dict[str, Any]) -> None:
        self.begin("text/event-stream")
        for number in self.numbers(wish):
            self.event({"choices": [{"index": 0, "delta": {"content": f"{number} "}}]})
            self.after_event(number, wish)
        self.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def numbers(self, wish: dict[str, Any]) -> Iterator[int]:
        """0, 1, 2 and so on, for as long as the request wants."""
        pause = float(wish.get("pause", TICK))
        for number in count():
            done = os.path.exists(wish["until"]) if "until" in wish else number == wish.get("count", 3)
            if done:
                return
            if number and pause:
                self.pause(pause)
            yield number

    def after_event(self, number: int, wish: dict[str, Any]) -> None:
        return

    def long_answer(self, size: int) -> None:
        """A chat completion of exactly this many bytes."""
        head, tail = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"', b'"}}]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(head)
        left = size - len(head) - len(tail)
        while left:
            left -= self.wfile.write(PIECE[:left])
        self.wfile.write(tail)

    # The parts of HTTP

    def read_body(self) -> bytes:
        if self.path == "/upload":
            say("begins to read")
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                raise ClientLeft
            return body
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, media: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, value: object) -> None:
        self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def pause(self, seconds: float) -> None:
        """Wait; ClientLeft as soon as whoever asked is gone."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ClientLeft

    def log_message(self, *_: object) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        say(f"a connection broke: {sys.exc_info()[1]!r}")


def serve(answers: type[Answers], arguments: list[str]) -> None:
    port, *rest = arguments
    answers.ready_at = time.monotonic() + float(rest[0] if rest else 0)
    server = Server(("127.0.0.1", int(port)), answers)
    say(f"pid {os.getpid()} listens")
    server.serve_forever()


if __name__ == "__main__":
    serve(Answers, sys.argv[1:])
