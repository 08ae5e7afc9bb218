"""Models that are loaded before anybody asks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from swapyard.bus import Bus
from swapyard.dispatcher import Dispatcher
from swapyard.errors import RequestError
from swapyard.notices import ModelPreloaded
from swapyard.types import ModelId


async def preload(
    models: Sequence[ModelId], dispatcher: Dispatcher, bus: Bus, log: Callable[[int, str], None]
) -> None:
    """Load these one after the other; success is readiness, and a failure does not stop the rest."""
    for model in models:
        try:
            async with dispatcher.lease(model):
                pass
        except RequestError as error:
            log(logging.WARNING, f"<{model}> preload failed: {error.message}")
            bus.publish(ModelPreloaded(model, success=False))
        else:
            log(logging.INFO, f"<{model}> preloaded")
            bus.publish(ModelPreloaded(model, success=True))
