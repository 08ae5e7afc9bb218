"""Everything that can go wrong, sorted by who is at fault; facts as fields, no HTTP in here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# Controls, and what Python makes of bytes of a file's name that are no UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _spelled(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class SwapyardError(Exception):
    """Base of every error that this program raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: where, and which rule it breaks.

    `line` counts from 1; 0 when the problem has no single line.  `path` is the
    dotted key path, empty for a problem of the file as a whole.
    """

    file: str
    line: int
    path: str
    rule: str

    def __str__(self) -> str:
        """One line, whatever stands in the file and however it is named."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(part for part in (where, self.path, self.rule) if part)
        return text if text.isprintable() else _UNPRINTABLE.sub(_spelled, text)


class ConfigError(SwapyardError):
    """The operator's configuration cannot be used; every problem found is listed."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ClientDisconnected(SwapyardError):  # noqa: N818 - a fact about the client, not a failure of ours
    """The client closed its connection before its request was answered."""


class Fault(StrEnum):
    """Why a request is not served.  `web/errors.py` turns each into a status and a code."""

    # The caller
    BAD_REQUEST = "bad_request"
    INVALID_REQUEST = "invalid_request"
    UNAUTHORIZED = "unauthorized"
    # The same for our own page, which asks for the key in a form of its own
    UNAUTHORIZED_PAGE = "unauthorized_page"
    FORBIDDEN = "forbidden"
    NO_MODEL = "no_model"
    UNKNOWN_MODEL = "unknown_model"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    REQUEST_TIMEOUT = "request_timeout"
    TOO_LARGE = "too_large"
    HEAD_TOO_LARGE = "head_too_large"
    # The yard
    CONCURRENCY_LIMIT = "concurrency_limit"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    MODEL_UNLOADED = "model_unloaded"
    SHUTTING_DOWN = "shutting_down"
    # This machine or our limits on it: descriptors, memory, ports
    EXHAUSTED = "exhausted"
    CANCELLED = "cancelled"
    NO_TARGET = "no_target"
    INTERNAL = "internal"
    NO_SPACE = "no_space"
    # The model
    LOAD_FAILED = "load_failed"
    BACKING_OFF = "backing_off"
    NOT_READY = "not_ready"
    # The upstream
    BAD_GATEWAY = "bad_gateway"
    GATEWAY_TIMEOUT = "gateway_timeout"


class RequestError(SwapyardError):
    """A request that ends without an upstream's answer.

    `message` is for the client.  `retry_after` is in seconds, None when trying
    again is no use or the time is unknown.
    """

    def __init__(self, fault: Fault, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.retry_after = retry_after


class UpstreamError(RequestError):
    """An upstream that could not be reached, or that broke off before or within its answer."""


class UpstreamGoneError(UpstreamError):
    """Nobody answers there: no connection, or it ended before the answer did.

    Whoever holds a lease on a process of ours learns from it whether that process has ended.
    """
