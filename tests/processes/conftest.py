"""Real children for the tests of supervision, and a fleet that remembers what it reported."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from swapyard.config.commands import split_posix
from swapyard.processes.fleet import Fleet, Ledger, ProcessSpec
from swapyard.processes.launch import Split
from swapyard.types import ModelId, State
from swapyard.upkeep import Upkeep

PATIENCE = 20.0
"""Seconds within which whatever a test waits for has to happen."""
LOOK_AGAIN = 0.01
MARKER = "SWAPYARD_TEST"
MODEL = ModelId("gemma")

SERVER = """
import os, signal, socket, sys, threading, time
options = dict(word.split("=", 1) for word in sys.argv[1:])
number = lambda name: float(options[name])
print("server starts", flush=True)
if "say" in options:
    print(options["say"], flush=True)
if options.get("sigterm") == "ignored":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif "cleanup" in options:
    def clean_up(*_):
        time.sleep(number("cleanup"))
        print("cleaned up", flush=True)
        os._exit(0)
    signal.signal(signal.SIGTERM, clean_up)
print("signals set", flush=True)
if "exit_after" in options:
    threading.Timer(number("exit_after"), lambda: os._exit(int(options.get("code", 0)))).start()
if "port" not in options:
    signal.pause()
time.sleep(float(options.get("listen_after", 0)))
listener = socket.create_server(("127.0.0.1", int(options["port"])))
begun = time.monotonic()
print("listening", flush=True)
held = []
while True:
    connection, _ = listener.accept()
    if options.get("answer") == "never":
        held.append(connection)
        print("holding", flush=True)
        continue
    request = connection.recv(65536)
    ready = time.monotonic() - begun >= float(options.get("ready_after", 0))
    status = options.get("answer", "200") if ready else "503"
    connection.sendall(f"HTTP/1.1 {status} X\\r\\nLocation: /\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
    connection.close()
    print("answered", status, request.split(b" ")[1].decode(), flush=True)
"""


class Yard:
    """A fleet with everything that it reported, in order; each report can be awaited."""

    def __init__(self, folder: Path, marker: str, ledger: Ledger | None = None) -> None:
        self.folder = folder
        self.marker = marker
        self.reports: list[tuple[Any, ...]] = []
        self.logged: list[str] = []
        self.output = b""
        self._changed = asyncio.Event()
        self.upkeep = Upkeep()
        # Of each command line that is given as text; a test may put a broken one here.
        self.split: Split = split_posix
        self.fleet = Fleet(
            on_load_finished=lambda model, error: self._report("loaded", model, error),
            on_stop_finished=lambda model: self._report("stopped", model),
            on_exited=lambda model, start, how, _: self._report("exited", model, start, how),
            on_gone=lambda model, reason: self._report("gone", model, reason),
            on_state=lambda model, old, new, _: self._report("state", model, old, new),
            output=self._printed,
            log=lambda _, text: self.logged.append(text),
            ledger=ledger,
            split=lambda command: self.split(command),
            upkeep=self.upkeep,
        )

    def spec(
        self, *arguments: str, model: ModelId = MODEL, port: int | None = None, **changes: Any
    ) -> ProcessSpec:
        """A model served by the test server; `arguments` are its options, `name=value`."""
        server = self.folder / "server.py"
        if not server.exists():
            server.write_text(SERVER)
        options = [*arguments, f"port={port}"] if port else [*arguments]
        plain = ProcessSpec(
            model=model,
            command=(sys.executable, "-I", "-S", str(server), *options),
            stop_command="",
            env=(f"{MARKER}={self.marker}",),
            proxy=f"http://127.0.0.1:{port or 9}",
            check_endpoint="/health" if port else "none",
            health_check_timeout=15,
            connect_timeout=30,
        )
        return replace(plain, **changes)

    def shell(self, script: str, **changes: Any) -> ProcessSpec:
        """A model that is a shell script and needs no probe."""
        return self.spec(command=("/bin/sh", "-c", script), **changes)

    @asynccontextmanager
    async def running(self, *specs: ProcessSpec) -> AsyncIterator[Fleet]:
        """Run the fleet with these models for the length of the block."""
        self.fleet.apply({spec.model: spec for spec in specs})
        task = asyncio.create_task(self.fleet.run())
        try:
            async with asyncio.timeout(PATIENCE):
                yield self.fleet
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def load(self, model: ModelId = MODEL) -> str | None:
        seen = self.count("loaded", model)
        self.fleet.load(model)
        await self.until(lambda: self.count("loaded", model) > seen)
        error = [report[2] for report in self.reports if report[:2] == ("loaded", model)][-1]
        assert error is None or isinstance(error, str)
        return error

    async def stop(self, grace: float = 10, model: ModelId = MODEL) -> None:
        seen = self.count("stopped", model)
        self.fleet.stop(model, grace, "test")
        await self.until(lambda: self.count("stopped", model) > seen)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a report, a log line or output that makes `condition` true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def printed(self, text: str) -> None:
        await self.until(lambda: text.encode() in self.output)

    def count(self, *beginning: object) -> int:
        return sum(report[: len(beginning)] == beginning for report in self.reports)

    def states(self, model: ModelId = MODEL) -> list[State]:
        """The states in the order in which they were entered; no report repeats the state before it."""
        changes = [report[2:] for report in self.reports if report[:2] == ("state", model)]
        for (_, new), (old, _) in pairwise(changes):
            assert new == old
        assert all(old != new for old, new in changes)
        return [new for _, new in changes]

    def state(self, model: ModelId = MODEL) -> State:
        return self.fleet.status(model).state

    def pid(self, model: ModelId = MODEL) -> int:
        pid = self.fleet.status(model).pid
        assert pid is not None
        return pid

    def alive(self) -> list[psutil.Process]:
        """Every process that descends from a model of this test and still lives; a zombie does not."""
        return living(self.marker)

    async def until_alive(self, count: int) -> None:
        """Wait until so many of them live; nothing announces it, and a fork is not known as ours at once."""
        while len(self.alive()) != count:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN)

    def _report(self, *report: object) -> None:
        self.reports.append(report)
        self._changed.set()

    def _printed(self, _: ModelId, data: bytes) -> None:
        self.output += data
        self._changed.set()


def living(marker: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == marker:
                found.append(process)
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture
def marker() -> Iterator[str]:
    """Marks every process of this test through its environment; none of them may be left at the end."""
    name = uuid.uuid4().hex
    yield name
    left = living(name)
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture(scope="session", autouse=True)
def _lasting_files_are_open() -> None:
    """libuv opens a pipe for signals with its first loop and keeps it for as long as the program runs."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def _no_open_files_left() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def run(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[Main], None]:
    """Run a coroutine function to its end, with --long once on each kind of event loop."""

    def run_main(main: Main) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    return run_main


@pytest.fixture
def run_once() -> Callable[[Main], None]:
    """Run a coroutine function to its end, on the event loop that the program uses."""

    def run_main(main: Main) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    return run_main


@pytest.fixture
def yard(tmp_path: Path, marker: str) -> Yard:
    return Yard(tmp_path, marker)
