"""The processes that belong to one child: everything in the session that the child leads.

A session holds the child's own process group and those that job control makes inside of it (`set -m` in a
shell, timeout(1)), which a signal to the first group would miss.  Its number is the pid of the child, and the
system gives that number to nobody else for as long as one process of the session is left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil


def group_lives(leader: int) -> bool:
    """Whether anything of the group lives; zombies count as dead, and those adopted by us are collected.

    The leader, if it is our child, must have been waited for: its exit would be collected here.
    """
    try:
        living = [pid for pid in _members(leader) if not _collect_dead(pid)]
    except OSError:  # no descriptor left to look at /proc with
        return _hears_signals(leader)
    return bool(living)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to all of the group that may be signalled; that nobody is there is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)  # in one step: nobody is missed who is forked meanwhile
    with suppress(OSError):  # no descriptor left to look at /proc with
        for pid in _members(leader):
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != leader:
                    os.kill(pid, number)


def _hears_signals(leader: int) -> bool:
    """Whether the group itself has anybody in it, uncollected zombies included; needs no descriptor."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _members(leader: int) -> Iterator[int]:
    for pid in psutil.pids():  # 0.1 ms for a hundred processes
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                yield pid


def _collect_dead(pid: int) -> bool:
    """Whether this process is dead; if it was adopted by us, its exit is taken note of."""
    try:
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return True
