"""What runs, and the orders that load, keep and unload."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import StateChanged, WaitingChanged
from swapyard.types import ModelId, State

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

A, B = ModelId("a"), ModelId("org/b")
BOTH = """
models:
  a: {cmd: '@MODEL@', aliases: [first], ttl: 600, name: " A "}
  org/b: {cmd: '@MODEL@'}
routing: {router: {settings: {groups: {all: {swap: false, members: [a, org/b]}}}}}
peers: {cloud: {proxy: 'http://127.0.0.1:1', models: [far]}}
selectors: {pool: {strategy: pin, targets: [a]}}
"""


async def get(port: int, ask: Ask, path: str) -> Any:
    status, headers, body = await ask(port, f"GET {path}")
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(body)


def state(program: Program, model: ModelId) -> State:
    return program.fleet.status(model).state


def test_the_list_is_the_same_at_both_paths_and_echoes_an_origin(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, _):
            for path in ("/v1/models", "/models"):
                status, headers, body = await ask(port, f"GET {path}", {"Origin": "https://chat.example"})
                assert headers["access-control-allow-origin"] == "https://chat.example"
                listed = [row["id"] for row in json.loads(body)["data"]]
                assert (status, listed) == (200, ["a", "cloud/far", "org/b", "pool"])
            assert "access-control-allow-origin" not in (await ask(port, "GET /v1/models"))[1]
            assert (await get(port, ask, "/v1/models/org/b"))["id"] == "org/b"
            assert (await get(port, ask, "/v1/models/org%2Fb"))["id"] == "org/b"
            assert (await ask(port, "GET /v1/models/nobody"))[0] == 404

    run(main())


def test_names_beyond_the_first_characters_of_unicode_are_listed_everywhere(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        names = r"""
models:
  "\ud83d\ude00":
    {cmd: '@MODEL@', name: "\ud83d\ude01", aliases: ["a\ud83d\ude02"], metadata: {"\ud83d\ude03": 1}}
