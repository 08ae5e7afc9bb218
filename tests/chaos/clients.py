"""Does what a schedule's deeds say, over real connections, and tells what became of each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chaos.schedule import Act, Deed
from tests.hostile.attacks import ATTACKS
from tests.hostile.wire import Answer, MalformedError, Wire, error_code, request

BOUND = 60.0
"""Seconds within which every deed has to end: a load, an eviction with its grace, and a busy machine."""

MIB = 1024 * 1024
EVENTS = 5
EVENT = 'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
END = "data: [DONE]\n\n"
STREAM_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG_BYTES = 2 * MIB
GARBAGE = [
    attack
    for attack in ATTACKS
    # In the path is a model that is not here, and that is refused as well.
    if attack.is_refusal and len(attack.sent) < MIB and b" /upstream/" not in attack.sent
]
LOOKS = ("/running", "/api/models", "/metrics", "/api/inflight", "/v1/models", "/api/yard", "/health")
JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Ended:
    """What became of a deed; times in seconds of the monotonic clock.

    `problem` is what no upstream and no operator can be blamed for; `code` is that of an error of swapyard's
    own, whole or as the last event of a stream that was cut; `is_good` says that everything came as asked.
    """

    deed: Deed
    began: float
    ended: float
    is_good: bool
    status: int = 0
    code: str | None = None
    is_cut: bool = False
    problem: str = ""


class Client:
    """One client, one connection after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire: Wire | None = None

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def do(self, deed: Deed) -> Ended:
        began = time.monotonic()
        try:
            found = _ACTS[deed.act](self, deed)
        except (MalformedError, OSError, TimeoutError) as error:
            self.close()
            found = {"is_good": False, "problem": repr(error)}
        return Ended(deed, began, time.monotonic(), **found)

    def wire(self) -> Wire:
        if self._wire is None:
            self._wire = Wire(self._port, BOUND)
        return self._wire

    # Acts: each returns fields of `Ended`

    def chat(self, deed: Deed) -> dict[str, Any]:
        return self._echoed(deed, request("POST /v1/chat/completions", _body(deed), _headers()))

    def big_request(self, deed: Deed) -> dict[str, Any]:
        """So long that it is put aside in a file."""
        body = _body(deed, padding="x" * BIG_BYTES)
        return self._echoed(deed, request("POST /v1/chat/completions", body, _headers()))

    def slow_upload(self, deed: Deed) -> dict[str, Any]:
        body = _body(deed, padding="x" * 50_000)
        whole = request(f"POST /upstream/{deed.model}/x", body, _headers())
        pieces = [whole[start : start + 5000] for start in range(0, len(whole), 5000)]
        wire = self.wire()
        for piece in pieces:
            time.sleep(0.01)
            if not wire.send(piece):
                break
        return self._echo(deed, self._answer())

    def stream(self, deed: Deed) -> dict[str, Any]:
        said = [EVENT % f"{deed.number} {number}" for number in range(EVENTS)] + [END]
        steps: list[list[Any]] = [["body"], ["send", STREAM_HEAD]]
        for event in said:
            steps += [["send", f"{len(event):x}\r\n{event}\r\n"], ["pause", 0.02]]
        answer = self._asked(deed, [*steps, ["send", "0\r\n\r\n"]])
        return self._told(answer, "".join(said).encode())

    def slow_reader(self, deed: Deed) -> dict[str, Any]:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {BIG_BYTES}\r\n\r\n"
        wire = self.wire()
        wire.send(_with_steps(deed, [["body"], ["send", head], ["send", "y", BIG_BYTES]]))
        time.sleep(deed.patience)
        return self._told(self._answer(), b"y" * BIG_BYTES)

    def leaves_waiting(self, deed: Deed) -> dict[str, Any]:
        self.wire().send(request("POST /v1/chat/completions", _body(deed), _headers()))
        return self._leave_after(deed.patience)

    def leaves_in_stream(self, deed: Deed) -> dict[str, Any]:
        event = EVENT % deed.number
        steps: list[list[Any]] = [["body"], ["send", STREAM_HEAD]]
        steps += [["send", f"{len(event):x}\r\n{event}\r\n"], ["pause", 0.05]] * 100
        self.wire().send(_with_steps(deed, steps))
        return self._leave_after(deed.patience)

    def hanging_stream(self, deed: Deed) -> dict[str, Any]:
        event = EVENT % deed.number
        chunk = f"{len(event):x}\r\n{event}\r\n"
        self.wire().send(_with_steps(deed, [["body"], ["send", STREAM_HEAD + chunk], ["hang"]]))
        return self._leave_after(2 * deed.patience)

    def half_closes(self, deed: Deed) -> dict[str, Any]:
        """It may be taken for somebody who left, or for somebody who listens: nothing in between."""
        wire = self.wire()
        wire.send(request("POST /v1/chat/completions", _body(deed), _headers()))
        wire.half_close()
        answer = wire.answer()
        rest = wire.rest() if answer is None or answer.is_whole else b""
        self.close()
        if answer is None:
            return {"is_good": True, "problem": _left_over(rest)}
        return self._echo(deed, answer)

    def bad_body(self, deed: Deed) -> dict[str, Any]:
        head = f"POST /upstream/{deed.model}/x HTTP/1.1\r\nHost: yard\r\nTransfer-Encoding: chunked\r\n\r\n"
        # A reload may have taken the model away, or a failed load made it unavailable: both are known, and
        # told, before any of the body is read.
        return self._refused(head.encode() + b"5\r\nhello\r\nzz\r\n", (400, 404, 502, 503))

    def garbage(self, deed: Deed) -> dict[str, Any]:
        attack = GARBAGE[deed.number % len(GARBAGE)]
        return self._refused(attack.sent, attack.answers[0])

    def looks(self, deed: Deed) -> dict[str, Any]:
        self.wire().send(request(f"GET {LOOKS[deed.number % len(LOOKS)]}"))
        answer = self._answer()
        is_good = answer is not None and answer.is_whole and answer.status == 200
        return {"is_good": is_good, "problem": "" if is_good else f"{answer}"}

    # Their parts

    def _echoed(self, deed: Deed, sent: bytes) -> dict[str, Any]:
        self.wire().send(sent)
        return self._echo(deed, self._answer())

    def _echo(self, deed: Deed, answer: Answer | None) -> dict[str, Any]:
        if answer is not None and answer.is_whole and answer.status == 200:
            number = json.loads(answer.json()["body"])["number"]
            return {
                "is_good": number == deed.number,
                "status": 200,
                "problem": "" if number == deed.number else f"the answer to {number}",
            }
        return _failure(answer)

    def _told(self, answer: Answer | None, whole: bytes) -> dict[str, Any]:
        if answer is not None and answer.is_whole and answer.status == 200:
            is_good = answer.body == whole
            return {
                "is_good": is_good,
                "status": 200,
                "problem": "" if is_good else f"not what was said: {answer.body[-200:]!r}",
            }
        return _failure(answer, beginning=whole)

    def _refused(self, sent: bytes, statuses: tuple[int, ...]) -> dict[str, Any]:
        """Refused means the end of that connection: it is one of its own."""
        with Wire(self._port, BOUND) as wire:
            wire.send(sent)
            answer = wire.answer()
            rest = wire.rest()
        status = 0 if answer is None else answer.status
        is_good = status in statuses and not rest
        problem = "" if is_good else f"{status} instead of {statuses}, then {rest[:100]!r}"
        return {"is_good": is_good, "status": status, "problem": problem}

    def _asked(self, deed: Deed, steps: list[list[Any]]) -> Answer | None:
        self.wire().send(_with_steps(deed, steps))
        return self._answer()

    def _answer(self) -> Answer | None:
        answer = self.wire().answer()
        if answer is None or not answer.is_whole or answer.header("connection") == "close":
            self.close()
        return answer

    def _leave_after(self, seconds: float) -> dict[str, Any]:
        time.sleep(seconds)
        self.close()
        return {"is_good": True}


