"""Reads one reply as it passes: undoes its coding, finds its usage, keeps what a capture may keep."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from swapyard.observe.allowance import Allowance
from swapyard.observe.bounded import BoundedText
from swapyard.observe.decoding import DecodingError, decoder_for, memory_of
from swapyard.observe.sse_usage import StreamUsage
from swapyard.observe.tokens import NOTHING, Tokens
from swapyard.observe.usage import tokens_of_json, tokens_of_report

ERROR_LIMIT_BYTES = 500


class Reading(msgspec.Struct, frozen=True):
    """What was read out of a reply; `error` is "" for one that needs no explanation.

    `body` is the decoded body if all of it could be kept, else None.  `undecoded`: the body is
    not what its Content-Encoding says.  `lacked_room`: the body was not kept because too many others are.
    """

    tokens: Tokens
    error: str
    body: bytes | None
    undecoded: bool
    lacked_room: bool = False


class ReplyReader:
    """Feed it a reply's bytes in order, then `finish` it, and `close` it whatever happens.

    Memory is bounded whatever comes: `bodies` and `decoders` count what all readers keep and what their
    decoders hold.  What a finished reader kept (`kept_bytes`) is for the caller to give back.

    `status`, `content_type` and `content_encoding` are those that went out to the client,
    `path` is the recorded one.  Of a body longer than `keep_limit_bytes` nothing is kept.
    """

    def __init__(
        self,
        *,
        status: int,
        content_type: str,
        content_encoding: str,
        path: str,
        keep_limit_bytes: int,
        bodies: Allowance,
        decoders: Allowance,
    ) -> None:
        self._status = status
        self._path = path
        self._decoder = decoder_for(content_encoding)
        self._coding = content_encoding
        self._decoders = decoders
        self._decoder_bytes = 0
        self._failure = ""
        self._stream = StreamUsage() if status == 200 and "text/event-stream" in content_type else None
        self._text = BoundedText()
        self._kept: list[bytes] | None = [] if keep_limit_bytes > 0 and status == 200 else None
        self._keep_limit_bytes = keep_limit_bytes
        self._bodies = bodies
        self._lacked_room = False
        self.kept_bytes = 0

    def feed(self, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        if self._decoder is None:
            self._take(data)
        elif not self._failure and self._may_decode(data):
            try:
                for piece in self._decoder.feed(data):
                    self._take(piece)
            except DecodingError as failure:
                self._failure = str(failure)
                self.forget_body()

    def gap(self) -> None:
        """Some bytes never came here.  A plain body can be picked up again, an encoded one cannot."""
        self.forget_body()
        if self._decoder is not None:
            self._failure = self._failure or "part of the reply was not observed"
        elif self._stream is not None:
            self._stream.gap()
        else:
            self._text.gap()

    def forget_body(self) -> None:
        """Keep nothing for a capture, now and later."""
        self._bodies.give_back(self.kept_bytes)
        self._kept, self.kept_bytes = None, 0

    def close(self) -> None:
        """Let go of the decoder."""
        self._decoder = None
        self._decoders.give_back(self._decoder_bytes)
        self._decoder_bytes = 0

    def finish(self, *, complete: bool) -> Reading:
        """The result.  `complete` says that the upstream's whole reply passed by here."""
        if self._decoder is not None and not self._failure and complete:
            try:
                self._decoder.finish()
            except DecodingError as failure:
                self._failure = str(failure)
        body = b"".join(self._kept) if self._kept is not None and not self._failure else None
        return Reading(self._tokens(), self._error(), body, bool(self._failure), self._lacked_room)

    def _may_decode(self, data: bytes) -> bool:
        """Whether there is room for the memory that this reply's coding asks for, known from its start."""
        if self._decoder_bytes or not data:
            return True
        self._decoder_bytes = memory_of(self._coding, data)
        if self._decoders.take(self._decoder_bytes):
            return True
        self._decoder_bytes = 0
        self._failure = "too many encoded replies at once"
        self.forget_body()
        return False

    def _take(self, piece: bytes) -> None:
        """Some of the decoded body."""
        if self._stream is not None:
            self._stream.feed(piece)
        else:
            self._text.feed(piece)
        if self._kept is None:
            return
        size = len(piece)
        if self.kept_bytes + size > self._keep_limit_bytes:
            self.forget_body()
        elif not self._bodies.take(size):
            self._lacked_room = True
            self.forget_body()
        else:
            self.kept_bytes += size
            self._kept.append(piece)

    def _tokens(self) -> Tokens:
        if self._status != 200 or self._failure:
            return NOTHING
        if self._stream is not None:
            return self._stream.tokens()
        text = self._text.whole()
        return tokens_of_report(self._text.report()) if text is None else tokens_of_json(text, self._path)

    def _error(self) -> str:
        if self._failure:
            what = "decompression" if self._status == 200 else "decode"
            return f"response {what} failed: {self._failure}"
        if self._status == 200:
            return ""
        return error_text(self._status, self._text.whole() or b"")


def error_text(status: int, body: bytes) -> str:
    """What a refusing reply says is wrong: its own words if it is JSON, else the status."""
    try:
        said = _said(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        said = ""
    return shortened(said) if said else _status_line(status)


def shortened(text: str) -> str:
    """At most ERROR_LIMIT_BYTES of UTF-8, and three dots where something is missing."""
    encoded = text.encode("utf-8", "replace")
    cut = "..." if len(encoded) > ERROR_LIMIT_BYTES else ""
    return encoded[:ERROR_LIMIT_BYTES].decode("utf-8", "ignore") + cut


def _said(document: object) -> str:
    if not isinstance(document, dict):
        return ""
    error = document.get("error")
    inner = error.get("message") if isinstance(error, dict) else None
    for candidate in (inner, error, document.get("message"), document.get("detail")):
        if isinstance(candidate, str) and candidate.strip():
            return candidate.strip()
    return ""


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
