"""Rules about names that refer to each other: peers, selectors, profiles, the preload list."""

from __future__ import annotations

from swapyard.config.findings import Findings
from swapyard.config.names import LocalModel, Names, PeerModel, Resolved
from swapyard.config.routing_schema import Routing
from swapyard.config.schema import Document, ProfileConfig, SelectorConfig
from swapyard.config.sets import can_run_together
from swapyard.config.tree import Path
from swapyard.types import ModelId

STRATEGIES = ("warm", "pin", "spillover")


def check_references(document: Document, names: Names, routing: Routing | None, found: Findings) -> None:
    """Check everything that names a model elsewhere; `routing` is None when it could not be compiled."""
    _check_qualified_names(document, found)
    for selector, settings in document.selectors.items():
        _SelectorRules(document, names, routing, found, selector).check(settings)
    for profile, pins in document.profiles.items():
        _check_profile(document, names, profile, pins, found)


def preload(document: Document, names: Names, routing: Routing, found: Findings) -> tuple[str, ...]:
    """The models to preload; what is no local model is dropped with a warning."""
    models: list[str] = []
    path: Path = ("hooks", "on_startup", "preload")
    for index, written in enumerate(document.hooks.on_startup.preload):
        name = written.strip()
        model = names.local(name)
        if model is not None:
            models.append(model)
        elif name:
            found.warn((*path, index), f'"{name}" is no local model or alias and will not be preloaded')
    if routing.scheduler.use == "serial" and len(set(models)) > 1:
        found.warn(path, "the serial scheduler keeps one model in memory: only the last one will stay loaded")
    return tuple(models)


def _check_qualified_names(document: Document, found: Findings) -> None:
    owners: dict[str, PeerModel] = {}
    for peer, settings in document.peers.items():
        for index, model in enumerate(settings.models):
            this = PeerModel(peer, model)
            other = owners.setdefault(this.qualified, this)
            if other != this:
                rule = (
                    f'"{this.qualified}" is ambiguous: it is model "{other.model}" of peers.{other.peer} '
                    f'and model "{this.model}" of peers.{this.peer}'
                )
                found.error(("peers", peer, "models", index), rule)
    taken: list[tuple[str, Path, str]] = []
    for model, config in document.models.items():
        taken.append((model, ("models", model), "model ID"))
        taken += [(alias, ("models", model, "aliases"), f"model {model}: alias") for alias in config.aliases]
    taken += [(selector, ("selectors", selector), "selector ID") for selector in document.selectors]
    for profile, pins in document.profiles.items():
        taken += [(pin, ("profiles", profile, "pins", pin), f"profile {profile}: pin") for pin in pins.pins]
    for name, path, what in taken:
        if name in owners:
            found.error(path, f'{what} "{name}" conflicts with a fully qualified peer model name')


class _SelectorRules:
    """The rules of one selector, in order."""

    def __init__(
        self, document: Document, names: Names, routing: Routing | None, found: Findings, selector: str
    ) -> None:
        self._document = document
        self._names = names
        self._routing = routing
        self._found = found
        self._selector = selector
        self._at: Path = ("selectors", selector)

    def check(self, settings: SelectorConfig) -> None:
        self._check_id()
        self._check_strategy(settings.strategy)
        if not settings.targets:
            self._found.error((*self._at, "targets"), "needs at least one entry")
        resolved = [
            self._check_target(index, target, settings.strategy)
            for index, target in enumerate(settings.targets)
        ]
        if settings.strategy == "spillover":
            self._check_spillover(settings, [target for target in resolved if target is not None])

    def _check_id(self) -> None:
        if not self._selector.strip():
            self._found.error(self._at, "selector names cannot be empty")
        if self._selector in self._names.models:
            self._found.error(self._at, "conflicts with model ID")
        elif self._selector in self._names.aliases:
            self._found.error(self._at, "conflicts with model alias")

    def _check_strategy(self, strategy: str) -> None:
        path = (*self._at, "strategy")
        if not strategy:
            self._found.error(path, "strategy is required")
        elif strategy not in STRATEGIES:
            rule = f'unknown strategy "{strategy}"; valid are {", ".join(STRATEGIES)}'
            self._found.error(path, rule)

    def _check_target(self, index: int, target: str, strategy: str) -> Resolved | None:
        path = (*self._at, "targets", index)
        if target in self._document.selectors:
            rule = f'"{target}" is a selector; chaining selectors is not possible'
            self._found.error(path, rule)
            return None
        resolved = self._names.resolve(target)
        if resolved is None:
            self._found.error(path, f'unknown model "{target}"')
        elif strategy == "warm" and isinstance(resolved, PeerModel):
            self._found.error(path, f'"{target}" must be a local model for strategy warm')
        return resolved

    def _check_spillover(self, settings: SelectorConfig, targets: list[Resolved]) -> None:
        if settings.settings.spillover < 1:
            path = (*self._at, "settings", "spillover")
            self._found.error(path, f"must be >= 1, got {settings.settings.spillover}")
        names = [target.model if isinstance(target, LocalModel) else target.qualified for target in targets]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            rule = f'duplicate resolved model "{name}"'
            self._found.error((*self._at, "targets"), rule)
        local = list(dict.fromkeys(target.model for target in targets if isinstance(target, LocalModel)))
        if len(local) > 1 and self._routing is not None:
            self._check_coexistence(self._routing, local)

    def _check_coexistence(self, routing: Routing, models: list[ModelId]) -> None:
        path = (*self._at, "targets")
        settings = routing.router.settings
        if routing.scheduler.use == "serial":
            self._found.warn(path, "the serial scheduler can keep only one of the local targets loaded")
        if settings.matrix is not None:
            if not can_run_together(settings.matrix.sets, models):
                rule = "no matrix set allows all local targets at once"
                self._found.error(path, rule)
            return
        group_of = {member: name for name, group in settings.groups.items() for member in group.members}
        first = group_of[models[0]]
        if settings.groups[first].swap:
            rule = "local targets must share a group with swap: false"
            self._found.error(path, f'{rule}; "{models[0]}" is in {first}')
        elif any(group_of[model] != first for model in models):
            self._found.error(path, "local targets must share one routing group")


def _check_profile(
    document: Document, names: Names, profile: str, settings: ProfileConfig, found: Findings
) -> None:
    at: Path = ("profiles", profile)
    if not profile.strip():
        found.error(at, "profile names cannot be empty")
    if not settings.pins:
        found.error((*at, "pins"), "needs at least one entry")
    for pin, target in settings.pins.items():
        path = (*at, "pins", pin)
        if not pin.strip():
            found.error(path, "pin names cannot be empty")
        if target and target not in document.selectors and names.resolve(target) is None:
            found.error(path, f'unknown model "{target}"')
