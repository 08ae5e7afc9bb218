"""The lifecycle as dialogues, and under random events."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from swapyard.processes.lifecycle import (
    EXITED_EARLY,
    FAILED_LOAD_GRACE,
    KILL_PATIENCE,
    LEFTOVER_GRACE,
    LIFETIME_GRACE,
    Abandon,
    Announce,
    AskRest,
    AskToStop,
    ChildExited,
    Effect,
    Event,
    Exited,
    GiveUpStart,
    Gone,
    GroupGone,
    Kill,
    Lifecycle,
    LifetimeEnded,
    LoadAsked,
    LoadFinished,
    LookAtPort,
    PortLooked,
    Probe,
    ProbePassed,
    Spawn,
    Spawned,
    SpawnFailed,
    StopAsked,
    StopFinished,
    TimePassed,
    WakeAt,
)
from swapyard.types import Exit, State

STOPPED, STARTING, READY, STOPPING, SHUTDOWN = State

LEGAL = {
    (STOPPED, STARTING),
    (STARTING, READY),
    (STARTING, STOPPING),
    (STARTING, STOPPED),
    (STARTING, SHUTDOWN),
    (READY, STOPPING),
    (READY, STOPPED),
    (READY, SHUTDOWN),
    (STOPPING, STOPPED),
    (STOPPED, SHUTDOWN),
}


def starting() -> Lifecycle:
    """A process whose child is probed; the load was asked for at 0 with 15 s."""
    process = Lifecycle()
    process.handle(LoadAsked(15), 0)
    process.handle(PortLooked(1, None), 0)
    process.handle(Spawned(), 0)
    return process


def ready() -> Lifecycle:
    process = starting()
    process.handle(ProbePassed(1), 1)
    return process


def stopping(grace: float = 10) -> Lifecycle:
    """A process that was asked to stop at 100."""
    process = ready()
    process.handle(StopAsked(grace, "unload"), 100)
    return process


def test_a_healthy_cycle() -> None:
    process = Lifecycle()
    assert process.handle(LoadAsked(15), 0) == [
        Announce(STOPPED, STARTING, "load asked"),
        LookAtPort(1),
        WakeAt(15),
    ]
    assert process.handle(PortLooked(1, None), 0) == [Spawn(1)]
    assert process.handle(Spawned(), 0) == [Probe(1)]
    assert process.handle(ProbePassed(1), 3) == [Announce(STARTING, READY, ""), LoadFinished(None)]
    assert process.handle(StopAsked(10, "unload"), 100) == [
        Announce(READY, STOPPING, "unload"),
        AskToStop(110),
        WakeAt(110),
    ]
    assert process.handle(GroupGone(1, Exit(code=0)), 101) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]


def test_a_taken_port_fails_the_load_before_anything_is_started() -> None:
    process = Lifecycle()
    process.handle(LoadAsked(15), 0)
    assert process.handle(PortLooked(1, "port 5801 is taken"), 0) == [
        Announce(STARTING, STOPPED, "port 5801 is taken"),
        LoadFinished("port 5801 is taken"),
    ]


def test_a_failed_spawn_fails_the_load() -> None:
    process = Lifecycle()
    process.handle(LoadAsked(15), 0)
    process.handle(PortLooked(1, None), 0)
    assert process.handle(SpawnFailed("no such file"), 0) == [
        Announce(STARTING, STOPPED, "no such file"),
        LoadFinished("no such file"),
    ]


def test_a_load_in_progress_answers_a_second_one() -> None:
    assert starting().handle(LoadAsked(15), 1) == []


def test_a_ready_process_answers_a_load_at_once() -> None:
    assert ready().handle(LoadAsked(15), 5) == [LoadFinished(None)]


def test_a_stop_of_a_stopped_process_is_answered_at_once() -> None:
    assert Lifecycle().handle(StopAsked(10, "unload"), 0) == [StopFinished()]


def test_a_stop_aborts_a_start_with_the_grace_of_the_caller_and_reports_the_load_first() -> None:
    process = starting()
    assert process.handle(StopAsked(2, "unload"), 5) == [
        Announce(STARTING, STOPPING, "unload"),
        GiveUpStart(),
        LoadFinished("aborted: unload", aborted=True),
        AskToStop(7),
        WakeAt(7),
    ]
    assert process.handle(TimePassed(), 7) == [Kill(), WakeAt(7 + KILL_PATIENCE)]
    assert process.handle(GroupGone(1, Exit(signal=9)), 7) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]


def test_a_stop_before_the_spawn_ends_at_once() -> None:
    process = Lifecycle()
    process.handle(LoadAsked(15), 0)
    assert process.handle(StopAsked(2, "unload"), 0) == [
        Announce(STARTING, STOPPED, "unload"),
        GiveUpStart(),
        LoadFinished("aborted: unload", aborted=True),
        StopFinished(),
    ]
    assert process.handle(PortLooked(1, None), 0) == []


def test_a_start_that_takes_too_long_is_ended_and_fails_when_nothing_is_left() -> None:
    process = starting()
    error = "health check timed out after 15s"
    assert process.handle(TimePassed(), 15) == [
        Announce(STARTING, STOPPING, error),
        GiveUpStart(),
        AskToStop(15 + FAILED_LOAD_GRACE),
        WakeAt(15 + FAILED_LOAD_GRACE),
    ]
    assert process.handle(GroupGone(1, Exit(signal=15)), 16) == [
        Announce(STOPPING, STOPPED, ""),
        LoadFinished(error),
    ]


def test_a_timer_that_fires_early_is_set_again() -> None:
    assert starting().handle(TimePassed(), 14.9) == [WakeAt(15)]
    assert stopping().handle(TimePassed(), 109.9) == [WakeAt(110)]


def test_an_exit_while_starting_fails_the_load() -> None:
    error = f"{EXITED_EARLY} (exit status 1)"
    assert starting().handle(GroupGone(1, Exit(code=1)), 2) == [
        GiveUpStart(),
        Announce(STARTING, STOPPED, error),
        LoadFinished(error),
    ]


def test_a_wrapper_that_exits_while_starting_fails_the_load_when_the_rest_is_ended() -> None:
    process = starting()
    effects = process.handle(ChildExited(1, Exit(code=0)), 2)
    assert effects[-2:] == [AskRest(), WakeAt(2 + LEFTOVER_GRACE)]
    assert process.state is STOPPING
    announce, finished = process.handle(GroupGone(1, Exit(code=0)), 3)
    assert announce == Announce(STOPPING, STOPPED, "")
    assert isinstance(finished, LoadFinished)
    assert finished.error is not None and "foreground" in finished.error


def test_a_load_asked_while_a_failed_one_cleans_up_shares_its_answer() -> None:
    process = starting()
    process.handle(TimePassed(), 15)
    assert process.handle(LoadAsked(15), 16) == []
    assert process.handle(GroupGone(1, Exit(code=0)), 17) == [
        Announce(STOPPING, STOPPED, ""),
        LoadFinished("health check timed out after 15s"),
    ]


def test_a_stop_reports_a_failed_load_that_was_still_cleaning_up_first() -> None:
    process = starting()
    process.handle(TimePassed(), 15)
    assert process.handle(StopAsked(10, "unload"), 16) == [LoadFinished("health check timed out after 15s")]
    assert process.handle(GroupGone(1, Exit(code=0)), 17) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]


def test_a_ready_process_that_exits_is_gone_when_nothing_is_left() -> None:
    process = ready()
    assert process.handle(ChildExited(1, Exit(code=0)), 50) == [
        Exited(Exit(code=0)),
        Announce(READY, STOPPING, "exited by itself (exit status 0)"),
        AskRest(),
        WakeAt(50 + LEFTOVER_GRACE),
    ]
    assert process.handle(TimePassed(), 52) == [Kill(), WakeAt(52 + KILL_PATIENCE)]
    assert process.handle(GroupGone(1, Exit(code=0)), 52) == [
        Announce(STOPPING, STOPPED, ""),
        Gone(Exit(code=0)),
    ]


def test_a_stop_while_the_rest_of_an_exited_child_is_ended_is_the_only_answer() -> None:
    process = ready()
    process.handle(ChildExited(1, Exit(code=0)), 50)
    assert process.handle(StopAsked(10, "unload"), 51) == []
    assert process.handle(GroupGone(1, Exit(code=0)), 51) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]


def test_descendants_keep_the_rest_of_the_grace_when_the_direct_child_is_gone() -> None:
    process = stopping(grace=10)
    assert process.handle(ChildExited(1, Exit(code=0)), 101) == [AskRest()]
    assert process.handle(TimePassed(), 110) == [Kill(), WakeAt(110 + KILL_PATIENCE)]


def test_an_earlier_deadline_shortens_a_stop_and_a_later_one_does_not_prolong_it() -> None:
    process = stopping(grace=10)
    assert process.handle(StopAsked(60, "again"), 101) == []
    assert process.handle(StopAsked(2, "hurry"), 102) == [WakeAt(104)]
    assert process.handle(TimePassed(), 104) == [Kill(), WakeAt(104 + KILL_PATIENCE)]
    assert process.handle(GroupGone(1, Exit(signal=9)), 104) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]


def test_a_load_during_a_stop_starts_afresh_after_it() -> None:
    process = stopping()
    assert process.handle(LoadAsked(15), 101) == []
    assert process.handle(GroupGone(1, Exit(code=0)), 102) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
        Announce(STOPPED, STARTING, "load asked"),
        LookAtPort(2),
        WakeAt(117),
    ]


def test_a_stop_aborts_a_load_that_waits_for_the_stop_before_it() -> None:
    process = stopping()
    process.handle(LoadAsked(15), 101)
    assert process.handle(StopAsked(60, "unload"), 102) == [LoadFinished("aborted: unload", aborted=True)]
    assert process.handle(GroupGone(1, Exit(code=0)), 103) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]


def test_a_group_that_survives_sigkill_is_given_up_so_that_the_stop_ends() -> None:
    process = stopping(grace=0)
    process.handle(TimePassed(), 100)
    assert process.handle(TimePassed(), 100 + KILL_PATIENCE) == [
        Abandon(),
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
    ]
    assert process.handle(GroupGone(1, Exit(signal=9)), 111) == []


def test_shutdown_is_shown_before_the_kill() -> None:
    process = ready()
    assert process.handle(LifetimeEnded(), 9) == [
        Announce(READY, SHUTDOWN, "shutting down"),
        AskToStop(9 + LIFETIME_GRACE),
        WakeAt(9 + LIFETIME_GRACE),
    ]
    assert not process.over
    assert process.handle(StopAsked(0, "now"), 9.5) == [WakeAt(9.5)]
    assert process.handle(GroupGone(1, Exit(code=0)), 9.6) == [StopFinished()]
    assert process.over
    assert process.handle(LoadAsked(15), 10) == [LoadFinished("shutting down", aborted=True)]


def test_shutdown_of_a_starting_process_aborts_the_load() -> None:
    process = starting()
    effects = process.handle(LifetimeEnded(), 1)
    assert effects[:3] == [
        Announce(STARTING, SHUTDOWN, "shutting down"),
        GiveUpStart(),
        LoadFinished("aborted: shutting down", aborted=True),
    ]


def test_shutdown_of_a_stopping_process_shortens_its_grace() -> None:
    process = stopping(grace=60)
    process.handle(LoadAsked(15), 101)
    assert process.handle(LifetimeEnded(), 102) == [
        LoadFinished("shutting down", aborted=True),
        WakeAt(102 + LIFETIME_GRACE),
    ]
    assert process.handle(GroupGone(1, Exit(signal=9)), 103) == [
        Announce(STOPPING, STOPPED, ""),
        StopFinished(),
        Announce(STOPPED, SHUTDOWN, ""),
    ]
    assert process.over


class World:
    """Carries out effects like the supervisor, on children that exist on paper, and checks every promise."""

    def __init__(self) -> None:
        self.process = Lifecycle()
        self.now = 0.0
        self.wake_at: float | None = None
        self.looking = 0
        self.probing = 0
        self.child = 0
        self.spawn_works = True
        self.loads = 0
        self.stops = 0
        # Those among the loads that were asked for after the stop: they begin when it is done.
        self.later_loads = 0
        self.has_exited = False

    def send(self, event: Event) -> None:
        events = [event]
        while events:
            for effect in self.process.handle(events.pop(0), self.now):
                events += self.carry_out(effect)
        if self.process.state is STOPPED:
            assert not self.child

    def carry_out(self, effect: Effect) -> list[Event]:
        match effect:
            case LookAtPort(start):
                assert not self.looking and not self.probing
                self.looking = start
            case Spawn(start):
                assert not self.child, "one child at a time"
                self.looking = 0
                if not self.spawn_works:
                    return [SpawnFailed("no")]
                self.child = start
                return [Spawned()]
            case Probe(start):
                self.probing = start
            case GiveUpStart():
                self.looking = self.probing = 0
            case AskToStop() | AskRest() | Kill():
                assert self.child
            case Abandon():
                assert self.child
                self.child = 0
            case Announce(old, new, _):
                assert (old, new) in LEGAL
            case LoadFinished(error, aborted):
                assert self.loads
                self.loads = self.later_loads = 0
                assert (error is None) or aborted or not self.child or self.stops
            case StopFinished():
                assert self.stops and self.loads == self.later_loads and not self.child
                self.stops = self.later_loads = 0
            case Exited():
                self.has_exited = True
            case Gone():
                assert not self.child and not self.stops and self.has_exited
                self.has_exited = False
            case WakeAt(at):
                self.wake_at = at
        return []

    def load(self) -> None:
        self.loads += 1
        self.later_loads += self.stops > 0
        self.send(LoadAsked(15))

    def stop(self, grace: float) -> None:
        self.stops += 1
        self.later_loads = 0
        self.send(StopAsked(grace, "asked"))

    def looked(self, error: str | None) -> None:
        if self.looking:
            start, self.looking = self.looking, 0
            self.send(PortLooked(start, error))

    def passes(self) -> None:
        if self.probing and self.child:
            start, self.probing = self.probing, 0
            self.send(ProbePassed(start))

    def exits(self) -> None:
        if self.child:
            self.send(ChildExited(self.child, Exit(code=0)))

    def vanishes(self) -> None:
        if self.child:
            start, self.child = self.child, 0
            self.send(GroupGone(start, Exit(code=0)))

    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.wake_at is not None and self.wake_at <= self.now:
            self.wake_at = None
            self.send(TimePassed())

    def spawn_fails(self) -> None:
        self.spawn_works = not self.spawn_works

    def end(self) -> None:
        self.send(LifetimeEnded())


STEPS = st.one_of(
    st.tuples(st.just("load")),
    st.tuples(st.just("stop"), st.sampled_from([0.0, 1.0, 30.0])),
    st.tuples(st.just("looked"), st.sampled_from([None, None, "taken"])),
    st.tuples(st.just("passes")),
    st.tuples(st.just("exits")),
    st.tuples(st.just("vanishes")),
    st.tuples(st.just("time_passes"), st.sampled_from([0.1, 2.0, 16.0])),
    st.tuples(st.just("spawn_fails")),
)


@example([("load",), ("looked", None), ("stop", 30.0), ("load",), ("vanishes",)], [])
@given(st.lists(STEPS, max_size=60), st.lists(STEPS, max_size=10))
def test_whatever_happens_every_order_is_answered_and_nothing_is_left(
    life: list[tuple[str, ...]], end: list[tuple[str, ...]]
) -> None:
    world = World()
    for name, *arguments in life:
        getattr(world, name)(*arguments)
    world.end()
    for name, *arguments in end:
        getattr(world, name)(*arguments)
    world.vanishes()
    assert world.process.over
    assert (world.loads, world.stops) == (0, 0)
    assert not world.child


@given(st.lists(STEPS, max_size=60))
def test_whatever_happened_time_alone_ends_a_stop(life: list[tuple[str, ...]]) -> None:
    world = World()
    for name, *arguments in life:
        getattr(world, name)(*arguments)
    world.stop(30)
    for _ in range(4):
        world.time_passes(31)
    assert (world.loads, world.stops, world.child) == (0, 0, 0)
    assert world.process.state is STOPPED
