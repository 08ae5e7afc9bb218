"""Keys that mean nothing: found by walking the document beside its schema, with a guess what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_origin

from swapyard.config.schema import Document
from swapyard.config.section import Section, yaml_key
from swapyard.config.tree import Node, Path, problem_at
from swapyard.config.tree import Section as SectionNode
from swapyard.errors import Problem


def unknown_keys(root: SectionNode, anchored: Collection[str]) -> list[Problem]:
    """A warning for each unknown key, one for each place in a file.

    Unknown top-level keys that define an anchor (`anchored`) or begin with `x-` are there on purpose.
    """
    warnings: dict[tuple[str, int, str], Problem] = {}
    for path, known in _walk(root, Document, ()):
        key = str(path[-1])
        if len(path) == 1 and (key in anchored or key.startswith("x-")):
            continue
        warning = problem_at(root, path, f'unknown key "{key}" is ignored{_suggestion(key, known)}')
        warnings.setdefault((warning.file, warning.line, key), warning)
    return list(warnings.values())


def _walk(node: Node, schema: type[Section], path: Path) -> Iterator[tuple[Path, type[Section]]]:
    if not isinstance(node, SectionNode):
        return
    children = _children(schema)
    for key, value in node.entries.items():
        if key not in children and key not in schema.old_keys:
            yield (*path, key), schema
            continue
        child = children.get(key)
        if child is None:
            continue
        inner, is_mapping = child
        if not is_mapping:
            yield from _walk(value, inner, (*path, key))
        elif isinstance(value, SectionNode):
            for name, entry in value.entries.items():
                yield from _walk(entry, inner, (*path, key, name))


@cache
def _children(schema: type[Section]) -> Mapping[str, tuple[type[Section], bool] | None]:
    """For each key: the schema below it and whether it is that of every entry; None below plain values."""
    return {yaml_key(name): _schema_below(info.annotation) for name, info in schema.model_fields.items()}


def _schema_below(annotation: Any) -> tuple[type[Section], bool] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    is_mapping = get_origin(annotation) is not None and _is_mapping_type(get_origin(annotation))
    for argument in get_args(annotation):
        if found := _schema_below(argument):
            return found[0], found[1] or is_mapping
    return None


def _is_mapping_type(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _suggestion(key: str, schema: type[Section]) -> str:
    """The same key one level down, or a similar one here."""
    children = _children(schema)
    for name, child in children.items():
        if child is not None and not child[1] and key in _children(child[0]):
            return f'; did you mean "{name}.{key}"?'
    folded = {name.lower().replace("_", ""): name for name in children}
    close = difflib.get_close_matches(key.lower().replace("_", ""), folded, n=1, cutoff=0.7)
    return f'; did you mean "{folded[close[0]]}"?' if close else ""
