"""Whether the program lives, what it is, the keys in front of it, and paths that lead nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.app.program import Program

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]
Raw = Callable[[int, bytes], Coroutine[Any, Any, bytes]]

MODEL = "models: {m1: {cmd: '@MODEL@'}, org/m2: {cmd: '@MODEL@'}}"
KEYS = f"apiKeys: [k1, 'k:2']\n{MODEL}"
TEXT = "text/plain; charset=utf-8"


def test_the_program_says_that_it_lives_and_what_it_is(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(MODEL) as (port, _):
            for path in ("/health", "/wol-health", "/api/live", "/api/ready"):
                status, headers, body = await ask(port, f"GET {path}")
                assert (status, headers["content-type"], body) == (200, TEXT, b"OK")
            _, _, body = await ask(port, "GET /api/version")
            assert json.loads(body) == {"version": "0", "commit": "unknown", "build_date": "unknown"}

    run(main())


def test_it_is_not_ready_any_more_once_it_shuts_down(
    run: Run, yard: Yard, read_answer: Any, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(MODEL) as (port, program):
            # Connections that are busy outlive the listening socket; this one is pipelined behind a request.
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            program.dispatcher.refuse_everybody()
            writer.write(b"GET /api/ready HTTP/1.1\r\nhost: a\r\n\r\n")
            status, _, body = await read_answer(reader)
            assert (status, body) == (503, b"shutting down")
            writer.transport.abort()

    run(main())


# http-api.md §15.4
PATHS = [
    ("GET //v1/models", 307, "/v1/models"),
    ("GET /v1/../health?x=1", 307, "/health?x=1"),
    ("GET /v1/./models", 307, "/v1/models"),
    ("GET /v1/chat/completions", 405, None),
    ("DELETE /v1/models", 405, None),
    ("PUT /v1/audio/voices", 405, None),
    ("POST /upstream", 307, "/upstream/"),
    ("GET /upstream/", 404, None),
    ("GET /upstream", 302, "/ui/models"),
    ("GET /upstream/org%2Fm2", 301, "/upstream/org/m2/"),
    ("GET /upstream/x/m1/y", 404, None),
    ("POST /comfyui?z=1", 308, "/comfyui/?z=1"),
    ("GET /comfyui?z=1", 301, "/comfyui/?z=1"),
    ("GET /", 302, "/ui"),
    ("GET /ui", 307, "/ui/"),
    ("OPTIONS /anything", 204, None),
    ("GET /nope", 404, None),
    ("GET /logs/", 404, None),
    ("GET /v1/health", 404, None),
    ("POST /chat/completions", 404, None),
    ("GET /api/tags", 404, None),
    ("GET /slots", 404, None),
    ("GET /site.webmanifest", 404, None),
]


@pytest.mark.parametrize(("line", "status", "location"), PATHS, ids=[line for line, _, _ in PATHS])
def test_every_path_leads_where_it_should(
    run: Run, yard: Yard, ask: Ask, line: str, status: int, location: str | None
) -> None:
    async def main() -> None:
        async with yard(MODEL) as (port, _):
            got, headers, _ = await ask(port, line)
            assert (got, headers.get("location")) == (status, location)

    run(main())


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("DELETE /v1/models", "GET, HEAD"),
        ("PUT /v1/audio/voices", "GET, HEAD, POST"),
        ("GET /v1/chat/completions", "POST"),
        ("GET /api/models/unload", "POST"),
        ("POST /api/profiles", "GET, HEAD"),
        ("GET /api/profiles/active", "PUT"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones_in_plain_text(
    run: Run, yard: Yard, ask: Ask, line: str, allowed: str
) -> None:
    async def main() -> None:
        async with yard(KEYS) as (port, _):
            assert (await ask(port, line))[0] == 401
            status, headers, body = await ask(port, line, {"X-Api-Key": "k1"})
            assert (status, headers["allow"], body) == (405, allowed, b"Method Not Allowed\n")
            assert (headers["content-type"], headers["x-content-type-options"]) == (TEXT, "nosniff")

    run(main())


def test_a_path_that_nobody_has_is_plain_404(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(KEYS) as (port, _):
            status, headers, body = await ask(port, "GET /nope")
            assert (status, body) == (404, b"404 page not found\n")
            assert (headers["content-type"], headers["x-content-type-options"]) == (TEXT, "nosniff")

    run(main())


# http-api.md §15.5
OPEN = [("/", 302), ("/health", 200), ("/wol-health", 200), ("/upstream", 302), ("/nope", 404)]
CLOSED = [
    "/ui/",
    "/metrics",
    "/running",
    "/unload",
    "/logs",
    "/logs/stream",
    "/api/events",
    "/api/version",
    "/api/models",
    "/api/inflight",
    "/api/profiles",
    "/api/performance",
    "/api/hardware",
    "/api/yard",
    "/api/metrics/activity",
    "/api/metrics/stats",
    "/api/captures/1",
    "/openapi.json",
    "/v1/models",
    "/v1/models/m1",
    "/comfyui/",
    "/upstream/m1",
    "/props?model=m1",
]


def test_without_a_key_only_the_open_paths_answer(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(KEYS) as (port, _):
            for path, expected in OPEN:
                assert (path, (await ask(port, f"GET {path}"))[0]) == (path, expected)
            # Without the built pages there is no icon, but nobody is asked for a key.
            assert (await ask(port, "GET /favicon.ico"))[0] in (200, 404)
            for path in CLOSED:
                status, headers, body = await ask(port, f"GET {path}")
                assert (path, status) == (path, 401)
                assert headers["www-authenticate"] == 'Basic realm="llama-swap"'
                assert json.loads(body)["error"]["code"] == "unauthorized"
            for line in ("POST /api/models/unload", "PUT /api/profiles/active", "POST /api/config/reload"):
                assert (await ask(port, line))[0] == 401
            assert (await ask(port, "GET /running", {"x-api-key": "k1"}))[0] == 200
            assert (await ask(port, "GET /running?api_key=k1"))[0] == 401

    run(main())


def test_who_has_no_key_is_refused_before_the_body_is_read(run: Run, yard: Yard, raw: Raw) -> None:
    async def main() -> None:
        async with yard(KEYS) as (port, _):
            head = b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n"
            got = await raw(port, head)
            assert got.startswith(b"HTTP/1.1 401 ")
            # In the shape that clients of this route understand.
            assert json.loads(got.partition(b"\r\n\r\n")[2])["type"] == "error"

    run(main())


def test_pages_of_other_sites_stay_out_of_the_control_plane_but_not_of_the_list(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(MODEL) as (port, _):
            foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
            for line in ("GET /unload", "POST /api/models/unload", "GET /running", "GET /api/events"):
                status, _, body = await ask(port, line, foreign)
                assert (status, json.loads(body)["error"]["code"]) == (403, "forbidden")
            assert (await ask(port, "GET /v1/models", foreign))[0] == 200
            assert (await ask(port, "GET /health", foreign))[0] == 200
            assert (await ask(port, "GET /running", {"Origin": "http://["}))[0] == 403

    run(main())
