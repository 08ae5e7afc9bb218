"""What runs for long goes on whatever happens in it, and says what happened."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from swapyard.upkeep import REPEATED_AFTER, Upkeep


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_error_is_logged_once_with_its_traceback_and_always_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    upkeep = Upkeep(clock)

    def fail() -> None:
        with upkeep.guard("part"):
            raise KeyError("missing")

    for _ in range(100):
        fail()
    (record,) = caplog.records
    assert record.exc_info is not None and "KeyError('missing')" in record.message
    clock.now += REPEATED_AFTER
    fail()
    with upkeep.guard("part"):
        raise KeyError("elsewhere")
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, True]
    assert upkeep.errors() == {"part": 102}
    assert upkeep.down() == {}


def test_a_task_that_fails_is_started_again_until_it_returns() -> None:
    down: list[dict[str, str]] = []

    class Pausing(logging.Handler):
        """Looks a moment after the error was logged: then the part waits to be started again."""

        def emit(self, _: logging.LogRecord) -> None:
            asyncio.get_running_loop().call_soon(lambda: down.append(dict(upkeep.down())))

    upkeep = Upkeep()
    handler = Pausing()

    async def run() -> None:
        down.append(dict(upkeep.down()))
        if len(down) < 5:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(broken(len(down)))

    async def broken(turn: int) -> None:
        if turn == 1:
            raise RuntimeError("a bug")
        raise RuntimeError("another")

    async def main() -> None:
        logging.getLogger("swapyard.upkeep").addHandler(handler)
        try:
            await upkeep.keep("part", run)
        finally:
            logging.getLogger("swapyard.upkeep").removeHandler(handler)

    asyncio.run(main())
    paused = {"part": "internal error, the log has the details"}
    assert down == [{}, paused, {}, paused, {}]
    assert upkeep.errors() == {"part": 2}


def test_a_task_is_not_started_again_once_it_is_cancelled() -> None:
    upkeep = Upkeep()
    started = 0
    begun = asyncio.Event()

    async def run() -> None:
        nonlocal started
        started += 1
        begun.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(breaks_when_it_is_cancelled())

    async def breaks_when_it_is_cancelled() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise RuntimeError("a bug in the tidying")

    async def main() -> None:
        task = asyncio.create_task(upkeep.keep("part", run))
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (started, upkeep.errors()) == (1, {"part": 1})


def test_a_thread_that_fails_is_started_again_and_ends_when_it_is_stopped() -> None:
    upkeep = Upkeep()
    stopped, twice = threading.Event(), threading.Event()
    started = 0

    def run() -> None:
        nonlocal started
        started += 1
        if started == 2:
            twice.set()
        raise RuntimeError("a bug")

    thread = threading.Thread(target=upkeep.keep_thread, args=("part", run, stopped))
    thread.start()
    assert twice.wait(10)
    stopped.set()
    thread.join(10)
    assert not thread.is_alive()
    assert upkeep.errors()["part"] == started


def test_what_is_wrong_outside_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    upkeep = Upkeep()
    for _ in range(5):
        upkeep.mark_down("activity log", "disk is full", "rows wait")
    assert upkeep.down() == {"activity log": "disk is full"}
    for _ in range(5):
        upkeep.mark_up("activity log")
    assert [record.getMessage() for record in caplog.records] == [
        "activity log: disk is full; rows wait",
        "activity log: works again",
    ]
    assert upkeep.down() == {} and upkeep.errors() == {}


def test_an_error_in_a_callback_of_the_loop_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    upkeep = Upkeep()

    def fail() -> None:
        raise RuntimeError("a bug")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(upkeep.loop_failed)
        loop.call_soon(fail)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert upkeep.errors() == {"event loop": 1}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
