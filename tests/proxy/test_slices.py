"""Long work in slices: everybody has a turn, and work that is given up tidies up."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from swapyard.proxy.json_scan import Walk
from swapyard.proxy.slices import SLICE, Slices, finished


def short(result: int) -> Walk[int]:
    return result
    yield


def long(name: str, log: list[str]) -> Walk[str]:
    """Work of a few slices, each of which it writes down."""
    try:
        yield
        for _ in range(3):
            log.append(name)
            until = time.perf_counter() + SLICE
            while time.perf_counter() < until:
                pass
            yield
        return name
    finally:
        log.append(f"{name} ends")


def test_short_work_is_done_before_anybody_else_has_a_turn() -> None:
    async def main() -> None:
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        assert await Slices().run(short(7)) == 7
        assert turns == []

    asyncio.run(main())
    assert finished(short(7)) == 7


def test_long_work_of_many_takes_turns_with_each_other_and_with_everybody() -> None:
    async def main() -> None:
        log: list[str] = []
        slices = Slices()
        works = [asyncio.create_task(slices.run(long(name, log))) for name in "abc"]
        while not all(work.done() for work in works):
            log.append(".")
            await asyncio.sleep(0)
        assert [work.result() for work in works] == ["a", "b", "c"]
        said = [word for word in log if len(word) == 1 and word != "."]
        assert said == list("abcabcabc")
        # Between two slices everybody else had a turn.
        slices_and_turns = [word for word in log if len(word) == 1]
        assert all("." in pair for pair in pairwise(slices_and_turns))

    asyncio.run(main())


def test_work_that_is_given_up_or_fails_tidies_up_and_holds_nobody_else_up() -> None:
    def failing() -> Walk[int]:
        yield
        raise ValueError

    async def main() -> None:
        log: list[str] = []
        slices = Slices()
        given_up = asyncio.create_task(slices.run(long("a", log)))
        await asyncio.sleep(0)
        assert log == ["a"]
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert log[-1] == "a ends"
        with pytest.raises(ValueError):
            await slices.run(failing())
        assert await slices.run(long("b", log)) == "b"

    asyncio.run(main())
