"""One child and its group, close to the system."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from swapyard.processes.adopted import subreaper
from swapyard.processes.child import Child, exit_of, wait_for_exit
from swapyard.processes.group import group_lives
from swapyard.processes.launch import Launch
from swapyard.types import Exit

if TYPE_CHECKING:
    from tests.processes.conftest import Yard

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def shell(yard: Yard, script: str) -> Launch:
    return Launch("/bin/sh", ("sh", "-c", script), {**os.environ, "SWAPYARD_TEST": yard.marker})


def start(code: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", f"exit {code}"])


@pytest.mark.parametrize("pidfd", [True, False])
def test_an_exit_is_seen_with_and_without_pidfd(
    run: Run, monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)

    async def main() -> None:
        for code in (0, 3):
            popen = start(code)
            async with asyncio.timeout(20):
                await wait_for_exit(popen)
            assert popen.returncode == code

    run(main)


def test_stdin_is_the_null_device_and_the_child_leads_its_own_group(run: Run, yard: Yard) -> None:
    async def main() -> None:
        printed: list[bytes] = []
        script = "import os, sys; print(sys.stdin.read() == '', os.getpgid(0) == os.getpid())"
        launch = Launch(sys.executable, ("python", "-I", "-S", "-c", script), dict(os.environ))
        child = Child(launch, printed.append)
        assert await child.exit() == Exit(code=0)
        child.close()
        assert b"".join(printed) == b"True True\n"

    run(main)


def test_the_tail_is_the_last_lines_of_a_child(run: Run, yard: Yard) -> None:
    async def main() -> None:
        script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; echo; done; printf 'no\\377 end'"
        child = Child(shell(yard, script), lambda _: None)
        await child.exit()
        child.close()
        assert child.tail().split("\n") == [*(f"line {n}" for n in range(4, 13)), "no\ufffd end"]

    run(main)


def test_a_failed_start_leaves_nothing_open(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            Child(Launch("/no/such/program", ("program",), {}), lambda _: None)

    run(main)


def test_a_group_of_nothing_but_zombies_is_gone() -> None:
    """P-12: as where process 1 collects nobody."""
    script = (
        "import os, signal\n"
        "dead = os.fork()\n"
        "if dead == 0: os.setsid(); os._exit(0)\n"
        "os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)\n"
        "print(dead, flush=True)\n"
        "signal.pause()"
    )
    command = [sys.executable, "-I", "-S", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        zombie = int(parent.stdout.readline())
        os.killpg(zombie, 0)  # it has a place in the process table
        assert not group_lives(zombie)
        parent.kill()


def test_orphans_in_the_group_are_adopted_and_collected(run: Run, yard: Yard) -> None:
    async def main() -> None:
        with subreaper():
            child = Child(shell(yard, "sleep 1000 & exit 0"))
            assert await child.exit() == Exit(code=0)
            assert child.group_left()
            child.terminate()
            async with asyncio.timeout(20):
                await child.group_end()
            with pytest.raises(ProcessLookupError):
                os.killpg(child.pid, 0)
            child.close()

    run(main)


def test_exits_in_words() -> None:
    assert str(exit_of(0)) == "exit status 0"
    assert str(exit_of(-signal.SIGSEGV)) == "killed by SIGSEGV"
    assert str(exit_of(-200)) == "killed by signal 200"
