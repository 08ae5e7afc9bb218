"""What is true of every model right now: its process, its swap, its leases, and who stands in whose way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from swapyard.scheduling.backoff import Backoff
from swapyard.scheduling.events import UnloadId
from swapyard.scheduling.policy import Eviction, ModelPolicy, Policy
from swapyard.types import ModelId, StopCause, Ticket

Judge = Callable[[ModelId, ModelId], bool]
"""(target, other) → whether `other` has to go for `target`."""


class Process(StrEnum):
    """What is known of a model's process, from events alone."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


class Step(StrEnum):
    """How far a swap has come."""

    CHECKING = "checking"
    EVICTING = "evicting"
    LOADING = "loading"


class CheckState(StrEnum):
    """Whether the answer to a Check is still to come, and whether it will be of any use."""

    NONE = "none"
    RUNNING = "running"
    OUTDATED = "outdated"


class Request:
    """One request that waits, either in the line or among the waiters of its model's swap.

    `since` is when it entered the place where it waits now; `arrival` never changes.
    """

    __slots__ = ("arrival", "model", "since", "ticket")

    def __init__(self, ticket: Ticket, model: Model, arrival: int, since: float) -> None:
        self.ticket = ticket
        self.model = model
        self.arrival = arrival
        self.since = since


Requests = OrderedDict[Ticket, Request]
"""Waiting requests in order of arrival; an OrderedDict because a plain dict finds its first key slowly
after many deletions at the front."""


class Swap:
    """A committed decision: these models go, then the target is made ready for these waiters."""

    __slots__ = ("evict", "reason", "step", "waiters")

    def __init__(self, evict: int, reason: str, waiters: Requests) -> None:
        self.step = Step.CHECKING
        # Models to stop, as a mask of `Model.bit`.
        self.evict = evict
        self.reason = reason
        self.waiters = waiters


class Model:
    """Everything the scheduler knows of one model."""

    __slots__ = (
        "backoff",
        "bit",
        "check",
        "claimed_by",
        "evictors",
        "idle_since",
        "in_policy",
        "index",
        "key",
        "leases",
        "life",
        "name",
        "old_leases",
        "plan",
        "plan_mask",
        "plan_version",
        "policy",
        "process",
        "queue",
        "ready_at",
        "retiring",
        "stop_deadline",
        "stop_reason",
        "swap",
        "unloads",
        "victims",
    )

    def __init__(self, name: ModelId, index: int, policy: ModelPolicy) -> None:
        self.name = name
        self.index = index
        self.bit = 1 << index
        self.policy = policy
        # False once a new configuration has dropped the model and its process is still on its way out.
        self.in_policy = True
        self.process = Process.STOPPED
        self.swap: Swap | None = None
        self.check = CheckState.NONE
        # The target of the swap that evicts this model.
        self.claimed_by: Model | None = None
        # Leases on the process of this life; those on earlier processes only wait for their release.
        self.life = 0
        self.leases = 0
        self.old_leases = 0
        self.queue: Requests = OrderedDict()
        self.key: tuple[int, int, int] | None = None
        # Why the ready process admits nobody new and stops when its leases have ended; None when it goes on.
        self.retiring: StopCause | None = None
        self.ready_at = 0.0
        self.idle_since = 0.0
        self.stop_deadline = 0.0
        self.stop_reason = ""
        self.backoff = Backoff()
        self.unloads: list[UnloadId] = []
        self.forget_plans()

    def forget_plans(self) -> None:
        self.plan = Eviction(())
        self.plan_mask = 0
        self.plan_version = -1
        self.victims = -1
        self.evictors = -1

    @property
    def waiting(self) -> int:
        return len(self.queue) + (len(self.swap.waiters) if self.swap is not None else 0)

    @property
    def in_flight(self) -> int:
        return self.leases + self.old_leases


