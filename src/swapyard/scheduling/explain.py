"""The scheduler's state in words: why a request waits, what each model is doing.  Looks, never changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from swapyard.scheduling.order import Fifo, Order, Serial
from swapyard.scheduling.yard import Model, Process, Request, Step, Swap, Yard
from swapyard.types import ModelId, StopCause

STOP_WORDS = {
    StopCause.UNLOADED: "unload asked",
    StopCause.EVICTED: "evicted",
    StopCause.IDLE: "idle",
    StopCause.CHANGED: "configuration changed",
    StopCause.REMOVED: "removed from the configuration",
    StopCause.SHUTDOWN: "shutting down",
}
"""Why a process is stopped, where there is no more to say about it."""


class Phase(StrEnum):
    """What a model is doing, process and swap taken together."""

    STOPPED = "stopped"
    CHECKING = "checking"
    EVICTING = "evicting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model for display.  `reason` belongs to the phase; `failures` counts failed loads in a row."""

    model: ModelId
    phase: Phase
    in_flight: int
    waiting: int
    reason: str
    failures: int
    last_error: str
    # Seconds until requests may try to load it again; 0 when they may now.
    back_off: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All models by name, and how many requests stand in the line (the waiters of a swap do not)."""

    models: tuple[ModelView, ...]
    line: int


def snapshot(yard: Yard, order: Order, now: float) -> Snapshot:
    models = sorted(yard.models.values(), key=lambda model: model.name)
    return Snapshot(tuple(_view(yard, model, now) for model in models), len(order.line))


def _view(yard: Yard, model: Model, now: float) -> ModelView:
    backoff = model.backoff
    return ModelView(
        model.name,
        phase_of(model),
        model.in_flight,
        model.waiting,
        _phase_reason(yard, model),
        backoff.failures,
        backoff.reason,
        backoff.left(now),
    )


def phase_of(model: Model) -> Phase:
    if model.process is Process.STOPPING:
        return Phase.STOPPING
    if model.swap is not None:
        return Phase(model.swap.step.value)
    if model.retiring:
        return Phase.DRAINING
    return Phase(model.process.value)


def _phase_reason(yard: Yard, model: Model) -> str:
    if model.process is Process.STOPPING:
        return model.stop_reason
    if model.swap is not None:
        return _swap_reason(yard, model, model.swap)
    return "" if model.retiring is None else STOP_WORDS[model.retiring]


def load_reason(swap: Swap) -> str:
    count = len(swap.waiters)
    return f"{count} request{'' if count == 1 else 's'} waiting"


def waiting_reason(yard: Yard, order: Order, request: Request) -> str:
    model = request.model
    if model.swap is not None and request.ticket in model.swap.waiters:
        return _swap_reason(yard, model, model.swap)
    place = order.line.position(request)
    match order:
        case Fifo():
            return _fifo_reason(yard, order, model) or f"place {place} in line"
        case Serial():
            return _serial_reason(yard, place)


def _swap_reason(yard: Yard, model: Model, swap: Swap) -> str:
    match swap.step:
        case Step.CHECKING:
            return "checking whether it can be loaded"
        case Step.LOADING:
            return "loading"
        case Step.EVICTING:
            if going := swap.evict & yard.live:
                return f"evicting {yard.names(going)}: {swap.reason}"
            return f"waiting for {model.name} to stop: {model.stop_reason}"


def _fifo_reason(yard: Yard, order: Fifo, model: Model) -> str:
    if model.retiring:
        return f"waiting for {_load_of(model)} ({STOP_WORDS[model.retiring]})"
    if model.claimed_by is not None:
        return f"waiting for {model.claimed_by.name}: {model.name} is evicted for it"
    evict = yard.evictees(model)
    if busy := evict & yard.busy:
        return "waiting for " + ", ".join(_load_of(obstacle) for obstacle in yard.members(busy))
    if coming := evict & yard.targets:
        return f"waiting for {yard.names(coming)} to load first"
    if claimed := evict & yard.claimed:
        targets = {m.claimed_by.name for m in yard.each(claimed) if m.claimed_by is not None}
        return f"waiting for {', '.join(sorted(targets))} to load first: it evicts {yard.names(claimed)}"
    holder = order.holder(model)
    return f"behind {holder.name}, which has waited longer" if holder is not None else ""


def _serial_reason(yard: Yard, place: int) -> str:
    if yard.busy:
        current = ", ".join(_load_of(model) for model in yard.members(yard.busy))
    else:
        current = yard.names(yard.targets)
    if place == 1:
        return f"waiting for {current}" if yard.busy else f"waiting for {current} to load first"
    return f"place {place} in line behind {current}"


def _load_of(model: Model) -> str:
    return f"{model.name}: {model.leases} in flight"
