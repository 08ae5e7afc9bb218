"""The one table from faults to HTTP: status, type and code, and the body each client expects."""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass
from typing import Any

from swapyard.errors import Fault, RequestError
from swapyard.web.messages import Headers, Reply

SOURCE = "llama-swap"
"""`src` of the envelope: clients tell our errors from an upstream's by this word, the original's."""


@dataclass(frozen=True, slots=True)
class Meaning:
    status: int
    code: str


MEANINGS: dict[Fault, Meaning] = {
    Fault.BAD_REQUEST: Meaning(400, "bad_request"),
    Fault.INVALID_REQUEST: Meaning(400, "invalid_request"),
    Fault.UNAUTHORIZED: Meaning(401, "unauthorized"),
    Fault.UNAUTHORIZED_PAGE: Meaning(401, "unauthorized"),
    Fault.FORBIDDEN: Meaning(403, "forbidden"),
    Fault.NO_MODEL: Meaning(404, "not_found"),
    Fault.UNKNOWN_MODEL: Meaning(404, "not_found"),
    Fault.NOT_FOUND: Meaning(404, "not_found"),
    Fault.REQUEST_TIMEOUT: Meaning(408, "request_timeout"),
    Fault.CONFLICT: Meaning(409, "conflict"),
    Fault.TOO_LARGE: Meaning(413, "request_too_large"),
    Fault.HEAD_TOO_LARGE: Meaning(431, "header_too_large"),
    Fault.CONCURRENCY_LIMIT: Meaning(429, "concurrency_limit"),
    Fault.QUEUE_FULL: Meaning(429, "queue_full"),
    Fault.INTERNAL: Meaning(500, "internal_error"),
    Fault.LOAD_FAILED: Meaning(502, "load_failed"),
    Fault.BAD_GATEWAY: Meaning(502, "bad_gateway"),
    Fault.QUEUE_TIMEOUT: Meaning(503, "queue_timeout"),
    Fault.MODEL_UNLOADED: Meaning(503, "model_unloaded"),
    Fault.SHUTTING_DOWN: Meaning(503, "shutting_down"),
    Fault.EXHAUSTED: Meaning(503, "resources_exhausted"),
    Fault.CANCELLED: Meaning(503, "cancelled"),
    Fault.NO_TARGET: Meaning(503, "service_unavailable"),
    Fault.BACKING_OFF: Meaning(503, "backing_off"),
    Fault.NOT_READY: Meaning(503, "service_unavailable"),
    Fault.GATEWAY_TIMEOUT: Meaning(504, "gateway_timeout"),
    Fault.NO_SPACE: Meaning(507, "insufficient_storage"),
}

OPENAI_TYPES = {401: "authentication_error", 403: "authentication_error", 429: "rate_limit_error"}

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Source: Anthropic API reference, "Errors"; other statuses are api_error."""


INTERNAL_ERROR = RequestError(Fault.INTERNAL, "internal error; the log has the details")


def status_of(error: RequestError) -> int:
    return MEANINGS[error.fault].status


def envelope(error: RequestError, *, anthropic: bool = False) -> dict[str, Any]:
    """The JSON error body: OpenAI's shape, or one that is Anthropic's as well (`type` beside `error`)."""
    meaning = MEANINGS[error.fault]
    fallback = "server_error" if meaning.status >= 500 else "invalid_request_error"
    kind = OPENAI_TYPES.get(meaning.status, fallback)
    if anthropic:
        kind = ANTHROPIC_TYPES.get(meaning.status, "api_error")
    body = {"message": error.message, "type": kind, "param": None, "code": meaning.code}
    return {"src": SOURCE, **({"type": "error"} if anthropic else {}), "error": body}


def envelope_bytes(error: RequestError, *, anthropic: bool = False) -> bytes:
    text = json.dumps(envelope(error, anthropic=anthropic), ensure_ascii=False, separators=(",", ":"))
    # A message may repeat what a client wrote, and JSON can write half of a surrogate pair.
    return text.encode("utf-8", "replace")


def render(error: RequestError, accept: str, *, anthropic: bool = False) -> tuple[int, Headers, bytes]:
    """(status, headers, body) by what the raw Accept header contains, text before HTML before JSON.

    Refusals for too many requests are always JSON: clients look into them to decide when to try again.
    """
    status = status_of(error)
    if status != 429 and "text/plain" in accept:
        media, body = b"text/plain", f"llama-swap: {error.message}".encode("utf-8", "replace")
    elif status != 429 and "text/html" in accept:
        page = f"<html><body><h1>llama-swap</h1><p>{html.escape(error.message)}</p></body></html>"
        media, body = b"text/html", page.encode("utf-8", "replace")
    else:
        media, body = b"application/json", envelope_bytes(error, anthropic=anthropic)
    headers = [(b"content-type", media), (b"content-length", b"%d" % len(body))]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    if status == 401:
        # At "Basic" browsers ask for a password, above and before whatever the page shows.
        scheme = b"Bearer" if error.fault is Fault.UNAUTHORIZED_PAGE else b"Basic"
        headers.append((b"www-authenticate", scheme + b' realm="llama-swap"'))
    return status, headers, body


def refuse(reply: Reply, error: RequestError, accept: str, *, anthropic: bool = False) -> None:
    """Answer with the error."""
    status, headers, body = render(error, accept, anthropic=anthropic)
    reply.start(status, headers, body, last=True)


def answer_plainly(reply: Reply, status: int, text: str, headers: Headers | None = None) -> None:
    """The router's own answers (404, 405): plain text, not negotiated."""
    body = text.encode()
    head = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"%d" % len(body)),
        *(headers or []),
    ]
    reply.start(status, head, body, last=True)


def redirect(reply: Reply, status: int, location: str) -> None:
    headers = [(b"location", location.encode("latin-1", "replace")), (b"content-length", b"0")]
    reply.start(status, headers, last=True)
