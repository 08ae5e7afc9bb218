"""Which waiting request goes next: fifo with priorities and collation, or serial in exact arrival order."""

from __future__ import annotations

from dataclasses import dataclass

from swapyard.scheduling.line import Line
from swapyard.scheduling.policy import OrderKind
from swapyard.scheduling.yard import Model, Process, Requests, Yard

SERIAL_REASON = "one model at a time (serial)"


@dataclass(frozen=True, slots=True)
class Move:
    """The requests in the line for `model` can go on: with a lease (`evict` None), or with a swap."""

    model: Model
    evict: int | None


class Fifo:
    """Requests for one model go together; later ones may overtake earlier ones that are blocked.

    A model can go on when (1) its old process is not still draining, (2) no swap in progress evicts it,
    (3) nothing it would evict is leased, about to start or being evicted for another, and (4) no overdue
    older request would evict it.  It gets leases at once if it is ready and needs nothing gone.
    """

    # A request that arrives during its model's swap becomes one of the swap's waiters.
    joins = True

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self.line = Line(with_priorities=True)
        # Models whose oldest request has waited so long that nobody may overtake it, as a mask.
        self.overdue = 0

    def admits(self, model: Model) -> bool:
        """Whether a request that arrives now gets its lease at once."""
        yard = self._yard
        return (
            model.process is Process.READY
            and not model.queue
            and not model.retiring
            and not yard.claimed & model.bit
            and not yard.evictees(model)
            and not (self.overdue and self._held(model, None))
        )

    def next_move(self) -> Move | None:
        """The first model in the line that can go on, None when all are blocked."""
        line = self.line
        if not line.models:
            return None
        free = line.models & ~self._yard.blocked()  # (2), and most of (3)
        if not free:
            return None
        for key in line.heads:
            model = self._yard.by_index[key[2]]
            if free & model.bit:
                move = self._move(model)
                if move is not None:
                    return move
                free ^= model.bit
                if not free:
                    return None
        return None

    def take(self, model: Model) -> Requests:
        """The requests that a move concerns; they leave the line."""
        self.overdue &= ~model.bit
        return self.line.take_all(model)

    def reason(self, move: Move) -> str:
        """Why the models that a move evicts have to go."""
        return self._yard.reason(move.model, move.evict or 0)

    def holder(self, model: Model) -> Model | None:
        """The overdue request's model that the requests in the line for `model` have to let pass."""
        return self._held(model, model.key[1]) if self.overdue and model.key is not None else None

    def _move(self, model: Model) -> Move | None:
        yard = self._yard
        if model.retiring:  # (1)
            return None
        evict = yard.evictees(model)
        if evict & yard.in_use:  # (3)
            return None
        if self.holder(model) is not None:  # (4)
            return None
        if model.process is Process.READY and not evict:
            return Move(model, None)
        return Move(model, evict)

    def _held(self, model: Model, arrival: int | None) -> Model | None:
        for older in self._yard.each(self.overdue & ~model.bit):
            if older.key is None or (arrival is not None and older.key[1] > arrival):
                continue
            if self._yard.would_evict(older, model):
                return older
        return None


class Serial:
    """One request at a time in order of arrival; every other model is gone before it runs.

    Groups, matrix and priorities are ignored, so that one model in memory is a property of the
    scheduler and not of the configuration.
    """

    joins = False

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self.line = Line(with_priorities=False)
        self.overdue = 0

    def admits(self, model: Model) -> bool:
        yard = self._yard
        return (
            model.process is Process.READY
            and not model.retiring
            and yard.running == model.bit
            and not yard.in_use
        )

    def next_move(self) -> Move | None:
        yard = self._yard
        if not self.line.heads or yard.in_use:
            return None
        model = yard.by_index[self.line.heads[0][2]]
        evict = yard.running & ~model.bit
        if model.process is Process.READY and not evict:
            return Move(model, None)
        return Move(model, evict)

    def take(self, model: Model) -> Requests:
        return self.line.take_first(model)

    def reason(self, move: Move) -> str:
        return SERIAL_REASON if move.evict else ""


Order = Fifo | Serial


def make_order(kind: OrderKind, yard: Yard) -> Order:
    match kind:
        case OrderKind.FIFO:
            return Fifo(yard)
        case OrderKind.SERIAL:
            return Serial(yard)
