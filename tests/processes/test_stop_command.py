"""Stopping with a command of the operator's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from swapyard.types import ModelId

if TYPE_CHECKING:
    from tests.processes.conftest import Yard

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
MODEL = ModelId("gemma")


def test_it_gets_the_pid_and_the_environment_and_sigterm_is_not_sent(run: Run, yard: Yard) -> None:
    """P-29."""
    script = (
        "trap 'echo got TERM' TERM; trap 'echo got USR1; exit 0' USR1; echo up; while :; do sleep 0.01; done"
    )
    seen = yard.folder / "seen"
    stop = f"""sh -c 'echo "$NAME" > {seen}; kill -USR1 ${{PID}}'"""

    async def main() -> None:
        spec = yard.shell(script, stop_command=stop, env=(f"SWAPYARD_TEST={yard.marker}", "NAME=gemma"))
        async with yard.running(spec):
            await yard.load()
            await yard.printed("up")
            await yard.stop(grace=10)
            assert b"got USR1" in yard.output
            assert b"got TERM" not in yard.output
            assert seen.read_text() == "gemma\n"

    run(main)


@pytest.mark.parametrize("stop", ["no-such-program ${PID}", "false", "true", "sleep 1000"])
def test_a_stop_command_that_does_not_help_is_followed_by_sigkill_after_the_grace(
    run_once: Run, yard: Yard, stop: str
) -> None:
    """P-30; nothing is left of a hanging one either."""

    async def main() -> None:
        async with yard.running(yard.spec(stop_command=stop)):
            await yard.load()
            await yard.printed("signals set")
            begun = time.monotonic()
            await yard.stop(grace=0.5)
            assert time.monotonic() - begun > 0.49
            assert yard.alive() == []

    run_once(main)


def test_a_stop_command_that_is_no_command_is_replaced_by_sigterm(run_once: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard.running(yard.spec(stop_command="# nothing")):
            await yard.load()
            await yard.printed("signals set")
            await yard.stop(grace=100)
            assert any("cmdStop is unusable (empty command)" in line for line in yard.logged)

    run_once(main)


def test_what_is_left_after_the_direct_child_gets_sigterm(run_once: Run, yard: Yard) -> None:
    async def main() -> None:
        spec = yard.shell("sleep 1000 & echo up; wait", stop_command="kill -KILL ${PID}")
        async with yard.running(spec):
            await yard.load()
            await yard.printed("up")
            await yard.stop(grace=1000)
            assert yard.alive() == []

    run_once(main)


def test_a_stop_command_may_finish_after_the_child_within_the_grace(run_once: Run, yard: Yard) -> None:
    gate, done = yard.folder / "gate", yard.folder / "done"
    wait = f"until test -e {gate}; do sleep 0.01; done"

    async def main() -> None:
        spec = yard.spec(stop_command=f"sh -c 'kill ${{PID}}; {wait}; echo done > {done}'")
        async with yard.running(spec):
            await yard.load()
            await yard.printed("signals set")
            await yard.stop(grace=1000)
            assert not done.exists()
            gate.touch()
            await yard.until_alive(0)
            assert done.exists()

    run_once(main)
