"""A small second process that ends our children when we are killed and can no longer do it ourselves.

Linux could send a signal to each child when its parent dies (PR_SET_PDEATHSIG), but only code that runs
between fork and exec can ask for it: preexec_fn, which forks the whole program and runs Python in a copy
that may hold locks of threads that are not there, or a launcher for each child.  It also reaches the direct
child alone, not what a wrapper script started; it fires when the forking thread ends; and it exists on
Linux only.  The guard is one process, started with the first child.  It holds the read end of a pipe, and
the kernel closes the other end however we end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROGRAM = Path(__file__).with_name("guard_main.py")
CLOSE_TIMEOUT = 4.0
"""Seconds for the guard to end the groups that it still knows of; it needs none when there are none."""


class Guard:
    """Knows the groups that live.  Use it from one thread; `close` when the last group is gone."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, group: int) -> None:
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guard; it ends the groups that it still knows of."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.poll() is not None:
            self._start()
        elif not self._write(line):
            self._log("the guard process does not listen: children may outlive a killed swapyard")

    def _start(self) -> None:
        """Start the guard, or another one when somebody ended it, and tell it all groups."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process = subprocess.Popen(
                # -I -S: no site packages, no environment; it needs the standard library only.
                [sys.executable, "-I", "-S", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._log(f"no guard process ({error}): children may outlive a killed swapyard")
            return
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._write("".join(f"+{group}\n" for group in self._groups))

    def _write(self, text: str) -> bool:
        assert self._process is not None and self._process.stdin is not None
        try:
            return self._process.stdin.write(text.encode()) == len(text)
        except OSError:  # it ended just now, or its pipe is full
            return False
