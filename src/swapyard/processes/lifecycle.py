"""Decides what happens to one supervised process: pure, time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from swapyard.types import Exit, State

LEFTOVER_GRACE = 2.0
"""Seconds that the rest of a group has when its direct child ended unasked."""
FAILED_LOAD_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a child that was not ready in time."""
LIFETIME_GRACE = 1.0
"""Seconds for a child that still lives when the lifetime of its owner ends."""
KILL_PATIENCE = 10.0
"""Seconds after SIGKILL until a group that is still there is given up, so that no stop takes for ever."""

EXITED_EARLY = "upstream command exited prematurely"
LEFT_OTHERS = "what it left running was ended, a command has to stay in the foreground"


# Events.  `start` counts the starts of this process; what belongs to an earlier start is ignored.


@dataclass(frozen=True, slots=True)
class LoadAsked:
    """Start and be ready within `timeout` seconds, for this reason.  Answered by exactly one LoadFinished."""

    timeout: float
    reason: str = "load asked"


@dataclass(frozen=True, slots=True)
class PortLooked:
    """The port of the process was looked at; `error` is None when nothing listens there."""

    start: int
    error: str | None


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """There is no child."""

    reason: str


@dataclass(frozen=True, slots=True)
class Spawned:
    """There is a child; it ends in exactly one GroupGone."""


@dataclass(frozen=True, slots=True)
class ProbePassed:
    start: int


@dataclass(frozen=True, slots=True)
class ChildExited:
    """The direct child is gone, others of its group are left."""

    start: int
    how: Exit


@dataclass(frozen=True, slots=True)
class GroupGone:
    """Nothing of the group is left; `how` is the exit of the direct child."""

    start: int
    how: Exit


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Stop within `grace` seconds, then by force.  Answered by exactly one StopFinished."""

    grace: float
    reason: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A moment that WakeAt asked for has come; harmless at any other."""


@dataclass(frozen=True, slots=True)
class LifetimeEnded:
    """The process will never start again, and has LIFETIME_GRACE to end."""


Event = (
    LoadAsked
    | PortLooked
    | SpawnFailed
    | Spawned
    | ProbePassed
    | ChildExited
    | GroupGone
    | StopAsked
    | TimePassed
    | LifetimeEnded
)


# Effects.


@dataclass(frozen=True, slots=True)
class LookAtPort:
    """See whether the port is free: PortLooked."""

    start: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the child, at once: Spawned or SpawnFailed before any other event."""

    start: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Probe until it passes: ProbePassed."""

    start: int


@dataclass(frozen=True, slots=True)
class GiveUpStart:
    """End the look at the port or the probing that is going on."""


@dataclass(frozen=True, slots=True)
class AskToStop:
    """Run cmdStop, which has until `deadline`, or send SIGTERM to the group."""

    deadline: float


@dataclass(frozen=True, slots=True)
class AskRest:
    """Send SIGTERM to what is left of the group, unless the group had it already."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the group."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop watching the group: it survived SIGKILL, nothing more can be done."""


@dataclass(frozen=True, slots=True)
class Announce:
    """The state has changed; `old` never equals `new`."""

    old: State
    new: State
    reason: str


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """`error` is None when ready.  With an error nothing is left, unless the load was `aborted` by a stop."""

    error: str | None
    aborted: bool = False


@dataclass(frozen=True, slots=True)
class StopFinished:
    pass


@dataclass(frozen=True, slots=True)
class Exited:
    """A ready process ended unasked: it answers nobody any more.  Gone follows when nothing of it is left."""

    how: Exit


@dataclass(frozen=True, slots=True)
class Gone:
    """A ready process ended unasked; nothing of it is left."""

    how: Exit


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send TimePassed at this moment; replaces the moment asked for before."""

    at: float


Effect = (
    LookAtPort
    | Spawn
    | Probe
    | GiveUpStart
    | AskToStop
    | AskRest
    | Kill
    | Abandon
    | Announce
    | LoadFinished
    | StopFinished
    | Exited
    | Gone
    | WakeAt
)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How the child that is being ended will end: SIGKILL at `deadline`, then the answers that are `owed`."""

    deadline: float
    owed: tuple[LoadFinished | StopFinished | Gone, ...] = ()
    killed: bool = False
    # Asked for while the old child was ending: start afresh.
    reload: LoadAsked | None = None
    # The lifetime ended meanwhile: never start again.
    final: bool = False


@dataclass(frozen=True, slots=True)
class _Load:
    timeout: float
    deadline: float


