"""The front door: who gets which request, and what is logged of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.errors import RequestError
from swapyard.web import asgi
from swapyard.web.front import Front
from swapyard.web.messages import Handler, Reply, Request

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[Handler], AbstractAsyncContextManager[int]]
Raw = Callable[[int, bytes], Coroutine[Any, Any, bytes]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]


def naming(name: bytes) -> asgi.App:
    async def app(scope: Any, _: asgi.Receive, send: asgi.Send) -> None:
        body = b"%b %b%b" % (name, scope["method"].encode(), b" of head" if scope.get("head") else b"")
        headers = [(b"content-length", b"%d" % len(body)), (b"x-who", body)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def data(request: Request, reply: Reply) -> None:
    who = b"data %b" % request.method.encode()
    reply.start(200, [(b"content-length", b"%d" % len(who)), (b"x-who", who)], who, last=True)


def door() -> Front:
    return Front(lambda request: data if request.path == "/data" else None, asgi.handler(naming(b"control")))


def test_each_plane_gets_its_requests_and_head_reaches_the_control_plane_as_get(
    run: Run, serving: Serving, ask: Ask
) -> None:
    async def main() -> None:
        async with serving(door()) as port:
            assert (await ask(port, "HEAD /data"))[1]["x-who"] == "data HEAD"
            assert (await ask(port, "GET /other"))[1]["x-who"] == "control GET"
            status, headers, body = await ask(port, "HEAD /other")
            assert (status, headers["x-who"], body) == (200, "control GET of head", b"")

    run(main())


@pytest.mark.parametrize("path", ["/data", "/other", "/no/such//path", "*"])
def test_options_is_answered_before_anything_else(run: Run, serving: Serving, ask: Ask, path: str) -> None:
    async def main() -> None:
        async with serving(door()) as port:
            status, headers, _ = await ask(
                port, f"OPTIONS {path}", {"Access-Control-Request-Headers": "x-one, x two"}
            )
            assert status == 204 and headers["access-control-allow-headers"] == "x-one"

    run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"transfer-encoding: chunked\r\n\r\nnonsense\r\n", b"400"),
        (b"content-length: 9000000\r\n\r\n" + bytes(9_000_000), b"413"),
    ],
    ids=["malformed", "too long"],
)
def test_a_body_that_the_control_plane_cannot_read_is_refused_whatever_its_framework_makes_of_it(
    run: Run, serving: Serving, raw: Raw, body: bytes, status: bytes
) -> None:
    async def reading(_: Any, receive: asgi.Receive, send: asgi.Send) -> None:
        try:
            await receive()
        except RequestError:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"the framework's own idea"})

    async def main() -> None:
        async with serving(Front(lambda _: None, asgi.handler(reading))) as port:
            sent = await raw(port, b"POST /other HTTP/1.1\r\nhost: a\r\n" + body)
            assert sent.startswith(b"HTTP/1.1 " + status) and b"framework" not in sent

    run(main())
