"""Several documents → one: mappings are joined, lists appended, everything else must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from swapyard.config.tree import NOWHERE, Items, Node, Path, Scalar, Section, dotted
from swapyard.errors import Problem

_ROUTER = ("routing", "router", "settings")

ENTITY_MAPS: frozenset[Path] = frozenset(
    {
        ("models",),
        ("groups",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("matrix",),
        (*_ROUTER, "groups"),
        (*_ROUTER, "matrix"),
    }
)
"""Mappings whose entries must each come whole from one file."""


def merge(documents: Sequence[Section]) -> tuple[Section, list[Problem]]:
    """Join documents in order; also every conflict, each at its place in the later file.

    Where two documents conflict the earlier one's value stays, so that later checks can go on.
    """
    if not documents:
        return Section(NOWHERE, {}), []
    merger = _Merger()
    merged = documents[0]
    for document in documents[1:]:
        merged = merger.join_sections(merged, document, ())
    return merged, merger.problems


@dataclass(slots=True)
class _Merger:
    problems: list[Problem] = field(default_factory=list)

    def join_sections(self, first: Section, second: Section, path: Path) -> Section:
        entries = dict(first.entries)
        keys = dict(first.keys)
        for key, value in second.entries.items():
            if key in entries:
                entries[key] = self._join(entries[key], value, (*path, key))
            else:
                entries[key] = value
                keys[key] = second.keys.get(key, value.mark)
        return replace(first, entries=entries, keys=keys)

    def _join(self, first: Node, second: Node, path: Path) -> Node:
        """The cases, in order: 1 entity maps, 2 nothing written, 3 mappings, 4 lists, 5 equal scalars."""
        if path in ENTITY_MAPS:
            return self._join_entities(first, second, path)
        if _is_nothing(first) or _is_nothing(second):
            return second if _is_nothing(first) else first
        match first, second:
            case Section(), Section():
                return self.join_sections(first, second, path)
            case Items(), Items():
                return replace(first, items=first.items + second.items)
            case Scalar(), Scalar():
                if (first.source, first.kind) != (second.source, second.kind):
                    rule = f'conflict at "{dotted(path)}": different value in {_where(first)}'
                    self._conflict(second, path, rule)
            case _:
                rule = f'conflict at "{dotted(path)}": incompatible YAML node kinds, see {_where(first)}'
                self._conflict(second, path, rule)
        return first

    def _join_entities(self, first: Node, second: Node, path: Path) -> Node:
        if not isinstance(first, Section) or not isinstance(second, Section):
            wrong = first if not isinstance(first, Section) else second
            self._conflict(
                wrong, path, f'conflict at "{dotted(path)}": expected a mapping in each of the files'
            )
            return first if isinstance(first, Section) else second
        kept = dict(second.entries)
        for key in second.entries.keys() & first.entries.keys():
            mark = second.keys.get(key, second.entries[key].mark)
            rule = f'duplicate {path[-1]} "{key}", also in {_where(first.entries[key])}'
            self.problems.append(Problem(mark.file, mark.line, dotted((*path, key)), rule))
            del kept[key]
        return self.join_sections(first, second.with_entries(kept), path)

    def _conflict(self, later: Node, path: Path, rule: str) -> None:
        self.problems.append(Problem(later.mark.file, later.mark.line, dotted(path), rule))


def _is_nothing(node: Node) -> bool:
    """A key with nothing after it; a written null is a value of its own."""
    return isinstance(node, Scalar) and node.is_null and not node.source


def _where(node: Node) -> str:
    return f"{node.mark.file}:{node.mark.line}"
