"""Keeps what runs for long going: an unforeseen exception is logged, counted, and ends only its own turn."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a part that has failed is started again; they double with every failure."""

RECOVERED_AFTER = 60.0
"""A part that has gone on for this many seconds starts again with the shortest pause."""

REPEATED_AFTER = 60.0
"""Seconds for which the same error of the same part is counted and not logged again."""

INTERNAL_ERROR = "internal error, the log has the details"


class Upkeep:
    """The parts of one program, what has failed in them, and which of them do not work right now.

    A part is a word or two for the operator, from a set that no client can enlarge.  All methods may be
    called from any thread.  Cancellation passes through everything here.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._errors: dict[str, int] = {}
        self._down: dict[str, str] = {}
        # Of each part: where its latest error came from, and when that was logged.
        self._logged: dict[str, tuple[str, float]] = {}

    def errors(self) -> Mapping[str, int]:
        """Unforeseen exceptions since the start of the program, by part."""
        with self._lock:
            return dict(self._errors)

    def down(self) -> Mapping[str, str]:
        """The parts that do not work right now, and why in words."""
        with self._lock:
            return dict(self._down)

    def failed(self, part: str, error: BaseException) -> None:
        """Count an unforeseen exception, and log it with its traceback unless it was just the same before."""
        where, now = _place(error), self._clock()
        with self._lock:
            self._errors[part] = self._errors.get(part, 0) + 1
            count = self._errors[part]
            last, at = self._logged.get(part, ("", 0.0))
            if where == last and now < at + REPEATED_AFTER:
                return
            self._logged[part] = (where, now)
        if where == last:
            log.error("%s: the same error as before, %d in all: %r", part, count, error)
        else:
            log.error("%s: an unforeseen error, a bug: %r", part, error, exc_info=error)

    def mark_down(self, part: str, reason: str, consequence: str = "") -> None:
        """Note that a part cannot work for a reason outside the program; logged when it is news."""
        with self._lock:
            if part in self._down:
                self._down[part] = reason
                return
            self._down[part] = reason
        log.error("%s: %s%s", part, reason, f"; {consequence}" if consequence else "")

    def mark_up(self, part: str) -> None:
        """Note that a part works; logged when it did not before."""
        with self._lock:
            if self._down.pop(part, None) is None:
                return
        log.warning("%s: works again", part)

    def guard(self, part: str) -> Guarded:
        """`with upkeep.guard(part):` ends the block at an exception, and nothing else."""
        return Guarded(self, part)

    async def keep(self, part: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `run` run until it returns; start it again, after a growing pause, when it fails."""
        pauses = _Pauses(self._clock)
        while True:
            pauses.begin()
            try:
                await self._alone(part, run)
                return
            except Exception as error:
                self.failed(part, error)
            with self._pause(part):
                await asyncio.sleep(pauses.next())

    async def _alone(self, part: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await it in a task of its own.

        A task group whose tasks fail hides a cancellation of the task that it runs in, and until Python 3.13
        it may leave the mark of one behind.
        """
        task = asyncio.get_running_loop().create_task(run(), name=part)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                self.failed(part, error)
            raise
        await task

    def keep_thread(self, part: str, run: Callable[[], None], stopped: threading.Event) -> None:
        """The same in the current thread, until `stopped`."""
        pauses = _Pauses(self._clock)
        while True:
            pauses.begin()
            try:
                run()
                return
            except Exception as error:
                self.failed(part, error)
            with self._pause(part):
                if stopped.wait(pauses.next()):
                    return

    def loop_failed(self, _: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """An exception handler of the event loop: callbacks and tasks whose errors nobody awaits."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self.failed("event loop", error)
        else:
            log.error("event loop: %s", context.get("message"))

    def _pause(self, part: str) -> _Down:
        return _Down(self._lock, self._down, part)


class Guarded:
    """See `Upkeep.guard`; `failed` says afterwards whether there was an exception."""

    __slots__ = ("_part", "_upkeep", "failed")

    def __init__(self, upkeep: Upkeep, part: str) -> None:
        self._upkeep = upkeep
        self._part = part
        self.failed = False

    def __enter__(self) -> Guarded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed = True
        self._upkeep.failed(self._part, error)
        return True


class _Down:
    """A part does not work for the length of this block."""

    def __init__(self, lock: threading.Lock, down: dict[str, str], part: str) -> None:
        self._lock = lock
        self._down = down
        self._part = part

    def __enter__(self) -> None:
        with self._lock:
            self._down[self._part] = INTERNAL_ERROR

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._down.pop(self._part, None)


class _Pauses:
    """The pauses between the starts of one part."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = 0.0
        self._next = FIRST_PAUSE

    def begin(self) -> None:
        self._begun = self._clock()

    def next(self) -> float:
        if self._clock() - self._begun >= RECOVERED_AFTER:
            self._next = FIRST_PAUSE
        pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE)
        return pause


def _place(error: BaseException) -> str:
    """What tells this error from another: its type and the line that raised it; of a group, the first's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__qualname__} {where}"
