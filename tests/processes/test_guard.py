"""What becomes of the children when swapyard itself is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from swapyard.processes.guard import Guard
from swapyard.processes.ledger import FOLDER, Ledger

if TYPE_CHECKING:
    from tests.processes.conftest import Yard

OWNER = """
    import asyncio, sys
    from pathlib import Path
    from swapyard.processes.fleet import Fleet, Ledger, ProcessSpec

    def say(*words):
        print(*words, flush=True)

    async def main():
        fleet = Fleet(
            on_load_finished=lambda model, error: say("loaded", error), on_stop_finished=say,
            on_exited=say, on_gone=say,
            on_state=lambda *_: None, output=lambda *_: None, log=lambda *_: None,
            ledger=Ledger(Path(sys.argv[1])),
        )
        script = "(trap '' TERM; while :; do sleep 1000; done) & wait"
        fleet.apply({"gemma": ProcessSpec(
            "gemma", ("/bin/sh", "-c", script), "", ("SWAPYARD_TEST=" + sys.argv[2],), "http://localhost:1",
            "none", 15, 30)})
        fleet.load("gemma")
        await fleet.run()

    asyncio.run(main())
"""


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait until they are dead or zombies; those that are."""
    dead, _ = psutil.wait_procs(processes, timeout=20)
    return [*dead, *(p for p in processes if p not in dead and p.status() == psutil.STATUS_ZOMBIE)]


def test_all_descendants_end_when_their_owner_is_killed(tmp_path: Path, yard: Yard) -> None:
    """P-32."""
    program = tmp_path / "owner.py"
    program.write_text(textwrap.dedent(OWNER))
    arguments = [sys.executable, str(program), str(tmp_path), yard.marker]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "loaded None\n"
        # The shell, its own fork that ignores SIGTERM, and what that waits for.
        while len(descendants := yard.alive()) < 3:
            time.sleep(0.01)
        owner.kill()
    assert len(gone(descendants)) == len(descendants)
    assert yard.alive() == []
    assert Ledger(tmp_path).sweep() == []
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.fixture
def groups() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes, each in a group of its own."""
    started = [subprocess.Popen(["sleep", "1000"], start_new_session=True) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_guard_that_was_ended_is_replaced_and_knows_all_groups(
    groups: list[subprocess.Popen[bytes]],
) -> None:
    first, second = groups
    guard = Guard(log=print)
    before = psutil.Process().children()
    guard.add(first.pid)
    (process,) = [child for child in psutil.Process().children() if child not in before]
    process.kill()
    assert gone([process]) == [process]
    guard.add(second.pid)
    guard.close()
    assert {first.wait(20), second.wait(20)} == {-signal.SIGTERM}


def test_a_guard_leaves_groups_alone_that_were_taken_off_its_list(
    groups: list[subprocess.Popen[bytes]],
) -> None:
    guard = Guard(log=print)
    guard.add(groups[0].pid)
    guard.remove(groups[0].pid)
    guard.close()
    assert groups[0].poll() is None
