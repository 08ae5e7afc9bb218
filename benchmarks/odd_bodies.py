"""What bodies of odd shapes cost others: the longest that another client waits for `/health` meanwhile."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Sequence
from statistics import median

from rig import Contestant
from table import Table

SIZE = 8_000_000
"""Bytes of each body."""

SECONDS = 1.0
"""For how long one shape is sent in a round."""

JSON = b"application/json"
FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=b"

PLAIN = "a plain string"
MODEL = b'"model":"tokens"'
MODEL_PART = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ntokens\r\n--b--\r\n'
PART = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nv\r\n'


def times(piece: bytes) -> bytes:
    return piece * (SIZE // len(piece))


def shapes() -> dict[str, tuple[bytes, bytes]]:
    """(Content-Type, body) of each shape; the first is what the others are held against."""
    return {
        PLAIN: (JSON, b'{"a":"' + b"A" * SIZE + b'",' + MODEL + b"}"),
        "escapes": (JSON, b'{"a":"' + times(b"\\n") + b'",' + MODEL + b"}"),
        "brackets": (JSON, b'{"a":[' + times(b"[],") + b"1]," + MODEL + b"}"),
        "brackets, a letter behind": (JSON, b'{"a":[' + times(b"[],") + b"1]," + MODEL + b"}x"),
        "half of them, nested": (
            JSON,
            b"{" + MODEL + b',"a":' + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}",
        ),
        "nested up and down": (
            JSON,
            b'{"a":[' + times(b"[" * 900 + b"]" * 900 + b",") + b"1]," + MODEL + b"}x",
        ),
        "members": (JSON, b"{" + times(b'"a":1,') + MODEL + b"}"),
        "members, a letter behind": (JSON, b"{" + times(b'"a":1,') + MODEL + b"}x"),
        "members with escapes": (JSON, b"{" + MODEL + b"," + times(b'"\\u0061":1,') + b'"a":1}'),
        "numbers": (JSON, b'{"a":[' + times(b"1,") + b"1]," + MODEL + b"}"),
        "empty strings": (JSON, b'{"a":[' + times(b'"",') + b"1]," + MODEL + b"}"),
        "blanks": (JSON, b'{"a":' + b" " * SIZE + b"1," + MODEL + b"}"),
        "urlencoded pairs": (FORM, times(b"%61=b&") + b"model=tokens"),
        "parts of a form": (MULTIPART, PART * 90_000 + MODEL_PART),
        "boundaries": (MULTIPART, times(b"\n--b") + b"\n" + MODEL_PART),
    }


class Health:
    """Asks for `/health` on a connection of its own for the length of a block, and notes the longest wait."""

    def __init__(self, port: int) -> None:
        self.longest = 0.0
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        while not self._over.is_set():
            begun = time.monotonic()
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            self.longest = max(self.longest, time.monotonic() - begun)
            if answer.status != 200:
                raise RuntimeError(f"/health answered {answer.status}")
        connection.close()


def longest_wait(port: int, content_type: bytes, payload: bytes) -> float:
    """Seconds that another client waited at most while this body was sent and answered, again and again.

    Whatever else goes on in the machine has as long to show with every shape.
    """
    head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: bench\r\ncontent-type: " + content_type
    head += b"\r\ncontent-length: %d\r\n\r\n" % len(payload)
    end = time.monotonic() + SECONDS
    with Health(port) as health:
        while time.monotonic() < end:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(head + payload)
                answer = sock.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the body was not taken: {answer[:200]!r}")
    return health.longest


def measure(contestants: Sequence[Contestant], rounds: int) -> Table:
    """Ratios of medians, every shape once in each round."""
    table = Table("another's longest /health, 8 MB bodies", [contestant.name for contestant in contestants])
    waits: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for shape, (content_type, payload) in shapes().items():
            for contestant in contestants:
                took = longest_wait(contestant.tokens, content_type, payload)
                waits.setdefault((shape, contestant.name), []).append(took)
    for (shape, name), longest in waits.items():
        # In the first round the model is loaded.
        against = median(waits[PLAIN, name][1:])
        for took in longest[1:]:
            if shape == PLAIN:
                table.add(shape, "ms", name, took * 1e3)
            else:
                table.add(shape, "times the string's", name, took / against)
    return table