profiles: {"\ud83d\ude04": {pins: {"\ud83d\ude05": "\ud83d\ude00"}}}
peers: {cloud: {proxy: 'http://127.0.0.1:1', models: ["\ud83d\ude06"]}}
"""
        async with yard(names) as (port, program):
            program.activate_profile("😄")
            assert (await ask(port, "POST /api/models/load/%F0%9F%98%80"))[0] == 200
            listed = [row["id"] for row in (await get(port, ask, "/v1/models"))["data"]]
            assert listed == ["cloud/😆", "😀", "😅"]
            assert [row["model"] for row in (await get(port, ask, "/running"))["running"]] == ["😀"]
            assert [row["name"] for row in await get(port, ask, "/api/models")] == ["😁", ""]
            assert (await get(port, ask, "/api/profiles"))["active"] == "😄"
            body = json.dumps({"model": "a😂", "messages": []})
            assert (await ask(port, "POST /v1/chat/completions", {"Content-Type": "application/json"}, body))[
                0
            ] == 200
            assert (await ask(port, "GET /upstream/%F0%9F%98%80/x"))[0] == 200

    run(main())


def test_what_runs_is_told_with_its_command_and_address(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            assert await get(port, ask, "/running") == {"running": []}
            assert (await ask(port, "POST /api/models/load/first"))[2] == b'{"msg":"ok"}'
            (row,) = (await get(port, ask, "/running"))["running"]
            settings = program.data.generation.config.models[A]
            assert row == {
                "model": "a",
                "state": "ready",
                "cmd": settings.cmd,
                "proxy": settings.proxy,
                "ttl": 600,
                "name": " A ",
                "description": "",
            }

    run(main())


def test_every_model_is_told_with_all_that_is_known_of_it(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            await ask(port, "POST /api/models/load/a")
            rows = {row["id"]: row for row in await get(port, ask, "/api/models")}
            assert list(rows) == ["a", "org/b", "cloud/far"]
            loaded, stopped, peer = rows.values()
            assert loaded["state"] == "ready" and loaded["pid"] == program.fleet.status(A).pid
            assert loaded["load_seconds"] > 0 and loaded["idle_deadline"] > loaded["since"]
            assert (loaded["in_flight"], loaded["waiting"], loaded["waiting_reasons"]) == (0, 0, [])
            assert str(loaded["port"]) in loaded["proxy"]
            assert stopped["state"] == "stopped" and stopped["pid"] is None
            assert stopped["idle_deadline"] is None and stopped["load_seconds"] is None
            assert (peer["peerID"], peer["state"]) == ("cloud", "")

    run(main())


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        ("GET /unload", (200, "text/plain; charset=utf-8", b"OK")),
        ("POST /api/models/unload", (200, "application/json", b'{"msg":"ok"}')),
    ],
)
def test_unloading_everything_answers_when_all_are_gone(
    run: Run, yard: Yard, ask: Ask, order: str, answer: tuple[int, str, bytes]
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            for name in ("a", "org/b"):
                await ask(port, f"POST /api/models/load/{name}")
            assert (state(program, A), state(program, B)) == (State.READY, State.READY)
            status, headers, body = await ask(port, order)
            assert (status, headers["content-type"], body) == answer
            assert (state(program, A), state(program, B)) == (State.STOPPED, State.STOPPED)

    run(main())


@pytest.mark.parametrize("name", ["org/b", "org%2Fb"])
def test_unloading_one_model_leaves_the_others(run: Run, yard: Yard, ask: Ask, name: str) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            for loaded in ("a", "org/b"):
                await ask(port, f"POST /api/models/load/{loaded}")
            status, _, body = await ask(port, f"POST /api/models/unload/{name}")
            assert (status, body) == (200, b"OK")
            assert (state(program, A), state(program, B)) == (State.READY, State.STOPPED)
            assert (await ask(port, "POST /api/models/unload/first"))[0] == 200
            assert state(program, A) is State.STOPPED
            assert (await ask(port, f"POST /api/models/unload/{name}"))[0] == 200

    run(main())


@pytest.mark.parametrize("name", ["", "nobody", "cloud/far", "pool", "A"])
@pytest.mark.parametrize("order", ["unload", "load", "keep"])
def test_orders_for_what_is_no_local_model_are_not_found(
    run: Run, yard: Yard, ask: Ask, order: str, name: str
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, _):
            status, _, body = await ask(port, f"POST /api/models/{order}/{name}")
            assert (status, json.loads(body)["error"]["message"]) == (404, "model not found")

    run(main())


def test_head_looks_and_does_nothing(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            await ask(port, "POST /api/models/load/a")
            for path in ("/unload", "/running", "/v1/models", "/api/models", "/logs", "/metrics"):
                status, headers, body = await ask(port, f"HEAD {path}")
                assert (status, body) == (200, b"") and "content-length" in headers
            for path in ("/api/events", "/logs/stream", "/logs/stream/a"):
                assert (await ask(port, f"HEAD {path}"))[0] == 200
            for path in ("/api/models/unload", "/api/models/load/org/b", "/api/config/reload"):
                assert (await ask(port, f"HEAD {path}"))[0] == 405
            assert (state(program, A), state(program, B)) == (State.READY, State.STOPPED)

    run(main())


def test_a_load_whose_asker_leaves_is_given_up_or_finished_but_holds_nothing(
    run: Run, yard: Yard, tmp_path: Path, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(f"models: {{a: {{cmd: '@MODEL@ --gate {tmp_path}/gate'}}}}") as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                asking = asyncio.create_task(ask(port, "POST /api/models/load/a"))
                await changes.next()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                (tmp_path / "gate").touch()
                assert (await changes.next()).new is State.READY  # type: ignore[union-attr]
            assert program.dispatcher.scheduler.in_flight(A) == 0

    run(main())


def test_a_load_that_fails_says_why(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard("models: {a: {cmd: '/no/such/program ${PORT}'}}") as (port, _):
            status, _, body = await ask(port, "POST /api/models/load/a")
            error = json.loads(body)["error"]
            assert (status, error["code"]) == (502, "load_failed") and "/no/such/program" in error["message"]

    run(main())


def test_keeping_a_ready_model_begins_its_idle_time_anew(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            status, _, body = await ask(port, "POST /api/models/keep/a")
            assert (status, json.loads(body)["error"]["message"]) == (409, "model a is not loaded")
            await ask(port, "POST /api/models/load/a")
            before = program.dispatcher.scheduler.idle_deadline(A)
            await asyncio.sleep(0.02)
            assert (await ask(port, "POST /api/models/keep/first"))[0] == 200
            after = program.dispatcher.scheduler.idle_deadline(A)
            assert before is not None and after is not None and after > before

    run(main())


def test_keeping_a_busy_model_neither_waits_nor_fails_nor_loads_anything(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        text = "models: {a: {cmd: '@MODEL@', concurrencyLimit: 1}, b: {cmd: '@MODEL@'}}"
        async with yard(text) as (port, program):
            async with program.dispatcher.lease(A):
                with program.bus.subscribe(WaitingChanged) as changes:
                    waiting = asyncio.create_task(ask(port, "POST /api/models/load/b"))
                    await changes.next()
                assert (await ask(port, "POST /api/models/keep/a"))[0] == 200
            await waiting
            # It went when its turn was over, and has not come back.
            assert state(program, A) is State.STOPPED and program.fleet.status(A).start == 1

    run(main())
