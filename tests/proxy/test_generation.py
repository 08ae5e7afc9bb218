"""What a configuration means for the data plane, and what a new one takes over."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from swapyard.config.load import load_text
from swapyard.errors import RequestError
from swapyard.proxy.generation import Generation, build, close_unused
from swapyard.types import State

Run = Callable[[Coroutine[Any, Any, None]], None]

CONFIG = """
apiKeys: [k]
models: {a: {cmd: "x ${PORT}"}, b: {cmd: "x ${PORT}"}}
peers: {kept: {proxy: "http://127.0.0.1:1", models: [m]}, changed: {proxy: "http://127.0.0.1:1", models: [n]}}
selectors: {pool: {strategy: spillover, targets: [a, b]}, other: {strategy: pin, targets: [a]}}
routing: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}
"""


def made(text: str, before: Generation | None = None) -> Generation:
    return build(load_text(text, {}).config, {}, before)


def test_a_generation_knows_names_keys_peers_and_selectors(run: Run) -> None:
    async def main() -> None:
        now = made(CONFIG)
        assert set(now.peers) == {"kept", "changed"} and set(now.selectors) == {"pool", "other"}
        assert now.own_keys == {"k"} and now.keys.admit([(b"x-api-key", b"k")]).key
        with pytest.raises(RequestError):
            now.keys.admit([])
        assert now.names.local("a") == "a"

    run(main())


def test_without_keys_the_door_is_open_and_no_header_is_ours(run: Run) -> None:
    async def main() -> None:
        now = made("models: {}")
        assert now.own_keys == frozenset() and now.keys.admit([]).key == ""

    run(main())


def test_unchanged_peers_and_selectors_keep_what_they_hold(run: Run) -> None:
    async def main() -> None:
        before = made(CONFIG)
        before.selectors["pool"].choose(lambda _: State.STOPPED)
        text = CONFIG.replace("models: [n]", "models: [n, o]").replace("targets: [a]}", "targets: [b]}")
        now = made(text, before)
        assert now.peers["kept"] is before.peers["kept"]
        assert now.peers["changed"] is not before.peers["changed"]
        assert now.selectors["pool"] is before.selectors["pool"]
        assert now.selectors["other"] is not before.selectors["other"]
        assert now.selectors["pool"].choose(lambda _: State.STOPPED).target == "b"

    run(main())


def test_connections_to_peers_that_are_gone_are_closed_and_no_others(run: Run) -> None:
    async def main() -> None:
        before = made(CONFIG)
        now = made(CONFIG.replace("models: [n]", "models: [n, o]"), before)
        close_unused(before, now)
        assert before.peers["changed"].upstream._closed
        assert not now.peers["kept"].upstream._closed and not now.peers["changed"].upstream._closed

    run(main())
