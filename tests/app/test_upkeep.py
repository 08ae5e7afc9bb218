"""The whole program with a part that fails: recording and serving go on, and operators can see it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import InflightChanged
from swapyard.observe import writer
from swapyard.observe.logs import Source
from swapyard.types import ModelId, State

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

A, B = ModelId("a"), ModelId("b")
BOTH = "models: {a: {cmd: '@MODEL@'}, b: {cmd: '@MODEL@'}}"
JSON = {"Content-Type": "application/json"}


async def chat(ask: Ask, port: int, model: str = "a") -> int:
    status, _, _ = await ask(port, "POST /v1/chat/completions", JSON, json.dumps({"model": model}))
    return status


async def rows(ask: Ask, port: int) -> int:
    status, _, body = await ask(port, "GET /api/metrics/activity")
    assert status == 200, body
    return int(json.loads(body)["total"])


async def until(condition: Callable[[], Coroutine[Any, Any, object]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - looked at as an operator does, from outside
            await asyncio.sleep(0.02)


async def ready(ask: Ask, port: int) -> list[str]:
    status, _, body = await ask(port, "GET /api/ready")
    assert status == 200
    first, *down = body.decode().split("\n")
    assert first == "OK"
    return down


def own_log(program: Program) -> str:
    return program.logs.history(Source.PROXY).decode()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot be written is tried again at once."""
    monkeypatch.setattr(writer, "RETRY_PERIOD", 0.05)


