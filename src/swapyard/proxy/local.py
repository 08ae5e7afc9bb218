"""Connections to the models' own servers: one pool for each start of each model."""

from __future__ import annotations

from swapyard.config.schema import Timeouts
from swapyard.dispatcher import Loaded
from swapyard.proxy.upstreams import Upstream
from swapyard.types import ModelId


class LocalUpstreams:
    """A pool never outlives the process it leads to, so no request meets a successor on an old connection."""

    def __init__(self) -> None:
        self._pools: dict[ModelId, tuple[int, Upstream]] = {}

    def get(self, loaded: Loaded, timeouts: Timeouts) -> Upstream:
        known = self._pools.get(loaded.model)
        if known is not None and known[0] == loaded.start:
            return known[1]
        self.forget(loaded.model)
        upstream = Upstream(loaded.base_url, timeouts)
        self._pools[loaded.model] = (loaded.start, upstream)
        return upstream

    def forget(self, model: ModelId) -> None:
        """The process behind this model has ended; what it has said is still read."""
        known = self._pools.pop(model, None)
        if known is not None:
            known[1].close()

    def abort(self, model: ModelId) -> None:
        """The process behind this model is about to be stopped: no connection to it stays open."""
        known = self._pools.pop(model, None)
        if known is not None:
            known[1].abort()
