"""Which upstream a model name stands for: a local model by ID or alias, else a peer's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from swapyard.config.schema import Settings
from swapyard.types import ModelId

T = TypeVar("T")

LONGEST_NAME_BYTES = 512
"""Bytes of UTF-8: the longest model name, in the configuration and in a request."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    model: ModelId


@dataclass(frozen=True, slots=True)
class PeerModel:
    """`model` is the bare name, which the peer is asked for."""

    peer: str
    model: str

    @property
    def qualified(self) -> str:
        return f"{self.peer}/{self.model}"


Resolved = LocalModel | PeerModel


@dataclass(frozen=True, slots=True)
class Leading:
    """A name at the start of a path, what it stands for, and the rest of the path ("" or "/…")."""

    name: str
    target: Resolved
    rest: str


class Names:
    """The name tables of one configuration.  Profiles and selectors come before and are not looked at."""

    def __init__(self, settings: Settings) -> None:
        self._models = frozenset(settings.models)
        self._aliases: dict[str, ModelId] = {}
        for model, config in settings.models.items():
            self._aliases.update((alias, model) for alias in config.aliases)
        self._local = {name: LocalModel(model) for name, model in self._aliases.items()}
        self._local.update((model, LocalModel(model)) for model in settings.models)
        self._qualified: dict[str, PeerModel] = {}
        bare: dict[str, dict[PeerModel, None]] = {}
        for peer, peer_config in settings.peers.items():
            for model_name in peer_config.models:
                found = PeerModel(peer, model_name)
                self._qualified[found.qualified] = found
                bare.setdefault(model_name, {})[found] = None
        self._bare = {name: next(iter(found)) for name, found in bare.items() if len(found) == 1}

    @property
    def models(self) -> frozenset[ModelId]:
        return self._models

    @property
    def aliases(self) -> Mapping[str, ModelId]:
        """Every alias, also those that a model ID hides."""
        return self._aliases

    @property
    def qualified(self) -> Mapping[str, PeerModel]:
        """Every `<peer>/<model>`."""
        return self._qualified

    def resolve(self, name: str) -> Resolved | None:
        """Model ID, then alias, then qualified peer model, then a bare one that only one peer offers."""
        return self._local.get(name) or self.peer(name)

    def local(self, name: str) -> ModelId | None:
        local = self._local.get(name)
        return None if local is None else local.model

    def peer(self, name: str) -> PeerModel | None:
        """A peer's model by qualified or unique bare name, whether or not a local name hides it."""
        return self._qualified.get(name) or self._bare.get(name)

    def leading(self, path: str) -> Leading | None:
        """The longest run of leading segments of `path` (no slash in front) that names a model, decoded."""
        for name, rest in _prefixes(path):
            target = self.resolve(name)
            if target is not None:
                return Leading(name, target, rest)
        return None

    def leading_local(self, path: str) -> ModelId | None:
        """The local model that the longest fitting run of leading segments names."""
        return next((model for name, _ in _prefixes(path) if (model := self.local(name)) is not None), None)


def leading_entry(path: str, find: Callable[[str], T | None]) -> tuple[str, T, str] | None:
    """The longest run of leading segments for which `find` knows something: (run, that, rest of the path).

    For the pins of a profile: `leading_entry(path, profile.pins.get)`.
    """
    for name, rest in _prefixes(path):
        found = find(name)
        if found is not None:
            return name, found, rest
    return None


def _prefixes(path: str) -> Iterator[tuple[str, str]]:
    """(name, rest) for every cut of `path` at a slash, longest name first."""
    cut = len(path)
    while cut >= 0:
        yield path[:cut], path[cut:]
        cut = path.rfind("/", 0, cut)
