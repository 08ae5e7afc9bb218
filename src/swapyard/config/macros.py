"""Macros: `${NAME}` in values, the built-in MODEL_ID and PORT, and the check that nothing is left over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from swapyard.config.commands import strip_comments
from swapyard.config.leftovers import REFERENCE, check_left_overs
from swapyard.config.ports import LAST_PORT, Ports
from swapyard.config.scalars import Kind, Typed, render
from swapyard.config.schema import DEFAULT_PROXY, Document
from swapyard.config.tree import (
    NOWHERE,
    Items,
    Node,
    Path,
    Scalar,
    Section,
    is_empty,
    problem_at,
    section,
    text_node,
    typed_node,
)
from swapyard.errors import Problem
from swapyard.types import ModelId

NAME_LIMIT_BYTES = 63
TEXT_LIMIT = 1_000_000
"""Characters that one value may grow to."""

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_RESERVED = frozenset({"PORT", "MODEL_ID", "PID"})
_SCALAR_KINDS = frozenset({Kind.TEXT, Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN})
Scope = Mapping[str, Scalar]
"""Macros in order of declaration; each may use those before it."""

Steps = Sequence[tuple[str, Scalar]]
"""What `${NAME}` is, as a text to look for, in the order of substitution: the last declared first."""


def in_order(scope: Scope) -> Steps:
    return [(f"${{{name}}}", macro) for name, macro in reversed(list(scope.items()))]


@dataclass(slots=True)
class Expanded:
    """The tree with macros in place.  `ports` are the numbers given out for `${PORT}`."""

    root: Section
    problems: list[Problem]
    ports: dict[ModelId, int]


def expand(root: Section, kept_ports: Mapping[ModelId, int]) -> Expanded:
    """Put macros into the whole document; every problem is reported, and its value marked as reported.

    `kept_ports` are the numbers of the generation before: its models keep theirs, and nobody else gets one
    of them.
    """
    return _Expansion(root, kept_ports).run()


class _Expansion:
    def __init__(self, root: Section, kept_ports: Mapping[ModelId, int]) -> None:
        self._root = root
        self._kept_ports = kept_ports
        self._problems: list[Problem] = []

    def run(self) -> Expanded:
        scope = self._declared(self._root.entries.get("macros"), ("macros",), "")
        entries = {
            key: node if key in ("macros", "models") else self._apply(node, in_order(scope), (key,))
            for key, node in self._root.entries.items()
        }
        ports = Ports(_start_port(entries.get("startPort")), self._kept_ports)
        models = entries.get("models")
        if isinstance(models, Section):
            entries["models"] = self._models(models, scope, ports)
        checked, problems = check_left_overs(self._root.with_entries(entries))
        return Expanded(checked, self._problems + problems, ports.given)

    def _problem(self, path: Path, rule: str) -> None:
        self._problems.append(problem_at(self._root, path, rule))

    # -- declarations

    def _declared(self, node: Node | None, path: Path, prefix: str) -> dict[str, Scalar]:
        """Check declarations; an unusable one stays known, marked as reported."""
        if is_empty(node):
            return {}
        if not isinstance(node, Section):
            if not (isinstance(node, Scalar) and node.is_reported):
                self._problem(path, f"{prefix}macros must be a mapping")
            return {}
        declared: dict[str, Scalar] = {}
        for name, value in node.entries.items():
            rule = _declaration_rule(name, value)
            if rule:
                self._problem((*path, name), f"{prefix}macro '{name}' {rule}")
            if isinstance(value, Scalar):
                declared[name] = replace(value, is_reported=value.is_reported or bool(rule))
            else:
                declared[name] = replace(text_node("", value.mark), is_reported=True)
        return declared

    # -- models

    def _models(self, models: Section, scope: Scope, ports: Ports) -> Section:
        expanded = dict(models.entries)
        for model in sorted(models.entries, key=lambda name: name.encode("utf-8", "surrogatepass")):
            node = models.entries[model]
            if is_empty(node) and not (isinstance(node, Scalar) and node.is_reported):
                node = Section(node.mark, {})
            if isinstance(node, Section):
                expanded[model] = self._model(ModelId(model), node, scope, ports)
        return models.with_entries(expanded)

    def _model(self, model: ModelId, node: Section, scope: Scope, ports: Ports) -> Section:
        path: Path = ("models", model)
        local = self._declared(node.entries.get("macros"), (*path, "macros"), f"model {model}: ")
        prepared = _prepared(node)
        merged: dict[str, Scalar] = {"MODEL_ID": text_node(model), **scope, **local}
        settings = self._apply_to_model(prepared, in_order(merged), path)
        if _mentions_port(settings.entries.get("cmd")):
            port = ports.give(model)
            if port is None:
                self._problem(
                    (*path, "cmd"), f"model {model}: no number up to {LAST_PORT} is left for ${{PORT}}"
                )
            number = replace(typed_node(port or 0), is_reported=port is None)
            settings = self._apply_to_model(settings, [("${PORT}", number)], path)
        elif _mentions_port(settings.entries.get("proxy")):
            # Without a usable cmd nobody can know whether it would have asked for a number.
            if not _is_reported(settings.entries.get("cmd")):
                self._problem(
                    (*path, "proxy"),
                    f"model {model}: proxy uses ${{PORT}} but cmd does not; use ${{PORT}} in cmd, "
                    "or give proxy the number that cmd uses",
                )
            proxy = replace(text_node("", settings.entries["proxy"].mark), is_reported=True)
            settings = settings.with_entries({**settings.entries, "proxy": proxy})
        return self._checked_ids(model, settings)

    def _apply_to_model(self, node: Section, steps: Steps, path: Path) -> Section:
        entries = {
            key: value if key == "macros" else self._apply(value, steps, (*path, key))
            for key, value in node.entries.items()
        }
        filters = entries.get("filters")
        by_id = section(filters).get("setParamsByID")
        if isinstance(filters, Section) and isinstance(by_id, Section):
            renamed = self._renamed(by_id, steps, (*path, "filters", "setParamsByID"))
            entries["filters"] = filters.with_entries({**filters.entries, "setParamsByID": renamed})
        return node.with_entries(entries)

    def _renamed(self, by_id: Section, steps: Steps, path: Path) -> Section:
        """The one mapping whose keys take macros."""
        entries: dict[str, Node] = {}
        origin: dict[str, str] = {}
        keys = dict(by_id.keys)
        for key, value in by_id.entries.items():
            name = self._expanded(text_node(key), steps, (*path, key)).text if "${" in key else key
            if name in entries:
                rule = f"model {path[1]}: setParamsByID keys '{origin[name]}' and '{key}'"
                self._problem((*path, key), f"{rule} resolve to the same value '{name}'")
                continue
            entries[name], origin[name] = value, key
            keys[name] = by_id.keys.get(key, value.mark)
        return replace(by_id, entries=entries, keys=keys)

    def _checked_ids(self, model: ModelId, settings: Section) -> Section:
        by_id = section(section(settings.entries.get("filters")).get("setParamsByID"))
        for key in by_id:
            for name in dict.fromkeys(REFERENCE.findall(key)):
                rule = f"unknown macro '${{{name}}}' found in model {model} filters.setParamsByID key '{key}'"
                self._problem(("models", model, "filters", "setParamsByID"), rule)
        return settings

    # -- substitution

    def _apply(self, node: Node, steps: Steps, path: Path) -> Node:
        match node:
            case Scalar():
                return self._expanded(node, steps, path)
            case Items():
                items = tuple(self._apply(item, steps, (*path, at)) for at, item in enumerate(node.items))
                return node if items == node.items else replace(node, items=items)
            case Section():
                entries = {
                    key: self._apply(value, steps, (*path, key)) for key, value in node.entries.items()
                }
                return node.with_entries(entries)

    def _expanded(self, scalar: Scalar, steps: Steps, path: Path) -> Scalar:
        """Substitute each macro once; a value that is nothing but one reference takes the macro's type."""
        text = scalar.value
        if not isinstance(text, str) or "${" not in text:
            return scalar
        typed, source, is_reported = scalar.typed, scalar.source, scalar.is_reported
        for token, macro in steps:
            if token not in text:
                continue
            is_reported = is_reported or macro.is_reported
            if text == token:
                typed, source = macro.typed, macro.source
            else:
                grown = text.replace(token, render(macro.value))
                typed, source = Typed(Kind.TEXT, grown), grown
            if not isinstance(typed.value, str):
                break
            text = typed.value
            if len(text) > TEXT_LIMIT:
                self._problem(path, f"macros make this longer than {TEXT_LIMIT} characters")
                typed, source, is_reported = Typed(Kind.TEXT, ""), "", True
                break
        return replace(scalar, typed=typed, source=source, is_reported=is_reported)


