"""What a new configuration means for the models: which are new, gone, need another process, or stay."""

from __future__ import annotations

from dataclasses import dataclass

from swapyard.config.schema import Config, ModelConfig
from swapyard.types import ModelId


@dataclass(frozen=True, slots=True)
class Changes:
    """Every model of both configurations is in exactly one of the four."""

    added: frozenset[ModelId] = frozenset()
    changed: frozenset[ModelId] = frozenset()
    removed: frozenset[ModelId] = frozenset()
    unchanged: frozenset[ModelId] = frozenset()


def compare(old: Config, new: Config) -> Changes:
    """Compare two generations; `new` must have been loaded with the ports of `old` (`load(..., ports=...)`).

    Changed means that the running process is no longer the one that the file describes.  Everything that does
    not reach the process (names, filters, TTL, timeouts of unloading and loading, …) leaves it unchanged.
    """
    before, after = old.models, new.models
    both = before.keys() & after.keys()
    changed = {model for model in both if _process(before[model]) != _process(after[model])}
    return Changes(
        added=frozenset(after.keys() - before.keys()),
        changed=frozenset(changed),
        removed=frozenset(before.keys() - after.keys()),
        unchanged=frozenset(both - changed),
    )


def _process(settings: ModelConfig) -> tuple[object, ...]:
    """What the child is, how it is reached and how it is stopped."""
    return (
        settings.cmd,
        settings.cmd_stop,
        settings.proxy,
        settings.env,
        settings.check_endpoint,
        settings.timeouts,
    )
