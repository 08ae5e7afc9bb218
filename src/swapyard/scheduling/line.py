"""The waiting line over all models: who is next, and in which place everybody stands."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict

from swapyard.scheduling.yard import Model, Request, Requests

BLOCK_BITS = 10
"""Arrival numbers are counted in blocks of 2**BLOCK_BITS."""

Key = tuple[int, int, int]
"""Place of a model in the line: (minus priority, arrival of its first request, index of the model)."""


class Ranks:
    """A set of arrival numbers that can say how many of its members are smaller than a given one.

    Kept as bit masks over blocks of numbers: a change is one integer operation, a question looks at one
    number per block in use (100,000 waiting requests are about 100 blocks).
    """

    __slots__ = ("_blocks", "count")

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}
        self.count = 0

    def add(self, number: int) -> None:
        block = number >> BLOCK_BITS
        self._blocks[block] = self._blocks.get(block, 0) | 1 << (number & (1 << BLOCK_BITS) - 1)
        self.count += 1

    def remove(self, number: int) -> None:
        block = number >> BLOCK_BITS
        rest = self._blocks[block] ^ 1 << (number & (1 << BLOCK_BITS) - 1)
        if rest:
            self._blocks[block] = rest
        else:
            del self._blocks[block]
        self.count -= 1

    def smaller(self, number: int) -> int:
        block = number >> BLOCK_BITS
        below = sum(mask.bit_count() for key, mask in self._blocks.items() if key < block)
        before = (1 << (number & (1 << BLOCK_BITS) - 1)) - 1
        return below + (self._blocks.get(block, 0) & before).bit_count()


class Line:
    """Requests in the order in which they are looked at: higher priority first, then by arrival.

    Requests of one model share one priority, so the line is kept per model and a decision is made per
    model, never per request.  `models` is the mask of those that have somebody in the line.
    """

    __slots__ = ("_ranks", "_with_priorities", "heads", "models")

    def __init__(self, *, with_priorities: bool) -> None:
        self._with_priorities = with_priorities
        self._ranks: dict[int, Ranks] = {}
        self.heads: list[Key] = []
        self.models = 0

    def __len__(self) -> int:
        return sum(ranks.count for ranks in self._ranks.values())

    def add(self, request: Request) -> None:
        model = request.model
        model.queue[request.ticket] = request
        self._ranks_of(model).add(request.arrival)
        if model.key is None:
            self._rekey(model)

    def remove(self, request: Request) -> None:
        model = request.model
        del model.queue[request.ticket]
        self._ranks_of(model).remove(request.arrival)
        if model.key is not None and model.key[1] == request.arrival:
            self._rekey(model)

    def take_all(self, model: Model) -> Requests:
        """All requests of a model leave the line together."""
        requests = model.queue
        ranks = self._ranks_of(model)
        for request in requests.values():
            ranks.remove(request.arrival)
        model.queue = OrderedDict()
        self._rekey(model)
        return requests

    def take_first(self, model: Model) -> Requests:
        """The oldest request of a model leaves the line."""
        request = first(model)
        self.remove(request)
        return OrderedDict({request.ticket: request})

    def enter(self, model: Model, requests: Requests) -> None:
        """Requests that are older than this line take their places in it; none of the model is in it yet."""
        model.queue = requests
        ranks = self._ranks_of(model)
        for request in requests.values():
            ranks.add(request.arrival)
        self._rekey(model)

    def position(self, request: Request) -> int:
        """1-based place in the whole line."""
        level = self._level(request.model)
        before = sum(ranks.count for key, ranks in self._ranks.items() if key < level)
        return before + self._ranks[level].smaller(request.arrival) + 1

    def _level(self, model: Model) -> int:
        return -model.policy.priority if self._with_priorities else 0

    def _ranks_of(self, model: Model) -> Ranks:
        level = self._level(model)
        ranks = self._ranks.get(level)
        if ranks is None:
            ranks = self._ranks[level] = Ranks()
        return ranks

    def _rekey(self, model: Model) -> None:
        if model.key is not None:
            del self.heads[bisect_left(self.heads, model.key)]
            self.models &= ~model.bit
            model.key = None
        if model.queue:
            model.key = (self._level(model), first(model).arrival, model.index)
            insort(self.heads, model.key)
            self.models |= model.bit


def first(model: Model) -> Request:
    """The oldest request of a model in the line."""
    return next(iter(model.queue.values()))