class Yard:
    """All models, and the masks over `Model.bit` that make one decision a few integer operations.

    `live`: the process is not stopped.  `ready`: it is ready.  `targets`: a swap is in progress for it.
    `claimed`: a swap in progress evicts it.  `busy`: it has leases.  What the planner is told is running is
    `live | targets`, so whoever is still stopping, and whoever is about to start, is seen by every decision.
    """

    __slots__ = (
        "_evicts",
        "_excludes",
        "_names",
        "_planner",
        "busy",
        "by_index",
        "claimed",
        "live",
        "models",
        "ready",
        "targets",
    )

    def __init__(self, policy: Policy) -> None:
        self.models: dict[ModelId, Model] = {}
        self.by_index: list[Model] = []
        self.live = 0
        self.ready = 0
        self.targets = 0
        self.claimed = 0
        self.busy = 0
        self._names: dict[int, tuple[ModelId, ...]] = {}
        self.adopt(policy)

    # -- configuration ----------------------------------------------------------------------------

    def adopt(self, policy: Policy) -> None:
        """Take over a policy: models it adds appear, and every plan made under the old one is forgotten."""
        self._planner = policy.planner
        # See Planner in policy.py for these two: all about a pair, or only what is certain about it.
        self._evicts: Judge | None = getattr(policy.planner, "evicts", None)
        self._excludes: Judge | None = self._evicts or getattr(policy.planner, "excludes", None)
        for name, model_policy in policy.models.items():
            model = self.models.get(name)
            if model is None:
                model = Model(name, len(self.by_index), model_policy)
                self.models[name] = model
                self.by_index.append(model)
            model.policy = model_policy
            model.in_policy = True
        for model in self.models.values():
            model.forget_plans()

    def known(self, name: ModelId) -> Model:
        """The model of this name, also one that the configuration has dropped."""
        model = self.models.get(name)
        if model is None:
            model = Model(name, len(self.by_index), ModelPolicy())
            model.in_policy = False
            self.models[name] = model
            self.by_index.append(model)
        return model

    def drop_if_gone(self, model: Model) -> None:
        """Forget a model that the configuration no longer has, once nothing of it is left."""
        gone = model.process is Process.STOPPED and model.check is CheckState.NONE and not model.in_flight
        if gone and not model.in_policy:
            del self.models[model.name]

    # -- facts ------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return self.live | self.targets

    @property
    def in_use(self) -> int:
        """Models that nobody may evict now: leased, about to start, or already being evicted."""
        return self.targets | self.claimed | self.busy

    def members(self, mask: int) -> list[Model]:
        """The models of a mask in the order of the running set, which is by name."""
        return sorted(self.each(mask), key=_by_name)

    def each(self, mask: int) -> Iterator[Model]:
        while mask:
            low = mask & -mask
            yield self.by_index[low.bit_length() - 1]
            mask ^= low

    def names(self, mask: int) -> str:
        return ", ".join(model.name for model in self.members(mask))

    # -- changes ----------------------------------------------------------------------------------

    def set_process(self, model: Model, process: Process) -> None:
        model.process = process
        self.live = self.live & ~model.bit if process is Process.STOPPED else self.live | model.bit
        self.ready = self.ready | model.bit if process is Process.READY else self.ready & ~model.bit

    def begin_swap(self, model: Model, swap: Swap) -> None:
        model.swap = swap
        self.targets |= model.bit
        self.claimed |= swap.evict
        for evictee in self.each(swap.evict):
            evictee.claimed_by = model

    def end_swap(self, model: Model) -> Requests:
        """Take the swap off the model and hand out its waiters; its claims are free again."""
        swap = model.swap
        assert swap is not None
        model.swap = None
        self.targets &= ~model.bit
        self.claimed &= ~swap.evict
        for evictee in self.each(swap.evict):
            evictee.claimed_by = None
        return swap.waiters

    def abandon_leases(self, model: Model) -> None:
        """The process of these leases is going: they block nothing any more, and count until released."""
        model.life += 1
        model.old_leases += model.leases
        model.leases = 0
        self.busy &= ~model.bit

    # -- plans ------------------------------------------------------------------------------------

    def evictees(self, model: Model) -> int:
        """What the planner wants gone before `model` may serve, as a mask; planned anew only when needed."""
        running = self.running
        if self._evicts is not None:
            return self.victims(model) & running & ~model.bit
        if model.process is not Process.READY:
            # A process that must start afresh is no reason to leave things as they are.
            running &= ~model.bit
        if model.plan_version != running:
            model.plan = self._planner(model.name, self._sorted_names(running))
            model.plan_mask = self._mask(model.plan.evict)
            model.plan_version = running
        return model.plan_mask

    def reason(self, model: Model, evict: int) -> str:
        """The planner's words for evicting exactly these models."""
        if not evict:
            return ""
        if self._evicts is None:
            return model.plan.reason
        return self._planner(model.name, self._sorted_names(evict)).reason

    def would_evict(self, model: Model, other: Model) -> bool:
        """Whether `model` needs `other` gone, or would need it if `other` ran as well."""
        if self._evicts is not None:
            return bool(self.victims(model) & other.bit)
        if self.running & other.bit:
            return bool(self.evictees(model) & other.bit)
        running = (self.running | other.bit) & ~model.bit
        return other.name in self._planner(model.name, self._sorted_names(running)).evict

    def victims(self, model: Model) -> int:
        """Every model that `model` would evict if it ran (pairwise planners only)."""
        if model.victims < 0:
            evicts = self._evicts
            assert evicts is not None
            others = self.models.values()
            model.victims = sum(o.bit for o in others if o is not model and evicts(model.name, o.name))
        return model.victims

    def blocked(self) -> int:
        """Models that certainly cannot go on: they are claimed, or need somebody gone who is in use."""
        blocked = 0
        if self._excludes is not None:
            for obstacle in self.each(self.in_use & self.running):
                if obstacle.evictors < 0:
                    obstacle.evictors = self._find_evictors(obstacle, self._excludes)
                blocked |= obstacle.evictors
            if self._evicts is None:
                # What only excludes spares a target that already runs.
                blocked &= ~self.ready
        return blocked | self.claimed

    def _find_evictors(self, model: Model, judge: Judge) -> int:
        others = self.models.values()
        return sum(o.bit for o in others if o is not model and judge(o.name, model.name))

    def _sorted_names(self, mask: int) -> tuple[ModelId, ...]:
        names = self._names.get(mask)
        if names is None:
            if len(self._names) >= 64:
                self._names.clear()
            names = self._names[mask] = tuple(model.name for model in self.members(mask))
        return names

    def _mask(self, names: Iterable[ModelId]) -> int:
        mask = 0
        for name in names:
            mask |= self.models[name].bit
        return mask


def _by_name(model: Model) -> str:
    return model.name
