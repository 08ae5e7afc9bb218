"""HTTP/1.1 by hand, for clients that send what no library would, and believe only what they read."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0
"""Seconds within which whatever is waited for has to happen."""

BETWEEN_QUESTIONS = 0.01
"""Seconds the bystander waits before it asks again."""

BODILESS = (204, 304)


class MalformedError(AssertionError):
    """What came is not an HTTP/1.1 answer."""


@dataclass
class Answer:
    """An answer as far as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    # Whether it came to its end; where only the end of the connection ends it, that was not a reset.
    is_whole: bool = False
    # The statuses of the informational answers before it.
    informational: list[int] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The value under this lower-case name; MalformedError when there are two."""
        found = [value for key, value in self.headers if key == name]
        if len(found) > 1:
            raise MalformedError(f"{name} twice: {found}")
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error_code(self) -> str | None:
        """The code of an error of swapyard's own; None for other answers."""
        return error_code(self.body)


def error_code(text: bytes) -> str | None:
    """The code in an error of swapyard's own; None in any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("src") != "llama-swap":
        return None
    return str(value["error"]["code"])


class EndedError(Exception):
    """The connection ended; `was_reset` when not in good order."""

    def __init__(self, *, was_reset: bool) -> None:
        super().__init__("reset" if was_reset else "closed")
        self.was_reset = was_reset


class Wire:
    """One client connection; TimeoutError when nothing comes for `patience` seconds."""

    def __init__(self, port: int, patience: float = PATIENCE) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def half_close(self) -> None:
        """Send nothing more, go on reading."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def send(self, *pieces: bytes) -> bool:
        """Send the pieces, one write each; False when the server does not want any more."""
        try:
            for piece in pieces:
                self._sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def answer(self, method: str = "GET") -> Answer | None:
        """The next answer, to a request with this method; None when the connection has ended instead."""
        informational = []
        while True:
            try:
                status, headers = self._head()
            except EndedError:
                return None
            if status >= 200 or status == 101:
                break
            informational.append(status)
        answer = Answer(status, headers, informational=informational)
        with suppress(EndedError):
            self._body(answer, method)
            answer.is_whole = True
        return answer

    def rest(self) -> bytes:
        """Everything that still comes until the connection ends, in whatever way."""
        with suppress(EndedError):
            while True:
                self._fill()
        rest, self._received = self._received, b""
        return rest

    def _head(self) -> tuple[int, list[tuple[str, str]]]:
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            try:
                self._fill()
            except EndedError as ended:
                if self._received and not ended.was_reset:
                    raise MalformedError(f"ended within a head: {self._received[:200]!r}") from None
                raise
        head, self._received = self._received[:end], self._received[end + 4 :]
        status_line, *lines = head.split(b"\r\n")
        version, _, rest = status_line.partition(b" ")
        status, _, _ = rest.partition(b" ")
        if version != b"HTTP/1.1" or len(status) != 3 or not status.isdigit():
            raise MalformedError(f"not a status line: {status_line[:200]!r}")
        headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or name != name.strip() or b"\n" in line or b"\r" in line or 0 in line:
                raise MalformedError(f"not a header: {line[:200]!r}")
            headers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
        return int(status), headers

    def _body(self, answer: Answer, method: str) -> None:
        if method == "HEAD" or answer.status in BODILESS or answer.status == 101:
            return
        length, coding = answer.header("content-length"), answer.header("transfer-encoding")
        if length is not None and coding is not None:
            raise MalformedError("a length and a transfer coding")
        if length is not None:
            self._read_into(answer, int(length))
        elif coding is None:
            self._until_closed(answer)
        elif coding == "chunked":
            while size := int(self._line(), 16):
                self._read_into(answer, size)
                if self._line() != b"":
                    raise MalformedError("data beyond its chunk")
            if self._line() != b"":
                raise MalformedError("a trailer")
        else:
            raise MalformedError(f"transfer-encoding: {coding}")

    def _until_closed(self, answer: Answer) -> None:
        try:
            while True:
                answer.body += self._received
                self._received = b""
                self._fill()
        except EndedError as ended:
            if ended.was_reset:
                raise

    def _read_into(self, answer: Answer, size: int) -> None:
        """What is there counts, also when there is not enough."""
        while size:
            if not self._received:
                self._fill()
            piece = self._received[:size]
            self._received = self._received[len(piece) :]
            answer.body += piece
            size -= len(piece)

    def _line(self) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            self._fill()
        line, self._received = self._received[:end], self._received[end + 2 :]
        return line

    def _fill(self) -> None:
        try:
            data = self._sock.recv(262144)
        except ConnectionResetError:
            raise EndedError(was_reset=True) from None
        if not data:
            raise EndedError(was_reset=False)
        self._received += data


def request(
    line: str, body: bytes | None = None, headers: Iterable[tuple[str, str]] = (("Host", "yard"),)
) -> bytes:
    """A request with these headers, and with the length of its body if it has one."""
    fields = [*headers, *([] if body is None else [("Content-Length", str(len(body)))])]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


class Bystander:
    """Somebody else who asks `/health` again and again over one connection, and wants every answer."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.connect()
        self._sock = self._connection.sock
        self._answers = 0
        self._failure: str | None = None
        self._answered = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="bystander", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._connection.close()

    def check(self) -> None:
        """Fails unless every question so far was answered, and one more from now on is."""
        with self._answered:
            seen = self._answers
            # The answer that comes next may be to a question from before.
            enough = self._answered.wait_for(lambda: self._failure or self._answers > seen + 1, PATIENCE)
        assert self._failure is None, f"the bystander: {self._failure}"
        assert enough, "the bystander is not answered any more"

    def _ask_on(self) -> None:
        while not self._over.wait(BETWEEN_QUESTIONS):
            try:
                self._ask()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                with self._answered:
                    self._failure = repr(error)
                    self._answered.notify_all()
                return
            with self._answered:
                self._answers += 1
                self._answered.notify_all()

    def _ask(self) -> None:
        self._connection.request("GET", "/health")
        answer = self._connection.getresponse()
        body = answer.read()
        assert (answer.status, body) == (200, b"OK"), (answer.status, body)
        assert self._connection.sock is self._sock, "the connection was closed"
