"""From faults to HTTP: statuses, the envelope, and which client gets which shape."""

from __future__ import annotations

import json

import pytest

from swapyard.errors import Fault, RequestError
from swapyard.web import errors

# Source: the specification, http-api.md §1.6, §14 and routing.md §13.
EXPECTED = {
    Fault.BAD_REQUEST: (400, "invalid_request_error", "bad_request"),
    Fault.INVALID_REQUEST: (400, "invalid_request_error", "invalid_request"),
    Fault.UNAUTHORIZED: (401, "authentication_error", "unauthorized"),
    Fault.UNAUTHORIZED_PAGE: (401, "authentication_error", "unauthorized"),
    Fault.FORBIDDEN: (403, "authentication_error", "forbidden"),
    Fault.NO_MODEL: (404, "invalid_request_error", "not_found"),
    Fault.UNKNOWN_MODEL: (404, "invalid_request_error", "not_found"),
    Fault.NOT_FOUND: (404, "invalid_request_error", "not_found"),
    Fault.CONFLICT: (409, "invalid_request_error", "conflict"),
    Fault.TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    Fault.CONCURRENCY_LIMIT: (429, "rate_limit_error", "concurrency_limit"),
    Fault.QUEUE_FULL: (429, "rate_limit_error", "queue_full"),
    Fault.QUEUE_TIMEOUT: (503, "server_error", "queue_timeout"),
    Fault.MODEL_UNLOADED: (503, "server_error", "model_unloaded"),
    Fault.SHUTTING_DOWN: (503, "server_error", "shutting_down"),
    Fault.CANCELLED: (503, "server_error", "cancelled"),
    Fault.NO_TARGET: (503, "server_error", "service_unavailable"),
    Fault.INTERNAL: (500, "server_error", "internal_error"),
    Fault.LOAD_FAILED: (502, "server_error", "load_failed"),
    Fault.BACKING_OFF: (503, "server_error", "backing_off"),
    Fault.NOT_READY: (503, "server_error", "service_unavailable"),
    Fault.BAD_GATEWAY: (502, "server_error", "bad_gateway"),
    Fault.GATEWAY_TIMEOUT: (504, "server_error", "gateway_timeout"),
}

# Source: Anthropic API reference, "Errors".
ANTHROPIC = {
    Fault.BAD_REQUEST: "invalid_request_error",
    Fault.UNAUTHORIZED: "authentication_error",
    Fault.FORBIDDEN: "permission_error",
    Fault.UNKNOWN_MODEL: "not_found_error",
    Fault.TOO_LARGE: "request_too_large",
    Fault.CONCURRENCY_LIMIT: "rate_limit_error",
    Fault.LOAD_FAILED: "api_error",
    Fault.QUEUE_TIMEOUT: "overloaded_error",
    Fault.GATEWAY_TIMEOUT: "timeout_error",
}


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_its_status_type_and_code(fault: Fault) -> None:
    status, headers, body = errors.render(RequestError(fault, "why"), "")
    kind, code = EXPECTED[fault][1:]
    assert status == EXPECTED[fault][0]
    assert json.loads(body) == {
        "src": "llama-swap",
        "error": {"message": "why", "type": kind, "param": None, "code": code},
    }
    assert dict(headers)[b"content-type"] == b"application/json"
    assert dict(headers)[b"content-length"] == b"%d" % len(body)


@pytest.mark.parametrize(("fault", "kind"), ANTHROPIC.items())
def test_anthropic_clients_find_their_shape_around_the_same_error(fault: Fault, kind: str) -> None:
    body = json.loads(errors.render(RequestError(fault, "why"), "", anthropic=True)[2])
    assert body["type"] == "error"
    assert body["error"]["type"] == kind and body["error"]["message"] == "why"
    assert body["error"]["code"] == EXPECTED[fault][2]


@pytest.mark.parametrize(
    ("accept", "media", "body"),
    [
        ("text/plain", b"text/plain", b"llama-swap: a <b>"),
        ("text/html;q=1, text/plain", b"text/plain", b"llama-swap: a <b>"),
        (
            "text/html,*/*",
            b"text/html",
            b"<html><body><h1>llama-swap</h1><p>a &lt;b&gt;</p></body></html>",
        ),
    ],
)
def test_text_and_html_are_for_those_who_ask(accept: str, media: bytes, body: bytes) -> None:
    _, headers, rendered = errors.render(RequestError(Fault.CONFLICT, "a <b>"), accept)
    assert (dict(headers)[b"content-type"], rendered) == (media, body)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "TEXT/PLAIN"])
def test_everybody_else_gets_json(accept: str) -> None:
    _, headers, _ = errors.render(RequestError(Fault.CONFLICT, "x"), accept)
    assert dict(headers)[b"content-type"] == b"application/json"


@pytest.mark.parametrize("fault", [Fault.CONCURRENCY_LIMIT, Fault.QUEUE_FULL])
def test_too_many_requests_is_json_whatever_is_accepted(fault: Fault) -> None:
    _, headers, _ = errors.render(RequestError(fault, "x", retry_after=1), "text/plain, text/html")
    assert dict(headers)[b"content-type"] == b"application/json"


@pytest.mark.parametrize(("seconds", "header"), [(1, b"1"), (0.2, b"1"), (2.1, b"3"), (5.0, b"5")])
def test_retry_after_is_in_whole_seconds_and_never_zero(seconds: float, header: bytes) -> None:
    _, headers, _ = errors.render(RequestError(Fault.QUEUE_FULL, "x", retry_after=seconds), "")
    assert dict(headers)[b"retry-after"] == header


def test_without_a_known_time_there_is_no_retry_after() -> None:
    assert b"retry-after" not in dict(errors.render(RequestError(Fault.CONFLICT, "x"), "")[1])


def test_a_browser_is_asked_for_a_password() -> None:
    _, headers, _ = errors.render(RequestError(Fault.UNAUTHORIZED, "x"), "")
    assert dict(headers)[b"www-authenticate"] == b'Basic realm="llama-swap"'


def test_our_own_page_is_not_asked_by_the_browser() -> None:
    _, headers, _ = errors.render(RequestError(Fault.UNAUTHORIZED_PAGE, "x"), "")
    assert dict(headers)[b"www-authenticate"] == b'Bearer realm="llama-swap"'


@pytest.mark.parametrize("accept", ["", "text/plain", "text/html"])
def test_a_message_with_half_a_surrogate_pair_can_be_sent(accept: str) -> None:
    assert b"?" in errors.render(RequestError(Fault.NOT_FOUND, "no \ud800"), accept)[2]
