"""What the operator wants: limits, order and eviction rules of one configuration, as one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from swapyard.types import ModelId

WAITING_LIMIT = 512
"""Requests that may wait for a model which has no explicit limit."""


class OrderKind(StrEnum):
    FIFO = "fifo"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """`limit` counts admitted requests, waiting and in flight; 0 means no limit (see WAITING_LIMIT).

    `ttl` is idle seconds before unload, 0 for never.  `grace` is seconds between SIGTERM and SIGKILL.
    """

    limit: int = 0
    priority: int = 0
    ttl: float = 0
    grace: float = 10


@dataclass(frozen=True, slots=True)
class Eviction:
    """What has to stop so that a model can run, in the order of the running set, and why in words."""

    evict: tuple[ModelId, ...]
    reason: str = ""


Planner = Callable[[ModelId, Collection[ModelId]], Eviction]
"""(target, running models in sorted order) → what to evict.  Pure, quick, asked often.

A planner may know something about two models whoever else runs, and say it with one of two methods; the
scheduler then rules out most waiting models at once instead of asking for each of them:
`evicts(target, other) -> bool` when that is all there is to know, and `other` is in its answer exactly then;
`excludes(target, other) -> bool` when `other` is certainly in its answer unless the target itself runs.
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """`max_wait` is the bound after which an old request stops being overtaken, `queue_timeout` the one after
    which it is refused; both in seconds, 0 for never."""

    models: Mapping[ModelId, ModelPolicy]
    planner: Planner
    order: OrderKind = OrderKind.SERIAL
    max_wait: float = 60
    queue_timeout: float = 0
    waiting_limit: int = field(default=WAITING_LIMIT)
