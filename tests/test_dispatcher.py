"""Leases over a fleet of real processes: granted, waited for, refused, and given back exactly once."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from swapyard.dispatcher import Dispatcher, Guest, Lease
from swapyard.errors import Fault, RequestError, UpstreamError, UpstreamGoneError
from swapyard.processes.fleet import Fleet, ProcessSpec
from swapyard.scheduling.events import LeaseReleased
from swapyard.scheduling.groups import Group, group_planner
from swapyard.scheduling.policy import Eviction, ModelPolicy, OrderKind, Planner, Policy
from swapyard.types import ModelId, State, StopCause, Ticket
from swapyard.upkeep import Upkeep

Run = Callable[[Coroutine[Any, Any, None]], None]

A, B = ModelId("a"), ModelId("b")
EXCLUSIVE = group_planner([Group("all", swap=True, exclusive=True, persistent=False, members=(A, B))])


def policy(**limits: int) -> Policy:
    models = {model: ModelPolicy(limit=limits.get(model, 0), grace=5) for model in (A, B)}
    return Policy(models, EXCLUSIVE, OrderKind.FIFO)


class Track:
    """A dispatcher with its fleet, and what it told those who watch."""

    def __init__(self, rules: Policy) -> None:
        self.logged: list[tuple[int, str]] = []
        self.moved: list[ModelId] = []
        self.stopping: list[tuple[ModelId, StopCause]] = []
        self._stirred = asyncio.Event()
        self.fleet = Fleet(
            on_load_finished=lambda model, error: self.dispatcher.load_finished(model, error),
            on_stop_finished=lambda model: self.dispatcher.stop_finished(model),
            on_exited=lambda *exit: self.dispatcher.exited(*exit),
            on_gone=lambda model, how: self.dispatcher.gone(model, how),
            on_state=lambda *_: self._stir(),
            output=lambda *_: None,
            log=lambda *_: None,
            ledger=None,
        )
        self.fleet.apply({model: spec(model, "sleep 600") for model in (A, B)})
        self.upkeep = Upkeep()
        self.dispatcher = Dispatcher(
            rules, self.fleet, clock=time.monotonic, log=self._log, upkeep=self.upkeep
        )
        self.bugs: list[Exception] = []
        self.dispatcher.watch(
            self.moved.append,
            lambda model, cause: self.stopping.append((model, cause)),
            self.bugs.append,
        )

    def _log(self, level: int, message: str) -> None:
        self.logged.append((level, message))

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def reached(self, model: ModelId, state: State) -> None:
        """Wait until this model's process is in this state."""
        async with asyncio.timeout(20):
            while self.fleet.status(model).state is not state:
                await self._stirred.wait()

    @property
    def free(self) -> bool:
        scheduler = self.dispatcher.scheduler
        return all(scheduler.in_flight(m) == 0 and scheduler.waiting(m) == 0 for m in (A, B))


def spec(model: ModelId, command: str, probe: str = "none") -> ProcessSpec:
    return ProcessSpec(model, command, "", (), "http://127.0.0.1:9", probe, 15, 5)


@asynccontextmanager
async def track(rules: Policy | None = None) -> AsyncIterator[Track]:
    made = Track(rules or policy())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.fleet.run())
        try:
            yield made
            assert made.free and made.bugs == []
        finally:
            await made.dispatcher.unload([A, B], 1)
            running.cancel()


async def granted(lease: Lease) -> None:
    async with lease:
        pass


def test_a_lease_loads_the_model_and_names_its_server(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A) as loaded:
                assert (loaded.model, loaded.base_url, loaded.start) == (A, "http://127.0.0.1:9", 1)
                assert yard.fleet.status(A).state is State.READY
                assert yard.dispatcher.scheduler.in_flight(A) == 1
            assert yard.dispatcher.load_begun(A) is not None and yard.dispatcher.load_begun(B) is None

    run(main())


