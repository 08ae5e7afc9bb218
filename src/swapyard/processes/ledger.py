"""Remembers on disk which processes are ours, so that the next start ends what a killed one left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from swapyard.processes.group import group_lives, signal_group
from swapyard.types import ModelId

FOLDER = "processes"
SWEEP_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for a leftover."""
KILL_PATIENCE = 2.0
LOOK_AGAIN = 0.02


@dataclass(frozen=True, slots=True)
class Entry:
    """A child that runs: its pid is also the number of its group."""

    pid: int
    started: str
    model: str


class Ledger:
    """One file for each running swapyard in `<state_dir>/processes`, rewritten as a whole with every change.

    A file of its own for each owner, because several may share a state directory: nobody writes the file of
    another, and only the files of dead owners are leftovers.  Methods raise OSError when the directory cannot
    be used; the next change then writes everything.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        self._owner = os.getpid()
        self._owner_started = start_of(self._owner) or ""
        self._file = self._folder / f"{self._owner}.json"
        self._entries: dict[int, Entry] = {}

    def spawned(self, model: ModelId, pid: int) -> None:
        started = start_of(pid)
        if started is not None:
            self._entries[pid] = Entry(pid, started, model)
            self._write()

    def gone(self, pid: int) -> None:
        if self._entries.pop(pid, None) is not None:
            self._write()

    def sweep(self) -> list[str]:
        """End what dead owners left behind and forget it; what was done, in words.

        Takes up to SWEEP_GRACE + KILL_PATIENCE seconds when something has to be ended; call it before the
        event loop runs, or in a thread.
        """
        leftovers: list[Entry] = []
        words: list[str] = []
        files = [file for file in sorted(self._folder.glob("*.json")) if file != self._file]
        if not self._entries:
            files.append(self._file)  # of an earlier process that had our pid
        dead: list[Path] = []
        for file in files:
            found = _read(file)
            if found is None:
                continue
            owner, owner_started, entries = found
            if start_of(owner) == owner_started:
                continue
            dead.append(file)
            leftovers += [entry for entry in entries if start_of(entry.pid) == entry.started]
        words += end_leftovers(leftovers)
        for file in dead:
            file.unlink(missing_ok=True)
        return words

    def _write(self) -> None:
        """Replace the file in one step.  No fsync: a crash of the machine ends the processes too."""
        if not self._entries:
            self._file.unlink(missing_ok=True)
            return
        content = {
            "owner": self._owner,
            "owner_started": self._owner_started,
            "processes": [asdict(entry) for entry in self._entries.values()],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        try:
            draft.write_text(json.dumps(content))
            draft.replace(self._file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def _read(file: Path) -> tuple[int, str, list[Entry]] | None:
    """Owner, its start and its children; None when the file is not there or is not a ledger."""
    try:
        content = json.loads(file.read_text())
        entries = [Entry(int(e["pid"]), str(e["started"]), str(e["model"])) for e in content["processes"]]
        return int(content["owner"]), str(content["owner_started"]), entries
    except (OSError, ValueError, KeyError, TypeError):
        return None


def start_of(pid: int) -> str | None:
    """What tells this process from every other that ever had its pid; None when there is no such process.

    Linux: the boot and the clock ticks since then (proc(5), field 22 of stat), which no change of the clock
    moves.  Elsewhere: the creation time in seconds.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _creation_time(pid)
    # The name in parentheses may hold anything; 20 fields follow between it and the start time.
    return f"{boot}:{stat.rpartition(')')[2].split()[19]}"


def _creation_time(pid: int) -> str | None:
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def end_leftovers(leftovers: list[Entry]) -> list[str]:
    """SIGTERM to all these groups, SIGKILL after the grace to those still there; what was done, in words."""
    remaining = {entry.pid: entry for entry in leftovers}
    words: list[str] = []

    def await_end(patience: float, how: str) -> None:
        deadline = time.monotonic() + patience
        while remaining and time.monotonic() < deadline:
            for pid in [pid for pid in remaining if not group_lives(pid)]:
                words.append(f"ended leftover process {pid} of model {remaining.pop(pid).model} {how}")
            time.sleep(LOOK_AGAIN if remaining else 0)

    for pid in remaining:
        signal_group(pid, signal.SIGTERM)
    await_end(SWEEP_GRACE, "with SIGTERM")
    for pid in remaining:
        signal_group(pid, signal.SIGKILL)
    await_end(KILL_PATIENCE, "with SIGKILL")
    words += [f"leftover process {e.pid} of model {e.model} could not be ended" for e in remaining.values()]
    return words
