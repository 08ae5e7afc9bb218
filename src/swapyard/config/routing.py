"""The routing section: old and new spellings made one, groups completed, the matrix compiled."""

from __future__ import annotations

from collections.abc import Mapping

from swapyard.config.findings import Findings
from swapyard.config.matrix import compile_matrix
from swapyard.config.names import Names
from swapyard.config.routing_schema import (
    DEFAULT_GROUP,
    GroupConfig,
    MatrixSection,
    Router,
    RouterSettings,
    Routing,
    Scheduler,
)
from swapyard.config.schema import Document
from swapyard.config.tree import Path

_NEW: Path = ("routing", "router", "settings")
SCHEDULERS = ("serial", "fifo")


def compile_routing(document: Document, names: Names, found: Findings) -> Routing:
    """Decide on router and scheduler; where that is impossible the default router stands in."""
    router = _router(document, names, found)
    return Routing(router=router, scheduler=_scheduler(document, names, router, found))


def _old_style(document: Document) -> bool:
    return document.matrix is not None or bool(document.groups)


def _new_style(document: Document) -> bool:
    router = document.routing.router
    return bool(router.use or router.settings.groups or router.settings.matrix is not None)


def _router(document: Document, names: Names, found: Findings) -> Router:
    router = document.routing.router
    if _old_style(document) and _new_style(document):
        rule = "top-level matrix and groups cannot stand beside routing.router; migrate them to it"
        found.error(("matrix" if document.matrix is not None else "groups",), rule)
    elif _old_style(document):
        if document.matrix is not None and document.groups:
            found.error(("matrix",), "cannot use both groups and matrix")
        elif document.matrix is not None:
            return _matrix_router(document.matrix, ("matrix",), names, found)
        else:
            return _group_router(document.groups, ("groups",), names, found)
    elif router.use == "matrix":
        if router.settings.groups:
            found.warn((*_NEW, "groups"), "not used, because routing.router.use is matrix")
        if router.settings.matrix is not None:
            return _matrix_router(router.settings.matrix, (*_NEW, "matrix"), names, found)
        found.error(("routing", "router", "use"), "routing.router.settings.matrix is not set")
    elif router.use in ("", "group"):
        if router.settings.matrix is not None:
            found.warn((*_NEW, "matrix"), "not used; set routing.router.use to matrix to use it")
        return _group_router(router.settings.groups, (*_NEW, "groups"), names, found)
    else:
        rule = f'unknown router "{router.use}"; valid are group, matrix'
        found.error(("routing", "router", "use"), rule)
    return _group_router({}, (), names, found)


def _matrix_router(section: MatrixSection, path: Path, names: Names, found: Findings) -> Router:
    matrix = compile_matrix(section, path, names, found)
    return Router(use="matrix", settings=RouterSettings(matrix=matrix))


def _group_router(groups: Mapping[str, GroupConfig], path: Path, names: Names, found: Findings) -> Router:
    owner: dict[str, str] = {}
    complete: dict[str, GroupConfig] = {}
    for name, group in groups.items():
        members = _members(name, group, (*path, name, "members"), names, owner, found)
        complete[name] = group.model_copy(update={"members": members})
    listed = complete.get(DEFAULT_GROUP, GroupConfig())
    rest = sorted(model for model in names.models if model not in owner)
    complete[DEFAULT_GROUP] = listed.model_copy(update={"members": (*listed.members, *rest)})
    return Router(use="group", settings=RouterSettings(groups=complete))


def _members(
    name: str, group: GroupConfig, path: Path, names: Names, owner: dict[str, str], found: Findings
) -> tuple[str, ...]:
    """Members as model IDs; `owner` learns which group each model is in."""
    members: list[str] = []
    for index, written in enumerate(group.members):
        model = names.local(written)
        if model is None:
            rule = f'unknown member "{written}" in group: {name}; there is no model config for it'
            found.error((*path, index), rule)
        elif owner.get(model) == name:
            found.error((*path, index), f"duplicate model member {model} found in group: {name}")
        elif model in owner:
            rule = f"model member {model} is used in multiple groups: {owner[model]} and {name}"
            found.error((*path, index), rule)
        else:
            owner[model] = name
            members.append(model)
    return tuple(members)


def _scheduler(document: Document, names: Names, router: Router, found: Findings) -> Scheduler:
    section = document.routing.scheduler
    path: Path = ("routing", "scheduler")
    for name in section.settings.fifo.priority:
        if names.local(name) is None:
            rule = f'unknown model "{name}"'
            found.error((*path, "settings", "fifo", "priority", name), rule)
    use, reason = section.use, "routing.scheduler.use says so"
    if not use:
        use, reason = _default_scheduler(document)
    elif use not in SCHEDULERS:
        rule = f'unknown scheduler "{use}"; valid are {", ".join(SCHEDULERS)}'
        found.error((*path, "use"), rule)
    if use == "serial":
        _warn_unused(document, router, found)
    return Scheduler(use=use, reason=reason, settings=section.settings)


def _default_scheduler(document: Document) -> tuple[str, str]:
    """serial, unless something is declared that serial would ignore."""
    declared = (
        ("groups", bool(document.groups)),
        ("a matrix", document.matrix is not None),
        ("routing.router", _new_style(document)),
        ("fifo settings", bool(document.routing.scheduler.settings.fifo.priority)),
    )
    for what, is_declared in declared:
        if is_declared:
            return "fifo", f"the configuration declares {what}, which only fifo takes into account"
    return "serial", "the default: one model in memory, one request at a time, in order of arrival"


def _warn_unused(document: Document, router: Router, found: Findings) -> None:
    if document.routing.scheduler.settings.fifo.priority:
        path = ("routing", "scheduler", "settings", "fifo", "priority")
        found.warn(path, "not used by the serial scheduler")
    if _old_style(document) or _new_style(document):
        what = "the matrix is" if router.use == "matrix" else "groups are"
        found.warn(("routing", "scheduler", "use"), f"{what} not used by the serial scheduler")
