"""The front door: who gets which request, and what is logged of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.web.front import Front
from swapyard.web.server import App, Receive, Scope, Send

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[App], AbstractAsyncContextManager[int]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]


def naming(name: bytes) -> App:
    async def app(scope: Scope, _: Receive, send: Send) -> None:
        body = b"%b %b%b" % (name, scope["method"].encode(), b" of head" if scope.get("head") else b"")
        headers = [(b"content-length", b"%d" % len(body)), (b"x-who", body)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


class Logged:
    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int]] = []

    def __call__(self, scope: Scope, seconds: float) -> None:
        assert seconds >= 0
        self.lines.append((scope["path"], scope["link"].status, scope["link"].body_bytes))


def door(logged: Logged) -> Front:
    data = naming(b"data")
    return Front(lambda scope: data if scope["path"] == "/data" else None, naming(b"control"), logged)


def test_each_plane_gets_its_requests_and_head_reaches_the_control_plane_as_get(
    run: Run, serving: Serving, ask: Ask
) -> None:
    async def main() -> None:
        async with serving(door(Logged())) as port:
            assert (await ask(port, "HEAD /data"))[1]["x-who"] == "data HEAD"
            assert (await ask(port, "GET /other"))[1]["x-who"] == "control GET"
            status, headers, body = await ask(port, "HEAD /other")
            assert (status, headers["x-who"], body) == (200, "control GET of head", b"")

    run(main())


@pytest.mark.parametrize("path", ["/data", "/other", "/no/such//path", "*"])
def test_options_is_answered_before_anything_else(run: Run, serving: Serving, ask: Ask, path: str) -> None:
    async def main() -> None:
        async with serving(door(Logged())) as port:
            status, headers, _ = await ask(
                port, f"OPTIONS {path}", {"Access-Control-Request-Headers": "x-one, x two"}
            )
            assert status == 204 and headers["access-control-allow-headers"] == "x-one"

    run(main())


def test_every_request_is_logged_with_what_went_out_except_those_polled_all_day(
    run: Run, serving: Serving, ask: Ask
) -> None:
    async def main() -> None:
        logged = Logged()
        async with serving(door(logged)) as port:
            for path in ("/data", "/wol-health", "/api/performance", "/metrics", "/other"):
                await ask(port, f"GET {path}")
            await ask(port, "HEAD /other")
        assert logged.lines == [("/data", 200, 8), ("/other", 200, 11), ("/other", 200, 0)]

    run(main())
