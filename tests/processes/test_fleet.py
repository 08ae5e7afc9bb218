"""A fleet of real processes: loading, stopping, exits, and that nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from swapyard.config.commands import split_posix
from swapyard.processes.fleet import Fleet
from swapyard.types import Exit, ModelId, State

if TYPE_CHECKING:
    from tests.processes.conftest import Yard

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
MODEL = ModelId("gemma")
OTHER = ModelId("qwen")

STARTING, READY, STOPPING, STOPPED = State.STARTING, State.READY, State.STOPPING, State.STOPPED


def test_a_model_can_be_loaded_and_stopped_again_and_again(run: Run, yard: Yard, free_port: int) -> None:
    """P-02."""

    async def main() -> None:
        async with yard.running(yard.spec(port=free_port)):
            for start in (1, 2):
                assert await yard.load() is None
                assert yard.fleet.status(MODEL).start == start
                await yard.stop()
                assert yard.alive() == []
            assert yard.states() == [STARTING, READY, STOPPING, STOPPED] * 2

    run(main)


def test_loading_a_ready_model_starts_nothing(run: Run, yard: Yard) -> None:
    """P-03."""

    async def main() -> None:
        async with yard.running(yard.spec()):
            await yard.load()
            pid = yard.pid()
            assert await yard.load() is None
            assert yard.pid() == pid
            assert yard.fleet.status(MODEL).start == 1

    run(main)


def test_stopping_a_stopped_model_is_answered(run: Run, yard: Yard) -> None:
    """P-04."""

    async def main() -> None:
        async with yard.running(yard.spec()):
            await yard.stop()
            await yard.stop()
            assert yard.states() == []

    run(main)


def test_a_stop_aborts_a_load_at_once_also_while_a_probe_hangs(run: Run, yard: Yard, free_port: int) -> None:
    """P-05, R-05."""

    async def main() -> None:
        async with yard.running(yard.spec("answer=never", port=free_port)):
            yard.fleet.load(MODEL)
            await yard.printed("holding")
            await yard.stop()
            answers = [report for report in yard.reports if report[0] != "state"]
            assert answers == [("loaded", MODEL, "aborted: test"), ("stopped", MODEL)]
            assert yard.states() == [STARTING, STOPPING, STOPPED]

    run(main)


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(run: Run, yard: Yard) -> None:
    """P-06."""

    async def main() -> None:
        async with yard.running(yard.spec("sigterm=ignored")):
            await yard.load()
            await yard.printed("signals set")
            begun = time.monotonic()
            await yard.stop(grace=0.6)
            assert time.monotonic() - begun >= 0.59
            assert yard.state() is STOPPED
            assert yard.alive() == []

    run(main)


def test_a_child_that_cleans_up_within_the_grace_is_not_killed(run: Run, yard: Yard) -> None:
    """P-07."""

    async def main() -> None:
        async with yard.running(yard.spec("cleanup=0.4")):
            await yard.load()
            await yard.printed("signals set")
            begun = time.monotonic()
            await yard.stop(grace=1000)
            assert time.monotonic() - begun >= 0.4
            assert b"cleaned up" in yard.output

    run(main)


def test_what_a_wrapper_script_started_is_gone_after_a_stop(run: Run, yard: Yard) -> None:
    """P-08, P-09, P-12."""

    async def main() -> None:
        async with yard.running(yard.shell("sleep 1000 & echo up; wait")):
            await yard.load()
            await yard.printed("up")
            await yard.until_alive(2)
            await yard.stop()
            assert yard.alive() == []

    run(main)


def test_a_descendant_that_ignores_sigterm_keeps_the_rest_of_the_grace(run: Run, yard: Yard) -> None:
    async def main() -> None:
        script = "(trap '' TERM; echo up; while :; do sleep 1000; done) & trap 'exit 0' TERM; wait"
        async with yard.running(yard.shell(script)):
            await yard.load()
            await yard.printed("up")
            begun = time.monotonic()
            await yard.stop(grace=0.6)
            assert time.monotonic() - begun >= 0.59
            assert yard.alive() == []

    run(main)


def test_job_control_within_a_wrapper_script_hides_nothing(run_once: Run, yard: Yard) -> None:
    async def main() -> None:
        script = "set -m; (trap '' TERM; echo up; while :; do sleep 1000; done) & wait"
        async with yard.running(yard.shell(script)):
            await yard.load()
            await yard.printed("up")
            await yard.stop(grace=0.3)
            assert yard.alive() == []

    run_once(main)


def test_a_load_asked_while_stopping_starts_afresh(run: Run, yard: Yard) -> None:
    """P-10."""

    async def main() -> None:
        async with yard.running(yard.spec("cleanup=0.2")):
            await yard.load()
            await yard.printed("signals set")
            yard.fleet.stop(MODEL, 10, "test")
            assert await yard.load() is None
            assert yard.states() == [STARTING, READY, STOPPING, STOPPED, STARTING, READY]

    run(main)


def test_an_exit_while_loading_fails_the_load_at_once_with_the_last_output(
    run: Run, yard: Yard, free_port: int
) -> None:
    """P-15, P-17."""

    async def main() -> None:
        spec = yard.spec("exit_after=0.1", "code=3", "say=out of memory", "listen_after=60", port=free_port)
        async with yard.running(spec):
            error = await yard.load()
            assert error is not None
            assert error.startswith("upstream command exited prematurely (exit status 3)")
            assert "out of memory" in error
            assert yard.states() == [STARTING, STOPPED]
            assert (
                yard.fleet.status(MODEL).last_error == "upstream command exited prematurely (exit status 3)"
            )

    run(main)


def test_a_ready_child_that_is_killed_is_gone_at_once(run: Run, yard: Yard) -> None:
    """P-19."""

    async def main() -> None:
        async with yard.running(yard.spec()):
            await yard.load()
            os.kill(yard.pid(), signal.SIGKILL)
            await yard.until(lambda: yard.count("gone", MODEL, Exit(signal=signal.SIGKILL)))
            assert yard.states() == [STARTING, READY, STOPPED]
            assert yard.fleet.status(MODEL).last_error == "exited by itself (killed by SIGKILL)"
            assert await yard.load() is None

    run(main)


def test_the_second_stop_shortens_the_grace_and_one_answer_is_given(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard.running(yard.spec("sigterm=ignored")):
            await yard.load()
            await yard.printed("signals set")
            yard.fleet.stop(MODEL, 60, "unload")
            await yard.until(lambda: yard.state() is STOPPING)
            await yard.stop(grace=0)
            assert yard.count("stopped") == 1

    run(main)


def test_several_models_are_stopped_side_by_side(run_once: Run, yard: Yard) -> None:
    """P-37."""

    async def main() -> None:
        models = [ModelId(f"m{number}") for number in range(10)]
        async with yard.running(*(yard.spec("sigterm=ignored", model=model) for model in models)):
            await asyncio.gather(*map(yard.load, models))
            await yard.until(lambda: yard.output.count(b"signals set") == len(models))
            begun = time.monotonic()
            await asyncio.gather(*(yard.stop(0.5, model) for model in models))
            # One after the other they would take twice as long.
            assert time.monotonic() - begun < 0.5 * len(models) / 2

    run_once(main)


def test_no_child_outlives_the_fleet(run: Run, yard: Yard) -> None:
    """P-11."""

    async def main() -> None:
        async with yard.running(yard.shell("sleep 1000 & echo up; wait")):
            await yard.load()
            await yard.printed("up")
            await yard.until_alive(2)
        assert yard.alive() == []
        assert yard.states() == [STARTING, READY, State.SHUTDOWN]

    run(main)


def test_r21_a_stop_that_races_with_readiness_has_one_of_two_defined_results(
    run: Run, yard: Yard, free_port: int
) -> None:
    def answered_more_than(times: int) -> Callable[[], bool]:
        return lambda: yard.output.count(b"answered 200") > times

    async def main() -> None:
        answers = 0
        async with yard.running(yard.spec(port=free_port)):
            for number in range(10):
                loading = asyncio.create_task(yard.load())
                if number % 2:
                    # The probe has just been answered: readiness is on its way.
                    await yard.until(answered_more_than(answers))
                else:
                    await asyncio.sleep(number * 0.01)
                await yard.stop()
                assert await loading in (None, "aborted: test")
                assert yard.state() is STOPPED
                assert yard.count("loaded") == yard.count("stopped") == number + 1
                assert yard.alive() == []
                answers = yard.output.count(b"answered 200")

    run(main)


def test_r22_the_end_of_the_fleet_during_a_load_reports_it_and_leaves_no_child(
    run: Run, yard: Yard, free_port: int
) -> None:
    async def main() -> None:
        async with yard.running(yard.spec("answer=never", port=free_port)):
            yard.fleet.load(MODEL)
            await yard.printed("holding")
        assert yard.alive() == []
        (error,) = [report[2] for report in yard.reports if report[:2] == ("loaded", MODEL)]
        assert error
        assert yard.states() == [STARTING, State.SHUTDOWN]

    run(main)


def a_bug(_: str) -> list[str]:
    raise RuntimeError("a bug")


def test_a_bug_in_the_supervision_of_one_model_ends_its_child_and_nothing_else(run: Run, yard: Yard) -> None:
    async def main() -> None:
        mine = yard.shell("sleep 1000 & wait", stop_command="unload it")
        async with yard.running(mine, yard.shell("sleep 1001 & wait", model=OTHER)):
            assert await yard.load() is None and await yard.load(OTHER) is None
            other = yard.pid(OTHER)
            yard.split = a_bug
            await yard.stop()
            status = yard.fleet.status(MODEL)
            assert (status.state, status.pid) == (STOPPED, None)
            assert "a bug" in (status.last_error or "")
            assert (yard.state(OTHER), yard.pid(OTHER)) == (READY, other)
            # It is supervised again, and starts as if nothing had been.
            yard.split = split_posix
            assert await yard.load() is None
            assert yard.upkeep.errors() == {f"supervisor of {MODEL}": 1}
            assert yard.states() == [STARTING, READY, STOPPING, STOPPED, STARTING, READY]
        assert yard.alive() == []

    run(main)


def test_a_bug_while_a_model_loads_is_told_as_its_failure(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard.running(yard.spec(command="sleep 1000")):
            yard.split = a_bug
            assert "a bug" in (await yard.load() or "")
            assert yard.states() == [STARTING, STOPPED]
            yard.split = split_posix
            assert await yard.load() is None

    run(main)


def test_a_model_whose_supervision_fails_while_it_serves_is_told_to_be_gone(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard.running(yard.shell("sleep 1000 & wait")):
            assert await yard.load() is None
            # Nobody asked for anything: an event that nobody could have sent.
            yard.fleet._supervisors[MODEL]._inbox.put_nowait(None)  # type: ignore[arg-type]
            await yard.until(lambda: yard.count("gone", MODEL))
            assert yard.state() is STOPPED and yard.alive() == []
            assert await yard.load() is None

    run(main)


def test_a_bug_in_whoever_is_told_leaves_the_fleet_running(run_once: Run, yard: Yard) -> None:
    told: list[str] = []

    def fail(*_: object) -> None:
        told.append("told")
        raise RuntimeError("a bug")

    async def main() -> None:
        fleet = Fleet(
            on_load_finished=fail,
            on_stop_finished=fail,
            on_exited=fail,
            on_gone=fail,
            on_state=lambda *_: None,
            output=lambda *_: None,
            log=lambda *_: None,
            ledger=None,
        )
        fleet.apply({model: yard.shell("sleep 1000 & wait", model=model) for model in (MODEL, OTHER)})
        task = asyncio.create_task(fleet.run())
        fleet.load(MODEL)
        fleet.load(OTHER)
        async with asyncio.timeout(10):
            while len(told) < 2 or yard.alive():  # noqa: ASYNC110 - whoever would tell is what fails here
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_once(main)


def test_a_changed_model_keeps_its_process_until_it_is_loaded_again(
    run_once: Run, yard: Yard, free_port: int
) -> None:
    async def main() -> None:
        first = yard.spec(port=free_port)
        second = replace(first, proxy=f"http://127.0.0.1:{free_port}/v2")
        async with yard.running(first):
            await yard.load()
            yard.fleet.apply({MODEL: second})
            assert yard.fleet.status(MODEL).base_url == first.proxy
            await yard.stop()
            await yard.load()
            assert yard.fleet.status(MODEL).base_url == second.proxy

    run_once(main)


def test_a_removed_model_is_forgotten_once_it_has_stopped(run_once: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard.running(yard.spec()):
            await yard.load()
            yard.fleet.apply({})
            assert [status.model for status in yard.fleet.statuses()] == [MODEL]
            await yard.stop()
            assert yard.fleet.statuses() == []
            await yard.stop()
            error = await yard.load()
            assert error == "unknown model: gemma"

    run_once(main)
