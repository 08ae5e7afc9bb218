"""Descendants that lost their parent come to us, and are collected when they end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from swapyard.processes.adopted import collect_adopted, subreaper
from swapyard.processes.fleet import Fleet, ProcessSpec
from swapyard.types import ModelId

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are a matter of Linux")

# Prints the pid of a child that lives until its input ends, and leaves it to whoever adopts it.
LEAVE_A_CHILD = """
import os, sys
child = os.fork()
if child == 0:
    os.setsid()
    sys.stdin.read()
    os._exit(0)
print(child, flush=True)
os._exit(0)
"""


def leave_a_child() -> tuple[int, subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-S", "-c", LEAVE_A_CHILD]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.stdout.close()
    parent.wait()
    return pid, parent


async def disappearance(pid: int) -> None:
    """Return when there is no such process, not even a dead one; nothing announces that."""
    for _ in iter(lambda: psutil.pid_exists(pid), False):
        await asyncio.sleep(0.01)


def test_an_orphan_is_adopted_and_collected(run: Run) -> None:
    async def main() -> None:
        with subreaper():
            pid, parent = leave_a_child()
            assert psutil.Process(pid).ppid() == os.getpid()
            assert parent.stdin is not None
            parent.stdin.close()
            collecting = asyncio.create_task(collect_adopted(every=0.02))
            async with asyncio.timeout(20):
                await disappearance(pid)
            collecting.cancel()

    run(main)


def test_nobody_is_adopted_any_more_afterwards() -> None:
    with subreaper():
        pass
    pid, parent = leave_a_child()
    assert psutil.Process(pid).ppid() != os.getpid()
    assert parent.stdin is not None
    parent.stdin.close()


# Goes into the background as a daemon of the old school does: two forks and a session of its own.
DAEMON = """
import os, sys, time
if os.fork():
    print("serving", flush=True)
    time.sleep(60)
else:
    os.setsid()
    if os.fork():
        os._exit(0)
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(60)
"""


def test_a_daemon_that_left_its_group_ends_with_the_fleet(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        script, note = tmp_path / "daemon.py", tmp_path / "pid"
        script.write_text(DAEMON, encoding="utf-8")
        loaded = asyncio.Event()
        said: list[str] = []
        fleet = Fleet(
            on_load_finished=lambda *_: loaded.set(),
            on_stop_finished=lambda _: None,
            on_exited=lambda *_: None,
            on_gone=lambda *_: None,
            on_state=lambda *_: None,
            output=lambda *_: None,
            log=lambda _, text: said.append(text),
            ledger=None,
        )
        model = ModelId("m")
        command = (sys.executable, "-I", "-S", str(script), str(note))
        fleet.apply({model: ProcessSpec(model, command, "", (), "http://127.0.0.1:1", "none", 15, 1)})
        running = asyncio.create_task(fleet.run())
        async with asyncio.timeout(20):
            await asyncio.sleep(0)
            fleet.load(model)
            await loaded.wait()
            for _ in iter(lambda: note.exists() and note.read_text() != "", True):
                await asyncio.sleep(0.01)
            daemon = psutil.Process(int(note.read_text()))
            running.cancel()
            await asyncio.wait({running})
        assert not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE
        assert f"process {daemon.pid} had left its group and was ended" in said

    run(main)
