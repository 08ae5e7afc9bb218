"""One child process in a group of its own: started, watched, signalled, and gone only when its group is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from swapyard.processes.group import group_lives, signal_group
from swapyard.processes.launch import Launch
from swapyard.processes.output import OutputPipe
from swapyard.types import Exit

FIRST_LOOK = 0.001
LAST_LOOK = 0.05
"""Seconds between looks at a group whose direct child is gone, from the first look to the later ones."""
REAP_TIMEOUT = 0.2
"""Seconds that `close` waits for a killed child, without the event loop."""


class Child:
    """A direct child and the group that it leads, whose number is the child's pid.

    stdin is the null device; stdout and stderr go to `output` as they come, to the null device without one.
    Raises OSError when the program cannot be executed.  Whoever makes a Child calls `close` in the end.
    """

    def __init__(self, launch: Launch, output: Callable[[bytes], None] | None = None) -> None:
        self.arguments = launch.arguments
        self._pipe = OutputPipe(output) if output else None
        self._terminated = False
        self._killed = False
        self.closed = False
        try:
            # A session of its own, not just a group: the child can neither be stopped by the terminal's job
            # control nor wait there for a password.  Without preexec_fn, CPython uses vfork: 0.4 ms instead
            # of 1.7 ms here, and no Python code runs in a forked copy of a program that has threads.
            self._popen = subprocess.Popen(
                launch.arguments,
                executable=launch.executable,
                env=launch.env,
                stdin=subprocess.DEVNULL,
                stdout=self._pipe.write_fd if self._pipe else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            if self._pipe:
                self._pipe.close()
            raise
        if self._pipe:
            self._pipe.close_write()
        self.pid = self._popen.pid
        self.started_at = time.time()

    def running(self) -> bool:
        """Whether the direct child lives, asked of the system now."""
        return self._popen.poll() is None

    async def exit(self) -> Exit:
        """Wait for the direct child alone, whoever holds its pipes."""
        await wait_for_exit(self._popen)
        if self._pipe:
            self._pipe.drain()
        return exit_of(self._popen.returncode)

    def group_left(self) -> bool:
        """Whether anything of the group lives; ask only after the direct child's exit."""
        return group_lives(self.pid)

    async def group_end(self) -> None:
        """Wait until nothing of the group lives; the direct child has exited."""
        pause = FIRST_LOOK
        while group_lives(self.pid):
            if self._killed:
                self.kill()  # again: somebody may have been forked while the others were killed
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_LOOK)

    def terminate(self) -> None:
        """Send SIGTERM to the group, once: many programs drop their work at the second one."""
        if not self._terminated:
            self._terminated = True
            signal_group(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        self._killed = True
        signal_group(self.pid, signal.SIGKILL)

    def tail(self) -> str:
        """The last lines of output."""
        return self._pipe.tail() if self._pipe else ""

    def close(self) -> None:
        """Let go of the output; waits for the direct child, which has exited or was killed."""
        self.closed = True
        if self._pipe:
            self._pipe.close()
        try:
            self._popen.wait(REAP_TIMEOUT)
        except subprocess.TimeoutExpired:
            return  # SIGKILL did not end it: nothing of ours can


def exit_of(returncode: int) -> Exit:
    """What subprocess says in one number: a negative one is the signal."""
    return Exit(code=returncode) if returncode >= 0 else Exit(signal=-returncode)


async def wait_for_exit(popen: subprocess.Popen[bytes]) -> None:
    """Wait until `popen` has exited and collect it; pipes play no part in it.

    The subprocesses of asyncio and uvloop are not used: they report an exit only when the pipes are closed.
    """
    if hasattr(os, "pidfd_open"):
        # A kernel before 5.3, a sandbox that refuses it, no descriptor left: there are other ways.
        with suppress(OSError):
            await _readable(os.pidfd_open(popen.pid))
            popen.wait()
            return
    try:
        await _wait_in_thread(popen)
    except RuntimeError:  # no thread left either
        while popen.poll() is None:  # noqa: ASYNC110 - nobody is there to set an event
            await asyncio.sleep(LAST_LOOK)


async def _readable(handle: int) -> None:
    """Wait until this descriptor can be read, and close it."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(handle, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(handle)
    finally:
        os.close(handle)


async def _wait_in_thread(popen: subprocess.Popen[bytes]) -> None:
    """The way without pidfd.  A thread of its own, so that many children do not use up the shared pool.

    Raises RuntimeError when there is no thread to be had.
    """
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()

    def wait() -> None:
        popen.wait()
        try:
            loop.call_soon_threadsafe(exited.set)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=wait, name=f"exit of {popen.pid}", daemon=True).start()
    await exited.wait()