def test_a_lease_on_a_ready_model_is_granted_within_the_same_turn(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            await granted(yard.dispatcher.lease(A))
            lease = yard.dispatcher.lease(A)
            lease.ask()
            assert lease.granted and lease.waiting is None and lease.position is None
            lease.abandon()
            assert yard.free

    run(main())


def test_who_waits_can_be_told_for_what_and_where_in_line(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                waiting = [yard.dispatcher.lease(B) for _ in range(2)]
                for lease in waiting:
                    lease.ask()
                assert [lease.granted for lease in waiting] == [False, False]
                assert [lease.position for lease in waiting] == [1, 2]
                assert "in flight" in waiting[0].reason
                assert yard.dispatcher.waiting_reasons(B) == [waiting[0].reason]
                assert yard.dispatcher.waiting_reasons(A) == []
            for lease in waiting:
                async with lease as loaded:
                    assert loaded.model == B
            assert (A, StopCause.EVICTED) in yard.stopping

    run(main())


def test_a_caller_that_leaves_while_it_waits_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                task = asyncio.create_task(granted(yard.dispatcher.lease(B)))
                await asyncio.sleep(0.01)
                assert yard.dispatcher.scheduler.waiting(B) == 1
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert yard.dispatcher.scheduler.waiting(B) == 0
            await asyncio.sleep(0.05)
            assert yard.fleet.status(B).start == 0

    run(main())


def test_r12_a_caller_that_is_already_cancelled_when_it_asks_reserves_nothing(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:

            async def cancelled_before_it_asks() -> None:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await granted(yard.dispatcher.lease(B))

            async with yard.dispatcher.lease(A):
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.create_task(cancelled_before_it_asks())
                assert yard.dispatcher.scheduler.waiting(B) == 0
            # The lease on A was all that B could have waited for.
            await granted(yard.dispatcher.lease(A))
            assert yard.fleet.status(B).start == 0

    run(main())


def test_a_caller_that_is_cancelled_in_the_moment_of_its_grant_gives_the_lease_back(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            lease = yard.dispatcher.lease(A)
            task = asyncio.create_task(granted(lease))

            def moved(_: ModelId) -> None:
                # Granted, and the task has not run since.
                if lease.granted:
                    task.cancel()

            yard.dispatcher.watch(moved, lambda *_: None, yard.bugs.append)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert yard.free and yard.fleet.status(A).state is State.READY

    run(main())


def test_a_caller_that_was_cancelled_just_before_its_grant_gives_the_lease_back(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            lease = yard.dispatcher.lease(A)
            task = asyncio.create_task(granted(lease))
            await asyncio.sleep(0)
            task.cancel()
            yard.dispatcher.load_finished(A, None)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert yard.free

    run(main())


def test_a_refusal_that_nobody_waits_for_any_more_is_no_unheard_exception(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                lease = yard.dispatcher.lease(B)
                lease.ask()
                await yard.dispatcher.unload([B])
                assert lease.refusal is not None and lease.waiting is not None and lease.waiting.done()
                lease.abandon()
        del lease
        gc.collect()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert caplog.text == ""


def test_an_exception_inside_the_block_gives_the_lease_back_once(run: Run) -> None:
    """R-28."""

    async def main() -> None:
        async with track() as yard:
            lease = yard.dispatcher.lease(A)
            with pytest.raises(LookupError):
                async with lease:
                    raise LookupError
            lease.abandon()
            lease.abandon()
            assert yard.free

    run(main())


def test_a_load_that_fails_refuses_with_the_reason_and_the_log_says_so(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            yard.fleet.apply({A: spec(A, "sh -c 'exit 3'", "/health"), B: spec(B, "sleep 600")})
            with pytest.raises(RequestError) as refused:
                await granted(yard.dispatcher.lease(A))
            assert refused.value.fault is Fault.LOAD_FAILED and "3" in refused.value.message
            assert any(level == logging.ERROR and "failed to load" in text for level, text in yard.logged)

    run(main())


def test_a_command_that_does_not_exist_is_refused_before_anything_is_evicted(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            await granted(yard.dispatcher.lease(A))
            yard.fleet.apply({A: spec(A, "sleep 600"), B: spec(B, "/no/such/program")})
            with pytest.raises(RequestError, match="/no/such/program"):
                await granted(yard.dispatcher.lease(B))
            assert yard.fleet.status(A).state is State.READY and yard.stopping == []

    run(main())


def test_a_limit_refuses_at_once_and_counts_those_who_wait(run: Run) -> None:
    async def main() -> None:
        async with track(policy(b=2)) as yard:
            async with yard.dispatcher.lease(A):
                waiting = [yard.dispatcher.lease(B) for _ in range(2)]
                for lease in waiting:
                    lease.ask()
                with pytest.raises(RequestError) as refused:
                    yard.dispatcher.lease(B).ask()
                assert refused.value.fault is Fault.CONCURRENCY_LIMIT
                assert (refused.value.message, refused.value.retry_after) == ("Too many requests", 1)
                waiting.pop().abandon()
                again = yard.dispatcher.lease(B)
                again.ask()
                again.abandon()
                waiting.pop().abandon()

    run(main())


def test_without_a_limit_512_may_wait_and_no_more(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                waiting = [yard.dispatcher.lease(B) for _ in range(512)]
                for lease in waiting:
                    lease.ask()
                with pytest.raises(RequestError) as refused:
                    yard.dispatcher.lease(B).ask()
                assert refused.value.fault is Fault.QUEUE_FULL and refused.value.retry_after is not None
                for lease in waiting:
                    lease.abandon()

    run(main())


def test_a_name_that_the_scheduler_does_not_know_keeps_the_originals_words(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            with pytest.raises(RequestError, match=r"^no local server found for requested model$"):
                await granted(yard.dispatcher.lease(ModelId("nobody")))

    run(main())


def test_an_unload_ends_when_the_processes_are_gone_and_refuses_who_waits(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            holding, _ = await held(yard.dispatcher.lease(A))
            waiting = asyncio.create_task(granted(yard.dispatcher.lease(B)))
            await asyncio.sleep(0.01)
            await yard.dispatcher.unload([A, B])
            assert yard.fleet.status(A).state is State.STOPPED
            for task in (holding, waiting):
                with pytest.raises(RequestError) as refused:
                    await task
                assert refused.value.fault is Fault.MODEL_UNLOADED and refused.value.retry_after is not None

    run(main())


async def held(use: Lease | Guest) -> tuple[asyncio.Task[None], asyncio.Event]:
    """A use of a model in the hands of a task, which lets go of it when the event is set."""
    inside, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        try:
            async with use:
                inside.set()
                await let_go.wait()
        finally:
            inside.set()

    task = asyncio.create_task(hold())
    await inside.wait()
    if task.done():
        await task
    return task, let_go


def test_a_lease_whose_process_is_stopped_ends_before_the_process_and_says_why(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            holding, _ = await held(yard.dispatcher.lease(A))
            unloading = asyncio.create_task(yard.dispatcher.unload([A]))
            with pytest.raises(RequestError, match="a was unloaded"):
                await holding
            assert yard.fleet.status(A).pid is not None
            await unloading

    run(main())


def test_a_lease_that_a_shutdown_ends_says_so(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            holding, _ = await held(yard.dispatcher.lease(A))
            yard.dispatcher.refuse_everybody()
            await yard.dispatcher.unload([A])
            with pytest.raises(RequestError) as ended:
                await holding
            assert ended.value.fault is Fault.SHUTTING_DOWN and ended.value.retry_after is not None

    run(main())


def test_a_lease_that_is_ended_between_its_grant_and_its_holders_turn_raises_the_cause(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            lease = yard.dispatcher.lease(A)
            lease.ask()
            assert lease.waiting is not None
            await lease.waiting
            unloading = asyncio.create_task(yard.dispatcher.unload([A]))
            await asyncio.sleep(0)
            with pytest.raises(RequestError, match="a was unloaded"):
                await granted(lease)
            await unloading

    run(main())


def test_a_client_that_leaves_while_its_model_is_unloaded_has_left(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            holding, _ = await held(yard.dispatcher.lease(A))
            unloading = asyncio.create_task(yard.dispatcher.unload([A]))
            await asyncio.sleep(0)
            holding.cancel("the client left")
            with pytest.raises(asyncio.CancelledError):
                await holding
            await unloading

    run(main())


def test_a_reload_lets_leases_on_a_changed_model_end_by_themselves(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            holding, let_go = await held(yard.dispatcher.lease(A))
            yard.dispatcher.change_policy(policy(), changed=[A])
            await asyncio.sleep(0.05)
            assert not holding.done() and yard.fleet.status(A).state is State.READY
            let_go.set()
            await holding
            await yard.reached(A, State.STOPPED)
            assert yard.stopping == [(A, StopCause.CHANGED)]

    run(main())


def test_a_guest_is_let_in_only_while_the_model_is_ready_and_sent_away_with_the_cause(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            with pytest.raises(RequestError, match="not loaded"):
                await held(yard.dispatcher.guest(A))
            await granted(yard.dispatcher.lease(A))
            visiting, _ = await held(yard.dispatcher.guest(A))
            assert yard.dispatcher.scheduler.in_flight(A) == 0
            await yard.dispatcher.unload([A])
            with pytest.raises(RequestError, match="a was unloaded"):
                await visiting

    run(main())


async def broken(lease: Lease, after: Coroutine[Any, Any, None]) -> None:
    """Hold the lease until the connection to its process breaks."""
    async with lease:
        await after
        raise UpstreamGoneError(Fault.BAD_GATEWAY, "127.0.0.1:9: it closed the connection")


def test_a_connection_that_breaks_with_its_process_is_told_how_the_process_ended(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            dying = "sh -c 'echo out of memory; kill -9 $$'"
            yard.fleet.apply({A: spec(A, dying), B: spec(B, "sleep 600")})
            with pytest.raises(UpstreamError) as ended:
                await broken(yard.dispatcher.lease(A), yard.reached(A, State.STOPPED))
            assert ended.value.fault is Fault.BAD_GATEWAY
            assert ended.value.message == "a ended by itself: killed by SIGKILL; last output:\nout of memory"

    run(main())


def test_a_connection_that_breaks_while_its_process_lives_keeps_its_own_reason(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            with pytest.raises(UpstreamError, match="it closed the connection"):
                await broken(yard.dispatcher.lease(A), asyncio.sleep(0))

    run(main())


def test_an_unload_that_nobody_waits_for_any_more_goes_on(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            await granted(yard.dispatcher.lease(A))
            impatient = asyncio.create_task(yard.dispatcher.unload([A]))
            await asyncio.sleep(0)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            await yard.dispatcher.unload([A])
            assert yard.fleet.status(A).state is State.STOPPED

    run(main())


def test_everybody_who_waits_or_comes_is_refused_once_a_shutdown_has_begun(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                waiting = asyncio.create_task(granted(yard.dispatcher.lease(B)))
                await asyncio.sleep(0.01)
                yard.dispatcher.refuse_everybody()
                with pytest.raises(RequestError) as refused:
                    await waiting
                assert refused.value.fault is Fault.SHUTTING_DOWN and refused.value.retry_after is not None
                with pytest.raises(RequestError):
                    yard.dispatcher.lease(A).ask()

    run(main())


def test_watchers_hear_of_every_move_of_a_models_requests_refusals_too(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                lease = yard.dispatcher.lease(B)
                lease.ask()
                yard.moved.clear()
                await yard.dispatcher.unload([B])
                assert yard.moved == [B]
                yard.moved.clear()
            assert yard.moved == [A]

    run(main())


def test_a_process_that_ends_by_itself_is_started_again_for_the_next_lease(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A) as first:
                pid = yard.fleet.status(A).pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await yard.reached(A, State.STOPPED)
                async with yard.dispatcher.lease(A) as second:
                    assert second.start == first.start + 1
            assert any("ended by itself" in text for _, text in yard.logged)

    run(main())


def test_a_timer_of_the_scheduler_rings_when_it_is_due(run: Run) -> None:
    async def main() -> None:
        rules = Policy({A: ModelPolicy(ttl=0.1), B: ModelPolicy()}, EXCLUSIVE, OrderKind.FIFO)
        async with track(rules) as yard:
            await granted(yard.dispatcher.lease(A))
            await yard.reached(A, State.STOPPED)
            assert yard.stopping == [(A, StopCause.IDLE)]

    run(main())


def test_a_new_policy_refuses_who_waits_for_what_it_removed(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            async with yard.dispatcher.lease(A):
                waiting = asyncio.create_task(granted(yard.dispatcher.lease(B)))
                await asyncio.sleep(0.01)
                only_a = Policy({A: ModelPolicy()}, EXCLUSIVE, OrderKind.FIFO)
                yard.dispatcher.change_policy(only_a, removed=[B])
                with pytest.raises(RequestError) as refused:
                    await waiting
                assert refused.value.fault is Fault.UNKNOWN_MODEL

    run(main())


def failing_planner(poison: ModelId) -> Planner:
    """The planner of the others, with a bug that comes to light when `poison` is asked for."""

    def plan(target: ModelId, running: Collection[ModelId]) -> Eviction:
        if target == poison:
            raise KeyError(poison)
        return EXCLUSIVE(target, running)

    return plan


def test_a_bug_of_the_scheduler_fails_the_request_that_met_it_and_nobody_else(run: Run) -> None:
    async def main() -> None:
        rules = Policy({A: ModelPolicy(grace=5), B: ModelPolicy(grace=5)}, failing_planner(B), OrderKind.FIFO)
        async with track(rules) as yard:
            # One holds a lease, and one loads: neither is disturbed.
            async with yard.dispatcher.lease(A) as loaded:
                with pytest.raises(RequestError) as refused:
                    await granted(yard.dispatcher.lease(B))
                assert refused.value.fault is Fault.INTERNAL
                assert yard.dispatcher.scheduler.in_flight(A) == 1
                async with yard.dispatcher.lease(A) as again:
                    assert again == loaded
            assert yard.upkeep.errors() == {"scheduler": 1}
            await yard.dispatcher.unload([A])
            loading = asyncio.create_task(granted(yard.dispatcher.lease(A)))
            await yard.reached(A, State.STARTING)
            with pytest.raises(RequestError):
                await granted(yard.dispatcher.lease(B))
            await loading
            assert yard.fleet.status(A).start == 2

    run(main())


def test_a_bug_of_the_scheduler_keeps_those_waiting_who_wait(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            await granted(yard.dispatcher.lease(A))
            holding, _ = await held(yard.dispatcher.lease(A))
            waiting = asyncio.create_task(granted(yard.dispatcher.lease(B)))
            await asyncio.sleep(0)
            yard.dispatcher.post(LeaseReleased(Ticket(99)))
            assert yard.upkeep.errors() == {"scheduler": 1}
            assert yard.dispatcher.scheduler.waiting(B) == 1
            unloading = asyncio.create_task(yard.dispatcher.unload([A]))
            await asyncio.sleep(0)
            yard.dispatcher.post(LeaseReleased(Ticket(99)))
            await unloading
            await waiting
            with pytest.raises(RequestError, match="a was unloaded"):
                await holding

    run(main())


def test_a_bug_of_the_scheduler_in_a_shutdown_lets_nobody_in_again(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            yard.dispatcher.refuse_everybody()
            yard.dispatcher.post(LeaseReleased(Ticket(99)))
            with pytest.raises(RequestError) as refused:
                await granted(yard.dispatcher.lease(A))
            assert refused.value.fault is Fault.SHUTTING_DOWN

    run(main())


def test_a_new_policy_that_breaks_the_scheduler_stops_what_it_changed(run: Run) -> None:
    async def main() -> None:
        async with track() as yard:
            await granted(yard.dispatcher.lease(A))

            class Broken:
                """A planner that fails when it is first asked for pairs."""

                def __init__(self) -> None:
                    self.asked = 0

                def __call__(self, target: ModelId, running: Collection[ModelId]) -> Eviction:
                    return EXCLUSIVE(target, running)

                def excludes(self, target: ModelId, other: ModelId) -> bool:
                    self.asked += 1
                    if self.asked == 1:
                        raise RuntimeError("a bug")
                    return False

            holding, _ = await held(yard.dispatcher.lease(A))
            waiting = asyncio.create_task(granted(yard.dispatcher.lease(B)))
            await asyncio.sleep(0)
            rules = Policy({A: ModelPolicy(grace=5), B: ModelPolicy(grace=5)}, Broken(), OrderKind.FIFO)
            yard.dispatcher.change_policy(rules, changed=[A])
            assert yard.upkeep.errors() == {"scheduler": 1}
            await waiting
            with pytest.raises(RequestError, match="the scheduler begins afresh"):
                await holding
            await granted(yard.dispatcher.lease(A))
            assert yard.fleet.status(A).start == 2

    run(main())
