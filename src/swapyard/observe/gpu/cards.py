"""Which source speaks for which card, and the number a card goes by.

Several sources may see the same card.  Two readings are of one card when they share the UUID or the PCI
address.  The best source that is still delivering speaks for it; the others are kept in reserve.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from swapyard.observe.gpu.readings import Reading


@dataclass(frozen=True, slots=True)
class Sample:
    """One card at one time as it is shown; `at` is wall-clock time in seconds, None means unknown."""

    at: float
    id: int
    name: str
    uuid: str
    temp_c: int | None
    vram_temp_c: int | None
    gpu_util_pct: float | None
    mem_util_pct: float | None
    mem_used_mb: int | None
    mem_total_mb: int | None
    fan_speed_pct: float | None
    power_draw_w: float | None


@dataclass(slots=True)
class _Card:
    id: int
    identities: set[str]
    name: str
    uuid: str
    # Rank of the best source that ever named the card: the name does not change when a lesser one steps in.
    named_by: int
    # By rank of the source: when it last delivered this card, on the caller's clock.
    seen: dict[int, float] = field(default_factory=dict)


class Cards:
    """All cards seen so far.  `patience` is how many seconds a silent source goes on to be preferred."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._cards: list[_Card] = []

    def merge(self, rank: int, readings: list[Reading], at: float, now: float) -> list[Sample]:
        """Take what the source of this rank (0 is the best) delivered; the samples that count.

        `at` is the wall-clock time of the readings, `now` a clock that only runs forward.
        """
        samples = []
        for reading in readings:
            card = self._card(rank, reading)
            card.seen[rank] = now
            if rank == min(self._fresh(card, now)):
                samples.append(_sample(card, reading, at))
        return samples

    def is_redundant(self, rank: int, now: float) -> bool:
        """True when every card this source has shown is delivered by a better one at present."""
        shown = [card for card in self._cards if rank in card.seen]
        return bool(shown) and all(min(self._fresh(card, now), default=rank) < rank for card in shown)

    def _fresh(self, card: _Card, now: float) -> list[int]:
        """Ranks of the sources that deliver the card at present."""
        return [rank for rank, seen in card.seen.items() if now - seen <= self._patience]

    def _card(self, rank: int, reading: Reading) -> _Card:
        identities = _identities(rank, reading)
        for card in self._cards:
            if card.identities & identities:
                card.identities |= identities
                if rank <= card.named_by:
                    card.name, card.uuid, card.named_by = reading.name, reading.uuid, rank
                return card
        card = _Card(self._free_id(reading.index), identities, reading.name, reading.uuid, rank)
        self._cards.append(card)
        return card

    def _free_id(self, wanted: int) -> int:
        """The source's own number if no other card has it, else the lowest one that is free."""
        taken = {card.id for card in self._cards}
        if wanted not in taken:
            return wanted
        return next(number for number in range(len(taken) + 1) if number not in taken)


def _identities(rank: int, reading: Reading) -> set[str]:
    identities = {
        f"{kind} {value}" for kind, value in (("uuid", reading.uuid), ("pci", reading.pci)) if value
    }
    # A card without a mark is known by its place in its source.
    return identities or {f"index {rank} {reading.index}"}


def _sample(card: _Card, reading: Reading, at: float) -> Sample:
    return Sample(
        at=at,
        id=card.id,
        name=card.name,
        uuid=card.uuid,
        temp_c=reading.temp_c,
        vram_temp_c=reading.vram_temp_c,
        gpu_util_pct=reading.gpu_util_pct,
        mem_util_pct=reading.mem_util_pct,
        mem_used_mb=reading.mem_used_mb,
        mem_total_mb=reading.mem_total_mb,
        fan_speed_pct=reading.fan_speed_pct,
        power_draw_w=reading.power_draw_w,
    )
