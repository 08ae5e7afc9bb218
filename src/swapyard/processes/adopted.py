"""Takes in descendants that lost their parent, and collects them when they end (Linux)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
"""prctl(2), linux/prctl.h."""
LOOK_AGAIN = 30.0
"""Seconds between looks for dead descendants that nobody has collected."""

MARK = "SWAPYARD_RUN"
RUN = secrets.token_hex(8)
"""In the environment of everything that this run starts: a daemon can leave its parent and its session,
but it takes its environment along."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for what is still there at the end."""


@contextmanager
def subreaper() -> Iterator[None]:
    """Become the parent of descendants whose parent has ended, for the length of the block.

    Without it they go to process 1, which in a container may never collect them.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.c_int(0)
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


async def collect_adopted(every: float = LOOK_AGAIN) -> None:
    """Collect dead descendants that were left to us, until cancelled.

    Whoever starts a process collects it within moments; what is still uncollected at the next look, `every`
    seconds later, is nobody's.  So nothing is taken from asyncio, from Popen objects or from other rooms.
    """
    seen: set[int] = set()
    while True:
        await asyncio.sleep(every)
        try:
            dead = await asyncio.to_thread(_dead_children)
        except (OSError, RuntimeError):  # no descriptor or no thread left to look with: at the next look
            continue
        for pid in dead & seen:
            _collect(pid)
        seen = dead - seen


def end_adopted(grace: float = GRACE) -> list[int]:
    """End the descendants that escaped their group and came to us; the pids of those that were left.

    Blocks for as long as they take to end, at most twice `grace`.
    """
    escaped = [child for child in _children(psutil.Process()) if _is_ours(child)]
    escaped += [offspring for child in escaped for offspring in _children(child, recursive=True)]
    for process in escaped:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(escaped, timeout=grace)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=grace)
    return [process.pid for process in escaped]


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.environ().get(MARK) == RUN
    except (psutil.Error, OSError):  # gone, a zombie, or somebody else's; or no descriptor left to look with
        return False


def _children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    try:
        return process.children(recursive=recursive)
    except (psutil.Error, OSError):
        return []


def _collect(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _dead_children() -> set[int]:
    dead: set[int] = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.status() == psutil.STATUS_ZOMBIE:
                dead.add(child.pid)
    return dead