def _declaration_rule(name: str, value: Node) -> str | None:
    """The first rule that a declaration breaks, in the reference's order."""
    if len(name.encode("utf-8", "surrogatepass")) > NAME_LIMIT_BYTES:
        return f"exceeds maximum length of {NAME_LIMIT_BYTES} characters"
    if not _NAME.fullmatch(name):
        return "contains invalid characters; allowed are letters, digits, _ and -"
    if not isinstance(value, Scalar) or (value.kind not in _SCALAR_KINDS and not value.is_reported):
        return "must be a scalar type: text, integer, float or boolean"
    if isinstance(value.value, str) and f"${{{name}}}" in value.value:
        return "contains a self-reference"
    return "is reserved" if name in _RESERVED else None


def _start_port(node: Node | None) -> int:
    """The value if it is usable; what is wrong with it is found when it is decoded."""
    value = node.value if isinstance(node, Scalar) else None
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= LAST_PORT
    return int(value) if usable and isinstance(value, int | float) else Document().start_port


def _prepared(node: Section) -> Section:
    """Comment lines leave the commands before macros are looked for; a missing proxy gets its default."""
    entries = dict(node.entries)
    for key in ("cmd", "cmdStop"):
        command = entries.get(key)
        if isinstance(command, Scalar) and isinstance(command.value, str):
            entries[key] = command.with_text(strip_comments(command.value))
    proxy = entries.get("proxy")
    if is_empty(proxy):
        entries["proxy"] = text_node(DEFAULT_PROXY, proxy.mark if proxy else NOWHERE)
    return node.with_entries(entries)


def _mentions_port(node: Node | None) -> bool:
    return isinstance(node, Scalar) and isinstance(node.value, str) and "${PORT}" in node.value


def _is_reported(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.is_reported