def _headers() -> list[tuple[str, str]]:
    return [("Host", "yard"), JSON]


def _body(deed: Deed, padding: str = "") -> bytes:
    fields: dict[str, object] = {"model": deed.model, "number": deed.number}
    return json.dumps({**fields, "padding": padding} if padding else fields).encode()


def _with_steps(deed: Deed, steps: list[list[Any]]) -> bytes:
    headers = [*_headers(), ("x-steps", json.dumps(steps))]
    return request("POST /v1/chat/completions", _body(deed), headers)


def _left_over(rest: bytes) -> str:
    return f"something without a beginning: {rest[:100]!r}" if rest else ""


def _failure(answer: Answer | None, beginning: bytes = b"") -> dict[str, Any]:
    """What is told by an answer that is not the one that was asked for."""
    if answer is None:
        return {"is_good": False, "problem": "closed without an answer"}
    if answer.is_whole:
        return {
            "is_good": False,
            "status": answer.status,
            "code": answer.error_code,
            "problem": "" if answer.error_code else f"{answer}"[:300],
        }
    if beginning.startswith(answer.body):
        return {"is_good": False, "status": answer.status, "is_cut": True}
    # A stream that was cut tells why in its last event.
    said, _, last = answer.body.rstrip(b"\n").rpartition(b"data: ")
    code = error_code(last)
    is_honest = code is not None and beginning.startswith(said.rstrip(b"\n"))
    problem = "" if is_honest else f"cut, and not what was said: {answer.body[-200:]!r}"
    return {
        "is_good": False,
        "status": answer.status,
        "code": code,
        "is_cut": True,
        "problem": problem,
    }


_ACTS: dict[Act, Callable[[Client, Deed], dict[str, Any]]] = {
    Act.CHAT: Client.chat,
    Act.STREAM: Client.stream,
    Act.BIG_REQUEST: Client.big_request,
    Act.SLOW_UPLOAD: Client.slow_upload,
    Act.SLOW_READER: Client.slow_reader,
    Act.LEAVES_WAITING: Client.leaves_waiting,
    Act.LEAVES_IN_STREAM: Client.leaves_in_stream,
    Act.HANGING_STREAM: Client.hanging_stream,
    Act.HALF_CLOSES: Client.half_closes,
    Act.BAD_BODY: Client.bad_body,
    Act.GARBAGE: Client.garbage,
    Act.LOOKS: Client.looks,
}
