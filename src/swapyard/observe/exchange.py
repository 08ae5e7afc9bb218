"""One request with its reply while it happens: what the relay notes down as it goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from swapyard.observe.cut import CONTENT_TYPE_CHARACTERS, cut
from swapyard.observe.parts import Parts

if TYPE_CHECKING:
    from swapyard.observe.reply import ReplyReader

Headers = Sequence[tuple[bytes, bytes]]

SEGMENT_BYTES = 32 * 1024
"""Body bytes that gather before they are handed to the observing thread."""

CHUNK_BYTES = 48
"""What a chunk that waits holds in memory besides its bytes (CPython: the object's head and its place)."""

_LOOK_BYTES = 2048
"""How far into a chunk the first token is looked for."""

# A delta that is not empty, in the spellings of OpenAI (chat, completions, responses),
# Anthropic and llama.cpp.
_CONTENT = re.compile(
    rb'"(?:content|text|delta|reasoning_content|reasoning|thinking|partial_json|arguments|refusal)"\s*:\s*"[^"]'
)


class Phase(StrEnum):
    """How far a request under way has come.

    Its body is read, it is queued, its model loads for it, an upstream has it.
    """

    RECEIVING = "receiving"
    QUEUED = "queued"
    LOADING = "loading"
    RELAYING = "relaying"


Waits = Callable[[], tuple[Phase, str]]
"""Asked while a request waits: what it waits for, and why in words."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an exchange tells its recorder; none of these may block or raise."""

    clock: Callable[[], float]
    moved: Callable[[Exchange], None]
    hand_over: Callable[[Exchange], None]
    keep_request_body: Callable[[Exchange, bytes], None]


class Exchange:
    """Made by `Recorder.begin`, given back with `Recorder.end`; written to on the event loop only.

    Times without `_at` are seconds on the monotonic clock, None until they happen.  Whoever
    knows a fact sets the attribute: the dispatcher `load_started`, `granted`, `waiting`;
    the relay `asked`, `answered`, `body`, `inserted`.
    """

    __slots__ = (
        "arrived",
        "arrived_at",
        "cancel",
        "chunks",
        "chunks_bytes",
        "content_encoding",
        "content_type",
        "ended",
        "ended_at",
        "error",
        "final_status",
        "first_byte",
        "first_token",
        "granted",
        "has_gap",
        "hooks",
        "id",
        "key",
        "load_started",
        "look_for_token",
        "metadata",
        "metered",
        "method",
        "model",
        "parts",
        "path",
        "reader",
        "received",
        "recorded_path",
        "remote_ip",
        "request_body",
        "request_body_lost",
        "request_headers",
        "request_id",
        "requested",
        "response_bytes",
        "response_headers",
        "status",
        "upstream_asked",
        "wait_reason",
        "waits",
    )

    def __init__(
        self,
        *,
        exchange_id: int,
        request_id: str,
        method: str,
        path: str,
        recorded_path: str,
        model: str,
        requested: str,
        headers: Headers,
        remote_ip: str,
        key: str,
        metered: bool,
        parts: Parts,
        arrived: float,
        arrived_at: float,
        hooks: Hooks,
    ) -> None:
        self.id = exchange_id
        self.request_id = request_id
        self.method = method
        self.path = path
        self.recorded_path = recorded_path
        self.model = model
        self.requested = requested
        self.request_headers = headers
        self.remote_ip = remote_ip
        self.key = key
        self.metered = metered
        self.parts = parts
        self.arrived = arrived
        self.arrived_at = arrived_at
        self.hooks = hooks
        self.metadata: dict[str, str] = {}
        # Why the request had to wait, in the scheduler's words; "" if it did not.
        self.wait_reason = ""
        # None unless the request has had to wait; out of date once it is granted.
        self.waits: Waits | None = None
        # Ends this request on behalf of an operator; None while nothing can be ended.
        self.cancel: Callable[[], None] | None = None
        # The model is known; for those who name it in the body, the body is complete.
        self.received: float | None = None
        self.load_started: float | None = None
        self.granted: float | None = None
        self.upstream_asked: float | None = None
        self.first_byte: float | None = None
        self.first_token: float | None = None
        self.ended: float | None = None
        self.ended_at = 0.0
        # The status that went out, 0 while none did; `final_status` is the one recorded.
        self.status = 0
        self.final_status = 0
        self.error = ""
        self.request_body: bytes | None = None
        # The request had a body that was too large to hold for a capture.
        self.request_body_lost = False
        self.response_headers: Headers = ()
        self.response_bytes = 0
        self.content_type = ""
        self.content_encoding = ""
        self.look_for_token = False
        self.chunks: list[bytes] = []
        self.chunks_bytes = 0
        # Bytes were dropped before `chunks` because the observing thread could not keep up.
        self.has_gap = False
        # Belongs to the observing thread from the first chunk on.
        self.reader: ReplyReader | None = None

    def receiving(self) -> None:
        """More of the body has to come before the model is known."""
        self.hooks.moved(self)

    def identified(self, model: str, requested: str) -> None:
        """Who is to answer, and the name that the client used."""
        self.model, self.requested = model, requested
        self.received = self.hooks.clock()
        self.hooks.moved(self)

    def waiting(self, waits: Waits) -> None:
        """The request has to wait from now on; it does until `granted` is set, or it ends."""
        self.waits = waits
        _, self.wait_reason = waits()
        self.hooks.moved(self)

    @property
    def is_waiting(self) -> bool:
        return self.waits is not None and self.granted is None

    @property
    def standing(self) -> tuple[Phase, str]:
        """What happens to the request now, and why it waits, "" if it does not."""
        if self.received is None:
            return Phase.RECEIVING, ""
        if self.waits is None or self.granted is not None:
            return Phase.RELAYING, ""
        return self.waits()

    def asked(self, body: bytes | None = None) -> None:
        """The request goes out to the upstream now, with this body (after filters) if it has one."""
        self.upstream_asked = self.hooks.clock()
        if body and self.metered and self.parts.has(Parts.REQUEST_BODY):
            self.hooks.keep_request_body(self, body)

    def answered(self, status: int, headers: Headers) -> None:
        """This status and these headers, their names in lower case, go out to the client now."""
        self.status = status
        self.response_headers = headers
        fields = dict(reversed(headers))  # the first of each name counts
        self.content_type = cut(fields.get(b"content-type", b"").decode("latin-1"), CONTENT_TYPE_CHARACTERS)
        self.content_encoding = fields.get(b"content-encoding", b"").decode("latin-1")
        # The text of an encoded stream cannot be seen in passing.
        self.look_for_token = not self.content_encoding and "text/event-stream" in self.content_type
        self.hooks.moved(self)

    def body(self, chunk: bytes) -> None:
        """Bytes of the upstream's reply go out to the client now.

        `chunk` must not change afterwards: it is looked at later, in another thread.
        """
        if self.first_byte is None:
            self.first_byte = self.hooks.clock()
        if self.look_for_token and _CONTENT.search(chunk, 0, _LOOK_BYTES):
            self.first_token = self.hooks.clock()
            self.look_for_token = False
        self.inserted(chunk)

    def inserted(self, chunk: bytes) -> None:
        """Bytes of swapyard's own (loading text, an error event) go out within the reply."""
        size = len(chunk)
        self.response_bytes += size
        if self.metered:
            self.chunks.append(chunk)
            self.chunks_bytes += size + CHUNK_BYTES
            if self.chunks_bytes >= SEGMENT_BYTES:
                self.hooks.hand_over(self)

    def head_bytes(self) -> int:
        """What the headers of request and answer hold in memory, about."""
        size_bytes = 0
        for name, value in self.request_headers:
            size_bytes += len(name) + len(value)
        for name, value in self.response_headers:
            size_bytes += len(name) + len(value)
        return size_bytes
