"""After `kill -9` of the program: nothing of it goes on running, and its records are whole."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

CONFIG = """
models:
  one: {cmd: "${server}.well_behaved ${PORT}"}
  two: {cmd: "${server}.ignores_sigterm ${PORT}"}
  family: {cmd: "${server}.forks_helpers ${PORT}"}
groups:
  together: {swap: false, exclusive: false, members: [one, two, family]}
"""


def kill(swapyard: Yard) -> None:
    """`kill -9`; its guard then ends the children, within its own grace of two seconds."""
    swapyard.process.kill()
    swapyard.process.wait()
    swapyard.until(lambda: swapyard.processes() == [], "all its children have ended")


def kill_with_its_guard(swapyard: Yard) -> None:
    """As a machine does that runs out of memory: nobody is left to clean up."""
    (guard,) = [p for p in swapyard.processes() if "guard_main.py" in " ".join(p.cmdline())]
    swapyard.process.send_signal(signal.SIGSTOP)  # or it would start another guard
    guard.kill()
    swapyard.process.kill()
    swapyard.process.wait()


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that has nothing to do with us, in a session of its own, as our children are."""
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(command, start_new_session=True) as process:
        yield process.pid
        process.kill()


def test_children_end_when_swapyard_is_killed(yard: StartYard) -> None:
    """P-32."""
    swapyard = yard(CONFIG)
    for model in ("one", "two", "family"):
        assert swapyard.chat(model).status == 200
    kill(swapyard)


def test_the_next_start_ends_what_a_killed_one_left_and_says_so(yard: StartYard, stranger: int) -> None:
    swapyard = yard(CONFIG)
    left = {model: swapyard.pid_of(model) for model in ("one", "two", "family")}
    kill_with_its_guard(swapyard)
    assert all(alive(pid) for pid in left.values())
    swapyard.start()
    for model, pid in left.items():
        swapyard.log_says(f"ended leftover process {pid} of model {model} ")
        assert not alive(pid)
    assert swapyard.log().count("ended leftover process") == len(left)
    assert alive(stranger)
    assert len(swapyard.processes()) == 1
    assert swapyard.pid_of("one") != left["one"]


def test_a_process_that_got_the_number_of_a_leftover_is_left_alone(yard: StartYard, stranger: int) -> None:
    """The ledger names a process by its number and its start; only both together mean one of ours."""
    swapyard = yard(CONFIG)
    left = swapyard.pid_of("one")
    kill_with_its_guard(swapyard)
    (file,) = (swapyard.state / "swapyard" / "processes").glob("*.json")
    ledger = json.loads(file.read_text())
    ledger["processes"].append({**ledger["processes"][0], "pid": stranger, "model": "stranger"})
    file.write_text(json.dumps(ledger))
    swapyard.start()
    swapyard.log_says(f"ended leftover process {left} of model one ")
    assert alive(stranger)
    assert swapyard.log().count("leftover") == 1


def test_a_second_swapyard_beside_the_first_ends_nothing_of_it(yard: StartYard) -> None:
    first = yard(CONFIG)
    pid = first.pid_of("one")
    second = yard(CONFIG, state=first.state)
    assert second.chat("one").status == 200
    assert first.pid_of("one") == pid
    assert "leftover" not in second.log()


def test_the_activity_log_of_a_killed_swapyard_holds_every_row_up_to_a_second_before(
    yard: StartYard, tmp_path: Path
) -> None:
    file = tmp_path / "activity.db"
    swapyard = yard(f"store: {{path: '{file}'}}\n" + CONFIG)
    swapyard.chat("one")
    answered: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            swapyard.chat("one")
            answered.append(time.time())

    client = threading.Thread(target=ask)
    client.start()
    swapyard.until(
        lambda: len(answered) > 1 and answered[-1] - answered[0] > 2.5, "two and a half seconds of work"
    )
    over.set()
    client.join()
    killed = time.time()
    kill(swapyard)
    due = 1 + sum(at < killed - 1 for at in answered)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (rows,) = database.execute("SELECT count(*) FROM activity").fetchone()
    assert due <= rows <= 1 + len(answered)
    swapyard.start()
    assert swapyard.get("/api/metrics/activity").json()["total"] == rows