def test_a_failure_in_the_observing_thread_ends_neither_it_nor_what_it_was_asked(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            # Nobody could send this: it is neither a reply nor a question.
            program.observers.recorder._writer._queue.append(None)  # type: ignore[arg-type]
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            assert await rows(ask, port) == 2
            _, _, page = await ask(port, "GET /metrics")
            assert b'swapyard_internal_errors_total{part="activity log"} 1\n' in page
            assert own_log(program).count("Traceback") == 1
            assert await ready(ask, port) == []

    run(main())


def test_a_log_whose_file_is_broken_says_so_and_is_written_again_when_it_is_not(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path, soon: None
) -> None:
    path = tmp_path / "activity.db"

    async def main() -> None:
        async with yard(f"store: {{path: '{path}'}}\n{BOTH}") as (port, program):
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            remove(path)
            path.write_text("this is no database " * 500)
            for _ in range(3):
                assert await chat(ask, port) == 200
                await program.observers.recorder.flushed()
            (line,) = await ready(ask, port)
            assert line.startswith("down: activity log: ") and "file is not a database" in line
            status, _, body = await ask(port, "GET /api/metrics/activity")
            assert status == 503 and b"cannot be read" in body
            _, _, page = await ask(port, "GET /metrics")
            assert b'swapyard_part_down{part="activity log"} 1\n' in page
            assert b"swapyard_internal_errors_total" not in page
            assert own_log(program).count("file is not a database") == 1
            assert "Traceback" not in own_log(program)
            path.unlink()
            await until(lambda: is_up(ask, port))
            assert await rows(ask, port) == 3
            assert own_log(program).count("activity log: works again") == 1

    run(main())


def remove(database: Path) -> None:
    """With what SQLite keeps beside it, from which it could be restored."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


async def is_up(ask: Ask, port: int) -> bool:
    return not await ready(ask, port)


def test_a_log_that_another_program_deletes_is_made_anew(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    path = tmp_path / "activity.db"

    async def main() -> None:
        async with yard(f"store: {{path: '{path}'}}\n{BOTH}") as (port, program):
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            remove(path)
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            assert await rows(ask, port) == 1
        with sqlite3.connect(path) as database:
            assert database.execute("SELECT count(*) FROM activity").fetchone() == (1,)
        database.close()

    run(main())


def test_a_row_that_the_log_cannot_take_costs_no_other(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(f"store: {{path: '{tmp_path / 'a.db'}'}}\n{BOTH}") as (port, program):
            recorder = program.observers.recorder
            for status in (200, 2**70, 201):
                recorder.end(recorder.begin(method="POST", path="/infill", model="a"), status=status)
            await recorder.flushed()
            assert await rows(ask, port) == 2
            assert recorder.lost().rows == 1
            assert program.upkeep.errors() == {"activity log": 1}

    run(main())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        made = subprocess.run(mounting, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_no_row_once_there_is_room_again(
    run: Run, yard: Yard, ask: Ask, small_disk: Path, soon: None
) -> None:
    path = small_disk / "activity.db"
    ballast = small_disk / "ballast"

    async def main() -> None:
        async with yard(f"store: {{path: '{path}'}}\n{BOTH}") as (port, program):
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            recorder = program.observers.recorder
            for number in range(300):
                recorder.end(recorder.begin(method="POST", path="/infill", model="a"))
                if number % 10 == 0:
                    await recorder.flushed()
            (line,) = await ready(ask, port)
            assert "database or disk is full" in line
            assert await chat(ask, port) == 200
            assert own_log(program).count("database or disk is full") == 1
            assert "Traceback" not in own_log(program)
            ballast.unlink()
            await until(lambda: is_up(ask, port))
            await recorder.flushed()
            assert await rows(ask, port) == 302
            assert (recorder.lost().rows, program.upkeep.errors()) == (0, {})

    run(main())


def test_a_log_that_cannot_be_opened_again_is_tried_until_it_can(
    run: Run, yard: Yard, ask: Ask, small_disk: Path, soon: None
) -> None:
    path = small_disk / "activity.db"

    async def main() -> None:
        async with yard(f"store: {{path: '{path}'}}\n{BOTH}") as (port, program):
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            remove(path)
            # A folder in place of the file: it can neither be opened nor made.
            path.mkdir()
            assert await chat(ask, port) == 200
            await program.observers.recorder.flushed()
            (line,) = await ready(ask, port)
            assert "unable to open database file" in line
            path.rmdir()
            await until(lambda: is_up(ask, port))
            assert await rows(ask, port) == 1

    run(main())


def test_a_notice_that_cannot_be_told_ends_no_event_stream(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /api/events HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readuntil(b'"snapshot')
            program.bus.publish(InflightChanged({"operation": object()}))
            program.activate_profile(None)
            await reader.readuntil(b'"gap"')
            # The stream goes on, for this client and for others.
            assert await chat(ask, port) == 200
            await reader.readuntil(b'"activity"')
            assert program.upkeep.errors() == {"events": 1}
            writer.transport.abort()

    run(main())


def a_bug(_: object) -> None:
    raise RuntimeError("a bug")


def test_a_bug_in_a_reload_is_told_to_who_asked_and_the_next_one_works(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            reloader = program.reloader
            parts = reloader._parts
            reloader._parts = replace(parts, activate_profile=a_bug)
            status, _, body = await ask(port, "POST /api/config/reload")
            assert status != 200 and b"internal error" in body
            assert program.upkeep.errors() == {"reload": 1}
            reloader._parts = parts
            assert (await ask(port, "POST /api/config/reload"))[0] == 200
            assert await chat(ask, port) == 200

    run(main())


def test_a_bug_in_one_supervisor_is_a_failed_model_and_the_others_never_notice(
    run: Run, yard: Yard, ask: Ask
) -> None:
    together = "\nrouting: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}"

    async def main() -> None:
        async with yard(BOTH + together) as (port, program):
            assert await chat(ask, port) == 200 and await chat(ask, port, "b") == 200
            pid = program.fleet.status(B).pid
            program.fleet._supervisors[A]._inbox.put_nowait(None)  # type: ignore[arg-type]
            await until(lambda: is_stopped(program))
            assert program.fleet.status(B).pid == pid
            assert await chat(ask, port, "b") == 200
            # It is loaded again for whoever asks.
            assert await chat(ask, port) == 200
            _, _, page = await ask(port, "GET /metrics")
            assert b'swapyard_internal_errors_total{part="supervisor of a"} 1\n' in page

    run(main())


async def is_stopped(program: Program) -> bool:
    return program.fleet.status(A).state is State.STOPPED


def test_models_run_without_a_ledger_where_none_can_be_written(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    # A file stands where the folder should be, for root may write everywhere.
    (tmp_path / "state").write_text("")

    async def main() -> None:
        async with yard(BOTH) as (port, program):
            for model in ("a", "b", "a"):
                assert await chat(ask, port, model) == 200
            (line,) = await ready(ask, port)
            assert line.startswith("down: ledger of processes: ")
            assert own_log(program).count("leftovers of a crash will not be found") == 1
            assert "Traceback" not in own_log(program)
            (tmp_path / "state").unlink()
            assert await chat(ask, port, "b") == 200
            assert await ready(ask, port) == []
            (file,) = (tmp_path / "state" / "swapyard" / "processes").iterdir()
            assert [entry["model"] for entry in json.loads(file.read_text())["processes"]] == ["b"]

    run(main())
