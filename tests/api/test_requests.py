"""Requests under way and past: listed, ended by an operator, and what was kept of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import InflightChanged
from swapyard.types import ModelId

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

CHAT = "POST /v1/chat/completions"
JSON = {"Content-Type": "application/json"}
BODY = b'{"model":"m"}'
CONFIG = "models: {m: {cmd: '@MODEL@'}, slow: {cmd: '@MODEL@ --gate @GATE@'}}"


def config(tmp_path: Path) -> str:
    return CONFIG.replace("@GATE@", str(tmp_path / "gate"))


async def listed(port: int, ask: Ask) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await ask(port, "GET /api/inflight"))[2])["requests"]
    return found


async def rows(port: int, program: Program, ask: Ask, query: str = "") -> list[dict[str, Any]]:
    await program.observers.recorder.flushed()
    found: list[dict[str, Any]] = json.loads((await ask(port, f"GET /api/metrics/activity{query}"))[2])[
        "data"
    ]
    return found


async def begun(program: Program, asking: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """The request as a task, when it is listed as under way."""
    with program.bus.subscribe(InflightChanged) as changes:
        task = asyncio.create_task(asking)
        await changes.next()
    return task


def test_a_request_is_listed_while_it_is_under_way(run: Run, yard: Yard, ask: Ask, tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, program):
            assert await listed(port, ask) == []
            headers = {**JSON, "X-Forwarded-For": "10.0.0.7", "Authorization": "Bearer secret"}
            task = await begun(program, ask(port, CHAT, headers, b'{"model":"slow"}'))
            (row,) = await listed(port, ask)
            assert (row["model"], row["req_path"], row["method"]) == ("slow", "/v1/chat/completions", "POST")
            assert row["remote_ip"] == "10.0.0.7" and "secret" not in json.dumps(row)
            assert row["details"]["phase"] == "loading" and row["details"]["wait_reason"] == "loading"
            (tmp_path / "gate").touch()
            assert (await task)[0] == 200
            assert await listed(port, ask) == []

    run(main())


def test_an_operator_ends_a_request_that_waits_and_its_client_is_told(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    """R-29."""

    async def main() -> None:
        async with yard(config(tmp_path)) as (port, program):
            task = await begun(program, ask(port, CHAT, JSON, b'{"model":"slow"}'))
            (row,) = await listed(port, ask)
            assert (await ask(port, f"POST /api/inflight/{row['id']}/cancel"))[2] == b'{"msg":"ok"}'
            status, _, body = await task
            assert (status, json.loads(body)["error"]["code"]) == (503, "cancelled")
            assert program.dispatcher.scheduler.waiting(ModelId("slow")) == 0
            (recorded,) = await rows(port, program, ask)
            assert (recorded["resp_status_code"], recorded["error_msg"]) == (503, "cancelled by the operator")

    run(main())


def test_an_operator_ends_a_request_that_is_being_served(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, program):
            await ask(port, "POST /api/models/load/m")
            task = await begun(program, ask(port, CHAT, {**JSON, "x-do": "hang"}, BODY))
            (row,) = await listed(port, ask)
            await ask(port, f"POST /api/inflight/{row['id']}/cancel")
            assert (await task)[0] == 503
            assert json.loads((await ask(port, "GET /upstream/m/journal"))[2]) == ["left"]
            assert program.dispatcher.scheduler.in_flight(ModelId("m")) == 0

    run(main())


def test_an_operator_ends_a_stream_with_an_error_event_and_a_cut(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"{CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-do: stream-hang\r\n"
            writer.write(f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
            await reader.readuntil(b'data: {"n":0}\n\n')
            (row,) = await listed(port, ask)
            await ask(port, f"POST /api/inflight/{row['id']}/cancel")
            rest = await reader.read()
            assert b'"code":"cancelled"' in rest and not rest.endswith(b"0\r\n\r\n")
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("name", ["0", "17", "x", "1e3", "9" * 30])
def test_what_is_not_under_way_cannot_be_ended(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path, name: str
) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, _):
            status, _, body = await ask(port, f"POST /api/inflight/{name}/cancel")
            assert (status, json.loads(body)["error"]["message"]) == (404, "inflight request not found")

    run(main())


def test_the_activity_log_has_a_row_for_each_metered_request_failures_too(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, program):
            await ask(port, CHAT, JSON, BODY)
            await ask(port, CHAT, JSON, b'{"model":"nobody"}')
            await ask(port, CHAT, JSON, b"{}")
            await ask(port, "GET /props?model=m")
            found = await rows(port, program, ask)
            assert [(row["model"], row["resp_status_code"]) for row in found] == [("nobody", 404), ("m", 200)]
            assert [row["model"] for row in await rows(port, program, ask, "?model=m&limit=1")] == ["m"]
            assert (await ask(port, "GET /api/metrics/activity?limit=x"))[0] == 400
            statistics = json.loads((await ask(port, "GET /api/metrics/stats"))[2])
            assert statistics["total_requests"] == 2
            statistics = json.loads((await ask(port, "GET /api/metrics/stats?model=m"))[2])
            assert statistics["total_requests"] == 1
            both = "GET /api/metrics/stats?model=never-asked&model=m"
            assert json.loads((await ask(port, both))[2])["total_requests"] == 0

    run(main())


def test_requests_are_found_by_the_session_that_a_configured_header_names(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        text = config(tmp_path) + "\nui: {activity: {session_id: [X-Trace-ID, Authorization, X-Session-ID]}}"
        async with yard(text) as (port, program):
            await ask(port, CHAT, {**JSON, "X-Session-ID": "one", "Authorization": "Bearer secret"}, BODY)
            await ask(port, CHAT, {**JSON, "x-session-id": "one", "x-trace-id": "two"}, BODY)
            await ask(port, CHAT, JSON, BODY)
            found = await rows(port, program, ask)
            assert [row["details"]["session"] for row in found] == ["", "two", "one"]
            assert [row["id"] for row in await rows(port, program, ask, "?session=two")] == [2]
            assert [row["id"] for row in await rows(port, program, ask, "?session=one&session=two")] == [2, 1]

    run(main())


def test_a_capture_holds_both_bodies_and_no_secrets(run: Run, yard: Yard, ask: Ask, tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, program):
            await ask(port, CHAT, {**JSON, "Authorization": "Bearer secret"}, BODY)
            (row,) = await rows(port, program, ask)
            assert row["has_capture"]
            status, _, body = await ask(port, f"GET /api/captures/{row['id']}")
            found = json.loads(body)
            assert status == 200 and found["id"] == row["id"]
            assert base64.b64decode(found["req_body"]) == BODY
            assert json.loads(base64.b64decode(found["resp_body"]))["model"] == "m"
            # The model was shown it, and echoed it; the headers that we keep do not show it.
            assert "secret" not in json.dumps(found["req_headers"])

    run(main())


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/v1/audio/speech", ["req_body"]),
        ("/upstream/m/v1/audio/speech", ["req_body"]),
        ("/sdapi/v1/img2img", []),
        ("/upstream/m/v1/completions", ["req_body", "resp_body"]),
    ],
)
def test_a_capture_leaves_out_sound_and_pictures(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path, path: str, kept: list[str]
) -> None:
    async def main() -> None:
        async with yard(config(tmp_path) + "\ncaptureRedact: [X-Mine]") as (port, program):
            await ask(port, f"POST {path}", {**JSON, "X-Mine": "secret", "X-API-Key": "k"}, BODY)
            (row,) = await rows(port, program, ask)
            found = json.loads((await ask(port, f"GET /api/captures/{row['id']}"))[2])
            assert [part for part in ("req_body", "resp_body") if found[part] is not None] == kept
            assert found["resp_headers"] and found["req_headers"]["Content-Type"] == "application/json"
            assert {found["req_headers"][name] for name in ("X-Mine", "X-Api-Key")} == {"[REDACTED]"}

    run(main())


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [("x", 400, "invalid capture ID"), ("1.5", 400, "invalid capture ID"), ("7", 404, "capture not found")],
)
def test_a_capture_that_is_not_there(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path, name: str, status: int, message: str
) -> None:
    async def main() -> None:
        async with yard(config(tmp_path)) as (port, _):
            got, _, body = await ask(port, f"GET /api/captures/{name}")
            assert (got, json.loads(body)["error"]["message"]) == (status, message)

    run(main())
