"""Takes in descendants that lost their parent, and collects them when they end (Linux)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
"""prctl(2), linux/prctl.h."""
LOOK_AGAIN = 30.0
"""Seconds between looks for dead descendants that nobody has collected."""


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
        dead = await asyncio.to_thread(_dead_children)
        for pid in dead & seen:
            _collect(pid)
        seen = dead - seen


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
