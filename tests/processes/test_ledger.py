"""What a killed swapyard left behind is found and ended, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapyard.processes.group import group_lives
from swapyard.processes.ledger import FOLDER, Ledger, start_of
from swapyard.types import ModelId

MODEL = ModelId("gemma")
SLEEP = [sys.executable, "-I", "-S", "-c", "import signal; print('up', flush=True); signal.pause()"]
STUBBORN = [
    *SLEEP[:-1],
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()",
]


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def start(children: list[subprocess.Popen[str]], command: list[str] = SLEEP) -> int:
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    children.append(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child.pid


def leave_behind(state_dir: Path, pid: int, *, owner: int = 1, owner_started: str = "long ago") -> Path:
    """The ledger of an owner that is gone (or not), which knew of `pid`."""
    folder = state_dir / FOLDER
    folder.mkdir(exist_ok=True)
    file = folder / f"{owner}.json"
    process = {"pid": pid, "started": start_of(pid), "model": MODEL}
    file.write_text(json.dumps({"owner": owner, "owner_started": owner_started, "processes": [process]}))
    return file


def test_a_leftover_of_a_dead_owner_is_ended_and_forgotten(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    pid = start(children)
    file = leave_behind(tmp_path, pid)
    assert Ledger(tmp_path).sweep() == [f"ended leftover process {pid} of model gemma with SIGTERM"]
    assert not group_lives(pid)
    assert not file.exists()
    assert Ledger(tmp_path).sweep() == []


def test_a_leftover_that_ignores_sigterm_is_killed(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    pid = start(children, STUBBORN)
    leave_behind(tmp_path, pid)
    assert Ledger(tmp_path).sweep() == [f"ended leftover process {pid} of model gemma with SIGKILL"]
    assert not group_lives(pid)


def test_children_of_a_living_swapyard_are_left_alone(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    owner, pid = start(children), start(children)
    file = leave_behind(tmp_path, pid, owner=owner, owner_started=start_of(owner) or "")
    assert Ledger(tmp_path).sweep() == []
    assert group_lives(pid)
    assert file.exists()


def test_a_stranger_that_got_the_pid_of_a_leftover_is_left_alone(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    pid = start(children)
    file = leave_behind(tmp_path, pid)
    file.write_text(file.read_text().replace(start_of(pid) or "", "another time"))
    assert Ledger(tmp_path).sweep() == []
    assert group_lives(pid)
    assert not file.exists()


def test_an_earlier_owner_with_our_own_pid_is_a_dead_owner(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    pid = start(children)
    leave_behind(tmp_path, pid, owner=os.getpid())
    assert len(Ledger(tmp_path).sweep()) == 1
    assert not group_lives(pid)


def test_what_was_spawned_stands_in_the_file_until_it_is_gone(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    pid = start(children)
    ledger = Ledger(tmp_path)
    file = tmp_path / FOLDER / f"{os.getpid()}.json"
    ledger.spawned(MODEL, pid)
    content = json.loads(file.read_text())
    assert content["processes"] == [{"pid": pid, "started": start_of(pid), "model": "gemma"}]
    assert (content["owner"], content["owner_started"]) == (os.getpid(), start_of(os.getpid()))
    ledger.gone(pid)
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1}', '{"owner": 1, "processes": [1]}'])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path, text: str) -> None:
    ledger = Ledger(tmp_path)
    file = tmp_path / FOLDER / "5.json"
    file.parent.mkdir()
    file.write_text(text)
    assert ledger.sweep() == []
    assert file.exists()


def test_a_start_tells_two_processes_apart_and_is_the_same_each_time(
    children: list[subprocess.Popen[str]],
) -> None:
    pid = start(children)
    time.sleep(0.02)  # two clock ticks
    other = start(children)
    assert start_of(pid) == start_of(pid) != start_of(other)
    children[1].kill()
    children[1].wait()
    assert start_of(other) is None
