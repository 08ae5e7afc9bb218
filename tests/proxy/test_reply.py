"""The answer on its way out: refusals in every stage an answer can be in."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.errors import Fault, RequestError
from swapyard.proxy.reply import ModelReply
from swapyard.web.server import Handler, Reply, Request

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[Handler], AbstractAsyncContextManager[int]]
Raw = Callable[[int, bytes], Coroutine[Any, Any, bytes]]
Act = Callable[[ModelReply], Awaitable[None]]

ERROR = RequestError(Fault.LOAD_FAILED, "it would not start")
EVENTS = [(b"content-type", b"text/event-stream")]


def acting(act: Act) -> Handler:
    async def handler(request: Request, reply: Reply) -> None:
        await act(ModelReply(request, reply))

    return handler


def request(path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n".encode()


def answer_to(
    run: Run, serving: Serving, raw: Raw, act: Act, path: str = "/v1/chat/completions", headers: str = ""
) -> tuple[bytes, bytes]:
    """(head, body as it is on the wire) of what the client gets."""
    got: list[bytes] = []

    async def main() -> None:
        async with serving(acting(act)) as port:
            got.append(await raw(port, request(path, headers)))

    run(main())
    head, _, body = got[0].partition(b"\r\n\r\n")
    return head, body


def test_nothing_sent_yet_a_refusal_is_status_and_body(run: Run, serving: Serving, raw: Raw) -> None:
    async def act(reply: ModelReply) -> None:
        await reply.refuse(ERROR)

    head, body = answer_to(run, serving, raw, act)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert json.loads(body)["error"]["message"] == "it would not start"
    head, body = answer_to(run, serving, raw, act, headers="accept: text/plain\r\n")
    assert body == b"llama-swap: it would not start"


@pytest.mark.parametrize(
    ("path", "anthropic"),
    [
        ("/v1/messages", True),
        ("/v1/messages/count_tokens", True),
        ("/v/messages", True),
        ("/upstream/m/v1/messages", True),
        ("/upstream/my/messages/model/v1/chat/completions", False),
        ("/v1/chat/completions", False),
    ],
)
def test_anthropics_routes_get_anthropics_errors(
    run: Run, serving: Serving, raw: Raw, path: str, anthropic: bool
) -> None:
    async def act(reply: ModelReply) -> None:
        await reply.refuse(ERROR)

    _, body = answer_to(run, serving, raw, act, path)
    assert (json.loads(body).get("type") == "error") is anthropic


def chunks(body: bytes) -> tuple[bytes, bool]:
    """The text of a chunked body, and whether it ends properly."""
    text, rest = b"", body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            return text, rest == b"\r\n"
        text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return text, False


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/v1/chat/completions", b'data: {"src":"llama-swap"', b"data: [DONE]\n\n"),
        ("/v1/messages", b'event: error\ndata: {"src":"llama-swap","type":"error"', b"}\n\n"),
    ],
)
def test_a_stream_of_our_own_ends_properly_with_an_error_event(
    run: Run, serving: Serving, raw: Raw, path: str, before: bytes, after: bytes
) -> None:
    async def act(reply: ModelReply) -> None:
        await reply.begin_stream()
        await reply.insert(b": wait\n\n")
        await reply.refuse(ERROR)

    head, body = answer_to(run, serving, raw, act, path)
    text, is_complete = chunks(body)
    assert head.startswith(b"HTTP/1.1 200 ") and b"content-type: text/event-stream" in head
    assert is_complete and text.startswith(b": wait\n\n" + before) and text.endswith(after)
    assert b"[DONE]" not in text or path != "/v1/messages"


@pytest.mark.parametrize(
    ("written", "gap"),
    [
        (b"data: 1\n\n", b""),
        (b"data: 1\r\n\r\n", b""),
        (b"data: 1\n", b"\n"),
        (b'data: {"half', b"\n\n"),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("ours", [False, True])
def test_an_upstreams_stream_gets_an_error_event_of_its_own_and_is_cut(
    run: Run, serving: Serving, raw: Raw, written: bytes, gap: bytes, ours: bool
) -> None:
    async def act(reply: ModelReply) -> None:
        await (reply.begin_stream() if ours else reply.start(200, EVENTS))
        await reply.write(written)
        await reply.refuse(ERROR)

    _, body = answer_to(run, serving, raw, act)
    text, is_complete = chunks(body)
    assert text.startswith(written + gap + b'data: {"src":') and text.endswith(
        b"}\n\n" if written else b"\n\n"
    )
    # Only a stream to which the upstream has said nothing yet is ours to complete.
    assert is_complete is (ours and not written)


def test_any_other_answer_is_cut_without_a_word(run: Run, serving: Serving, raw: Raw) -> None:
    async def act(reply: ModelReply) -> None:
        await reply.start(200, [(b"content-type", b"application/json")])
        await reply.write(b'{"half')
        await reply.refuse(ERROR)

    assert chunks(answer_to(run, serving, raw, act)[1]) == (b'{"half', False)


def test_a_refusal_that_comes_too_late_changes_nothing(run: Run, serving: Serving, raw: Raw) -> None:
    async def act(reply: ModelReply) -> None:
        await reply.start(200, EVENTS)
        await reply.write(b"data: 1\n\n", last=True)
        await reply.refuse(ERROR)

    assert chunks(answer_to(run, serving, raw, act)[1]) == (b"data: 1\n\n", True)


def test_a_redirect_keeps_bytes_that_are_no_ascii(run: Run, serving: Serving, raw: Raw) -> None:
    async def act(reply: ModelReply) -> None:
        reply.redirect(301, "/upstream/caf%C3%A9/?q=\xe9")

    head, body = answer_to(run, serving, raw, act)
    assert b"location: /upstream/caf%C3%A9/?q=\xe9" in head and body == b""


def test_an_event_holds_every_line_of_a_text(run: Run, serving: Serving, raw: Raw) -> None:
    async def act(reply: ModelReply) -> None:
        await reply.begin_stream()
        await reply.write(reply.event(b'{\n"a": 1\r\n}') + reply.end_mark, last=True)

    text, is_complete = chunks(answer_to(run, serving, raw, act)[1])
    assert is_complete and text == b'data: {\ndata: "a": 1\ndata: }\n\ndata: [DONE]\n\n'
