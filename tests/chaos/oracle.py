"""Whether what became of a deed is an honest outcome, given what had befallen its model by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.clients import BOUND, Ended
from tests.chaos.schedule import SOMETIMES, Act

OF_A_MODEL = {
    "load_failed": 502,
    "bad_gateway": 502,
    "model_unloaded": 503,
    "backing_off": 503,
    "cancelled": 503,
}
"""Codes, with their status, that a client may be told when something befell its model."""

INSUFFICIENT_STORAGE = 507
AFTER_FULL_DISK = 2.0
"""Seconds that a request may have begun to be put aside before the disk was full."""

PUT_ASIDE = (Act.BIG_REQUEST,)


@dataclass
class Befallen:
    """What has happened: points in time of the monotonic clock."""

    # When something first befell a model.
    models: dict[str, float] = field(default_factory=dict)
    # From when to when the disk was full.
    full_disk: list[tuple[float, float]] = field(default_factory=list)

    def befell(self, model: str, at: float) -> None:
        self.models.setdefault(model, at)


def complaint(ended: Ended, befallen: Befallen) -> str:
    """Why this outcome is not honest; "" when it is."""
    if ended.ended - ended.began > BOUND:
        return f"took {ended.ended - ended.began:.0f} s"
    if ended.problem:
        return ended.problem
    if ended.is_good or _is_blameless(ended, befallen):
        return ""
    return f"{ended.status} {ended.code}{', cut' if ended.is_cut else ''}, and nothing had befallen the model"


def _is_blameless(ended: Ended, befallen: Befallen) -> bool:
    if ended.status == INSUFFICIENT_STORAGE:
        return ended.deed.act in PUT_ASIDE and _was_full(ended, befallen)
    if ended.deed.model == SOMETIMES and ended.code == "not_found" and ended.status == 404:
        return True
    if befallen.models.get(ended.deed.model, ended.ended) >= ended.ended:
        return False
    return ended.is_cut or _agrees(ended, OF_A_MODEL)


def _agrees(ended: Ended, table: Mapping[str, int]) -> bool:
    return ended.code is not None and table.get(ended.code) == ended.status


def _was_full(ended: Ended, befallen: Befallen) -> bool:
    return any(
        ended.began <= until + AFTER_FULL_DISK and ended.ended >= since for since, until in befallen.full_disk
    )
