"""Descendants that lost their parent come to us, and are collected when they end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import psutil
import pytest

from swapyard.processes.adopted import collect_adopted, subreaper

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
            async with asyncio.timeout(10):
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