class Lifecycle:
    """The states of one process and what may follow what.

    `handle` is the only method that changes state.  Feed it every event in the order things happened; carry
    out the returned effects in order.  stopped → starting → ready → stopping → stopped; `shutdown` is final.
    """

    def __init__(self, start: int = 0) -> None:
        """`start` is the number of starts before this, so that what belongs to those is ignored."""
        self.state = State.STOPPED
        self.start = start
        self._child = False
        self._load: _Load | None = None
        self._ending: _Ending | None = None

    @property
    def over(self) -> bool:
        """The lifetime has ended and nothing is left."""
        return self.state is State.SHUTDOWN and not self._child

    def handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case LoadAsked():
                return self._load_asked(event, now)
            case StopAsked(grace, reason):
                return self._stop_asked(now + grace, reason)
            case PortLooked(start, error):
                return self._port_looked(start, error)
            case Spawned():
                self._child = True
                return [Probe(self.start)]
            case SpawnFailed(reason):
                return self._start_failed(reason)
            case ProbePassed(start):
                return self._probe_passed(start)
            case ChildExited(start, how):
                return self._child_exited(how, now) if self._is_current(start) else []
            case GroupGone(start, how):
                return self._group_gone(how, now) if self._is_current(start) else []
            case TimePassed():
                return self._time_passed(now)
            case LifetimeEnded():
                return self._lifetime_ended(now)
            case _:
                assert_never(event)

    def _is_current(self, start: int) -> bool:
        return self._child and start == self.start

    # Asked from outside.

    def _load_asked(self, event: LoadAsked, now: float) -> list[Effect]:
        match self.state:
            case State.STOPPED:
                self.start += 1
                self._load = _Load(event.timeout, now + event.timeout)
                return [
                    self._become(State.STARTING, event.reason),
                    LookAtPort(self.start),
                    WakeAt(self._load.deadline),
                ]
            case State.STARTING:
                return []  # the running load answers both
            case State.READY:
                return [LoadFinished(None)]
            case State.STOPPING:
                assert self._ending is not None
                if self._failed_loads():
                    return []  # the failed load, once it is reported, answers both
                if self._ending.final:
                    return [LoadFinished("shutting down", aborted=True)]
                self._ending = replace(self._ending, reload=event)
                return []
            case State.SHUTDOWN:
                return [LoadFinished("shutting down", aborted=True)]
            case _:
                assert_never(self.state)

    def _stop_asked(self, deadline: float, reason: str) -> list[Effect]:
        match self.state:
            case State.STOPPED:
                return [StopFinished()]
            case State.STARTING:
                return self._abort_start(State.STOPPING, State.STOPPED, deadline, reason, (StopFinished(),))
            case State.READY:
                return [self._become(State.STOPPING, reason), *self._end(deadline, (StopFinished(),))]
            case State.STOPPING:
                return self._hurry(deadline, reason)
            case State.SHUTDOWN:
                return self._hurry(deadline, reason) if self._child else [StopFinished()]
            case _:
                assert_never(self.state)

    def _hurry(self, deadline: float, reason: str) -> list[Effect]:
        """A stop while the child is being ended: one answer for all stops, the earliest deadline counts.

        A failed load that has not been reported yet is reported first; an exit that was about to be reported
        becomes this stop; a load that waited for the end is aborted.
        """
        assert self._ending is not None
        failed = self._failed_loads()
        if self._ending.reload is not None:
            failed.append(LoadFinished(f"aborted: {reason}", aborted=True))
        self._ending = replace(self._ending, owed=(StopFinished(),), reload=None)
        return [*failed, *self._shorten(deadline)]

    def _failed_loads(self) -> list[LoadFinished]:
        """The load that has failed and is reported when nothing of its child is left, if there is one."""
        owed = self._ending.owed if self._ending is not None else ()
        return [answer for answer in owed if isinstance(answer, LoadFinished)]

    def _lifetime_ended(self, now: float) -> list[Effect]:
        deadline = now + LIFETIME_GRACE
        match self.state:
            case State.STOPPED:
                return [self._become(State.SHUTDOWN, "")]
            case State.STARTING:
                return self._abort_start(State.SHUTDOWN, State.SHUTDOWN, deadline, "shutting down", ())
            case State.READY:
                # Shown before the kill, which may be slow, so that nobody takes the process for ready.
                return [self._become(State.SHUTDOWN, "shutting down"), *self._end(deadline, ())]
            case State.STOPPING:
                assert self._ending is not None
                waiting = self._ending.reload is not None
                self._ending = replace(self._ending, reload=None, final=True)
                answers: list[Effect] = [LoadFinished("shutting down", aborted=True)] if waiting else []
                return [*answers, *self._shorten(deadline)]
            case State.SHUTDOWN:
                return []
            case _:
                assert_never(self.state)

    # Starting.

    def _port_looked(self, start: int, error: str | None) -> list[Effect]:
        if self.state is not State.STARTING or start != self.start or self._child:
            return []
        return [Spawn(self.start)] if error is None else self._start_failed(error)

    def _start_failed(self, reason: str) -> list[Effect]:
        """There is no child, and the load ends."""
        self._load = None
        return [self._become(State.STOPPED, reason), LoadFinished(reason)]

    def _probe_passed(self, start: int) -> list[Effect]:
        if self.state is not State.STARTING or not self._is_current(start):
            return []
        self._load = None
        return [self._become(State.READY, ""), LoadFinished(None)]

    def _abort_start(
        self, ending: State, ended: State, deadline: float, reason: str, owed: tuple[StopFinished, ...]
    ) -> list[Effect]:
        """The starter hears at once that its load is aborted; the stop is answered when nothing is left."""
        self._load = None
        aborted = LoadFinished(f"aborted: {reason}" if reason else "aborted", aborted=True)
        if self._child:
            return [self._become(ending, reason), GiveUpStart(), aborted, *self._end(deadline, owed)]
        return [self._become(ended, reason), GiveUpStart(), aborted, *owed]

    # Ending.

    def _end(self, deadline: float, owed: tuple[LoadFinished | StopFinished | Gone, ...]) -> list[Effect]:
        self._ending = _Ending(deadline, owed)
        return [AskToStop(deadline), WakeAt(deadline)]

    def _shorten(self, deadline: float) -> list[Effect]:
        assert self._ending is not None
        if self._ending.killed or deadline >= self._ending.deadline:
            return []
        self._ending = replace(self._ending, deadline=deadline)
        return [WakeAt(deadline)]

    def _child_exited(self, how: Exit, now: float) -> list[Effect]:
        """Some of the group outlive the direct child: after a stop they keep the rest of its grace."""
        match self.state:
            case State.STARTING:
                self._load = None
                error = f"{EXITED_EARLY} ({how}); {LEFT_OTHERS}"
                return [GiveUpStart(), *self._end_rest(error, LoadFinished(error), now)]
            case State.READY:
                return [Exited(how), *self._end_rest(f"exited by itself ({how})", Gone(how), now)]
            case State.STOPPING | State.SHUTDOWN:
                return [AskRest()]
            case State.STOPPED:
                return []
            case _:
                assert_never(self.state)

    def _end_rest(self, reason: str, owed: LoadFinished | Gone, now: float) -> list[Effect]:
        self._ending = _Ending(now + LEFTOVER_GRACE, (owed,))
        return [self._become(State.STOPPING, reason), AskRest(), WakeAt(self._ending.deadline)]

    def _group_gone(self, how: Exit, now: float) -> list[Effect]:
        self._child = False
        match self.state:
            case State.STARTING:
                return [GiveUpStart(), *self._start_failed(f"{EXITED_EARLY} ({how})")]
            case State.READY:
                return [
                    Exited(how),
                    self._become(State.STOPPED, f"exited by itself ({how})"),
                    Gone(how),
                ]
            case State.STOPPING | State.SHUTDOWN:
                return self._ended(now)
            case State.STOPPED:
                return []
            case _:
                assert_never(self.state)

    def _ended(self, now: float) -> list[Effect]:
        ending, self._ending = self._ending, None
        assert ending is not None
        if self.state is State.SHUTDOWN:
            return [*ending.owed]
        effects: list[Effect] = [self._become(State.STOPPED, ""), *ending.owed]
        if ending.final:
            effects.append(self._become(State.SHUTDOWN, ""))
        elif ending.reload is not None:
            effects += self._load_asked(ending.reload, now)
        return effects

    # Time.

    def _time_passed(self, now: float) -> list[Effect]:
        if self._load is not None:
            return self._load_due(self._load, now)
        if self._ending is not None:
            return self._ending_due(self._ending, now)
        return []

    def _load_due(self, load: _Load, now: float) -> list[Effect]:
        if now < load.deadline:
            return [WakeAt(load.deadline)]
        error = f"health check timed out after {load.timeout:g}s"
        if not self._child:
            return [GiveUpStart(), *self._start_failed(error)]
        self._load = None
        return [
            self._become(State.STOPPING, error),
            GiveUpStart(),
            *self._end(now + FAILED_LOAD_GRACE, (LoadFinished(error),)),
        ]

    def _ending_due(self, ending: _Ending, now: float) -> list[Effect]:
        if now < ending.deadline:
            return [WakeAt(ending.deadline)]
        if not ending.killed:
            self._ending = replace(ending, killed=True, deadline=now + KILL_PATIENCE)
            return [Kill(), WakeAt(self._ending.deadline)]
        self._child = False
        return [Abandon(), *self._ended(now)]

    def _become(self, state: State, reason: str) -> Announce:
        announce = Announce(self.state, state, reason)
        self.state = state
        return announce
