"""What one configuration means for the data plane: names, keys, selectors, peers, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swapyard.config.names import Names
from swapyard.config.schema import Config, PeerConfig
from swapyard.proxy.body import BodyReader
from swapyard.proxy.selectors import Selector
from swapyard.proxy.upstreams import Upstream
from swapyard.types import ModelId
from swapyard.web.auth import Keys

Environ = Mapping[str, str]
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """An upstream that we do not supervise."""

    id: str
    settings: PeerConfig
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Generation:
    """One loaded config and all that was built from it; a request keeps the one it arrived under."""

    config: Config
    names: Names
    keys: Keys
    own_keys: frozenset[str]
    peers: Mapping[str, Peer]
    selectors: Mapping[str, Selector]
    bodies: BodyReader
    # Of every model, as it is recorded; empty where the scheduler knows no priorities.
    priorities: Mapping[ModelId, str]


def build(config: Config, environ: Environ, before: Generation | None = None) -> Generation:
    """The generation of `config`; unchanged peers and selectors are taken over with what they hold."""
    return Generation(
        config=config,
        names=Names(config),
        keys=Keys(config.api_keys),
        own_keys=frozenset(config.api_keys or ()),
        peers={id: _peer(id, settings, environ, before) for id, settings in config.peers.items()},
        bodies=BodyReader(config.request_body_limit * MIB, config.request_body_timeout),
        selectors={id: _selector(id, config, before) for id in config.selectors},
        priorities={model: str(config.priority(model)) for model in config.models}
        if config.routing.scheduler.use == "fifo"
        else {},
    )


def close_unused(before: Generation, now: Generation) -> None:
    """Close the connections to peers that the new generation does not use."""
    used = {id: peer.upstream for id, peer in now.peers.items()}
    for id, peer in before.peers.items():
        if used.get(id) is not peer.upstream:
            peer.upstream.close()


def _peer(id: str, settings: PeerConfig, environ: Environ, before: Generation | None) -> Peer:
    known = before.peers.get(id) if before else None
    if known is not None and known.settings == settings:
        return known
    return Peer(id, settings, Upstream(settings.proxy, settings.timeouts, environ_proxies=environ))


def _selector(id: str, config: Config, before: Generation | None) -> Selector:
    settings = config.selectors[id]
    if before is not None and before.config.selectors.get(id) == settings:
        return before.selectors[id]
    return Selector(id, settings.strategy, settings.targets, settings.settings.spillover)
