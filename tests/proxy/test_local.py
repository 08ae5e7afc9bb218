"""Connections to the models' own servers: one pool for each start of each model."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from swapyard.config.schema import Timeouts
from swapyard.dispatcher import Loaded
from swapyard.proxy.local import LocalUpstreams
from swapyard.types import ModelId

Run = Callable[[Coroutine[Any, Any, None]], None]

A, B = ModelId("a"), ModelId("b")


def loaded(model: ModelId, start: int) -> Loaded:
    return Loaded(model, "http://127.0.0.1:1", start)


def test_requests_of_one_start_share_a_pool_and_those_of_another_do_not(run: Run) -> None:
    async def main() -> None:
        pools = LocalUpstreams()
        first = pools.get(loaded(A, 1), Timeouts())
        assert pools.get(loaded(A, 1), Timeouts()) is first
        assert pools.get(loaded(B, 1), Timeouts()) is not first
        second = pools.get(loaded(A, 2), Timeouts())
        assert second is not first and pools.get(loaded(A, 2), Timeouts()) is second

    run(main())


def test_a_pool_is_forgotten_with_its_process(run: Run) -> None:
    async def main() -> None:
        pools = LocalUpstreams()
        first = pools.get(loaded(A, 1), Timeouts())
        pools.forget(A)
        pools.forget(A)
        assert pools.get(loaded(A, 1), Timeouts()) is not first

    run(main())
