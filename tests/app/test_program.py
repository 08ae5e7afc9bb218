"""One running program: what it says at first, loads by itself, and the order in which it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from swapyard.api.services import Build
from swapyard.app.options import Address, Options
from swapyard.app.program import Program
from swapyard.config.load import load
from swapyard.notices import ModelPreloaded, StateChanged, WaitingChanged
from swapyard.observe.logs import Source
from swapyard.proxy import serve
from swapyard.scheduling.policy import Eviction, ModelPolicy, Policy
from swapyard.types import ModelId, State
from swapyard.web.server import bind

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

A, B = ModelId("a"), ModelId("b")
CHAT = "POST /v1/chat/completions"
JSON = {"Content-Type": "application/json"}
BOTH = "models: {a: {cmd: '@MODEL@'}, b: {cmd: '@MODEL@'}}"
TOGETHER = "\nrouting: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}"


def body(model: str) -> bytes:
    return json.dumps({"model": model}).encode()


def test_it_says_where_it_listens_and_how_it_schedules_and_repeats_warnings(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(f"{BOTH}\nunknownKey: 1") as (port, program):
            text = program.logs.history(Source.PROXY).decode()
            assert f"swapyard listening on http://127.0.0.1:{port}" in text
            assert "scheduler: serial" in text and "unknownKey" in text
            assert "reachable from other machines" not in text

    run(main())


def test_the_debug_log_says_whether_the_data_path_is_compiled(run: Run, yard: Yard) -> None:
    kind = "pure Python" if Path(serve.__file__).suffix == ".py" else "compiled"

    async def main() -> None:
        async with yard(f"{BOTH}\nlogLevel: debug") as (_, program):
            text = program.logs.history(Source.PROXY).decode()
            assert f"[DEBUG] the data path is {kind}\n" in text

    run(main())


def test_models_are_preloaded_one_after_the_other_and_a_failure_stops_nothing(run: Run, yard: Yard) -> None:
    async def main() -> None:
        models = "models: {bad: {cmd: '/no/program ${PORT}'}, a: {cmd: '@MODEL@'}}"
        async with yard(f"hooks: {{on_startup: {{preload: [bad, a]}}}}\n{models}") as (_, program):
            with program.bus.subscribe(StateChanged) as changes:
                while program.fleet.status(A).state is not State.READY:
                    await changes.next()
            text = program.logs.history(Source.PROXY).decode()
            assert text.index("<bad> preload failed") < text.index("<a> loading")

    run(main())


def test_a_shutdown_stops_every_model_and_ends_cleanly(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH + TOGETHER) as (port, program):
            for model in ("a", "b"):
                await ask(port, f"POST /api/models/load/{model}")
            pids = [program.fleet.status(model).pid for model in (A, B)]
        assert None not in pids
        for pid in pids:
            assert pid is not None
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue
            raise AssertionError(f"{pid} is still there")
        assert program.logs.history(Source.PROXY).endswith(b"[INFO] shutdown complete\n")

    run(main())


def test_a_request_that_is_served_when_the_shutdown_begins_gets_its_whole_answer(
    run: Run, yard: Yard, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            # The model answers while the client's body is still coming: the rest follows after the signal.
            data = b"x" * 100_000
            head = f"POST /upstream/a/x HTTP/1.1\r\nhost: a\r\ncontent-length: {len(data)}\r\n\r\n"
            with program.bus.subscribe(StateChanged) as changes:
                writer.write(head.encode() + data[:10])
                while program.fleet.status(A).state is not State.READY:
                    await changes.next()
            program.stop()
            await asyncio.sleep(0.05)
            writer.write(data[10:])
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer
            assert answer.count(b"x" * 1000) > 50
            writer.transport.abort()

    run(main())


def test_the_signals_of_the_operating_system_are_those_of_the_program(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            assert (await ask(port, "GET /health"))[0] == 200
            os.kill(os.getpid(), signal.SIGTERM)
            await program._stop.wait()

    run(main())


def test_lines_of_libraries_reach_the_log_and_only_while_it_runs(run: Run, yard: Yard) -> None:
    async def main() -> None:
        before = list(logging.getLogger().handlers)
        async with yard(BOTH) as (_, program):
            logging.getLogger("some.library").warning("something odd")
            assert b"something odd" in program.logs.history(Source.PROXY)
        assert logging.getLogger().handlers == before

    run(main())


def test_who_waits_is_told_to_watchers_and_so_is_that_nobody_does_any_more(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(f"models: {{a: {{cmd: '@MODEL@ --gate {tmp_path}/gate'}}}}") as (port, program):
            with program.bus.subscribe(WaitingChanged) as changes:
                waiting = [asyncio.create_task(ask(port, CHAT, JSON, body("a"))) for _ in range(3)]
                first = await changes.next()
                assert isinstance(first, WaitingChanged) and (first.count, bool(first.reason)) == (3, True)
                # They are refused all at once, not one by one.
                assert (await ask(port, "POST /api/models/unload/a"))[0] == 200
                assert await changes.next() == WaitingChanged(A, 0, "")
                assert [(await task)[0] for task in waiting] == [503] * 3

    run(main())


def test_a_model_that_is_loaded_again_after_it_died_counts_as_restarted(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                assert (await ask(port, CHAT, {**JSON, "x-do": "die"}, body("a")))[0] == 502
                while program.fleet.status(A).state is not State.STOPPED:
                    await changes.next()
            assert (await ask(port, CHAT, JSON, body("a")))[0] == 200
            page = (await ask(port, "GET /metrics"))[2].decode()
            (line,) = [line for line in page.splitlines() if "restarts" in line and 'model="a"' in line]
            assert line.endswith(" 1")

    run(main())


def test_an_eviction_is_counted(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, _):
            for model in ("a", "b"):
                await ask(port, CHAT, JSON, body(model))
            page = (await ask(port, "GET /metrics"))[2].decode()
            (line,) = [line for line in page.splitlines() if "evictions" in line and 'model="a"' in line]
            assert line.endswith(" 1")

    run(main())


def test_a_preload_that_succeeds_is_told(run: Run, yard: Yard, tmp_path: Path) -> None:
    async def main() -> None:
        models = f"models: {{a: {{cmd: '@MODEL@ --gate {tmp_path}/gate'}}}}"
        async with yard(f"hooks: {{on_startup: {{preload: [a]}}}}\n{models}") as (_, program):
            with program.bus.subscribe(ModelPreloaded) as preloads:
                (tmp_path / "gate").touch()
                assert await preloads.next() == ModelPreloaded(A, success=True)

    run(main())


class BrokenPlanner:
    """Neither a scheduler nor its successor can be made with this."""

    def __call__(self, target: ModelId, running: Collection[ModelId]) -> Eviction:
        return Eviction(())

    @property
    def evicts(self) -> None:
        raise RuntimeError("a bug")


def test_a_scheduler_that_cannot_begin_afresh_ends_the_program_children_first(
    run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    async def main() -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        file = tmp_path / "config.yaml"
        model = "{cmd: sleep 600, proxy: 'http://127.0.0.1:9', checkEndpoint: none}"
        file.write_text(f"logToStdout: none\nmodels: {{a: {model}}}")
        sockets = bind("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        loaded = load(file, None, os.environ)
        program = Program(Options(file, None, Address("127.0.0.1", port)), loaded, Build("0"))
        running = asyncio.create_task(program.run(sockets))
        async with program.dispatcher.lease(A):
            pid = program.fleet.status(A).pid
        assert pid is not None
        with pytest.raises(RuntimeError, match="a bug"):
            program.dispatcher.change_policy(Policy({A: ModelPolicy()}, BrokenPlanner()))
        with pytest.raises(ExceptionGroup) as ended:
            await running
        assert ended.group_contains(RuntimeError, match="a bug")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert b"the scheduler cannot begin afresh" in program.logs.history(Source.PROXY)

    run(main())
