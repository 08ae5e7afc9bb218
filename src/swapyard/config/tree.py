"""The parsed form of a configuration: scalars, sequences and mappings that know their file and line.

Trees are never changed in place; an alias is the anchored object itself, so parts may be shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from swapyard.config.scalars import Kind, Typed, Value, render, type_plain
from swapyard.errors import Problem

Path = tuple[str | int, ...]
"""Keys and list indexes from the top of the document."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something is written; lines count from 1, 0 when it is not written anywhere."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """`source` is the spelling in the file (for typed values), which text keys keep.

    `is_reported` marks a value that a problem was already reported for, so that nobody reports it again.
    """

    mark: Mark
    typed: Typed
    source: str
    is_plain: bool = False
    is_reported: bool = False

    @property
    def kind(self) -> Kind:
        return self.typed.kind

    @property
    def value(self) -> Value:
        return self.typed.value

    @property
    def is_null(self) -> bool:
        return self.typed.kind is Kind.NULL

    @property
    def text(self) -> str:
        """The value for a key that wants text: as spelled in the file."""
        return self.typed.value if isinstance(self.typed.value, str) else self.source

    def with_text(self, text: str) -> Scalar:
        return replace(self, typed=Typed(Kind.TEXT, text), source=text, is_plain=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping; `keys` says where each key itself is written."""

    mark: Mark
    entries: Mapping[str, Node]
    keys: Mapping[str, Mark] = field(default_factory=dict)

    def with_entries(self, entries: Mapping[str, Node]) -> Section:
        return replace(self, entries=entries)


Node = Scalar | Items | Section

NOWHERE = Mark("", 0)


def text_node(text: str, mark: Mark = NOWHERE) -> Scalar:
    """A scalar that behaves like quoted text."""
    return Scalar(mark, Typed(Kind.TEXT, text), text)


def typed_node(value: Value, mark: Mark = NOWHERE) -> Scalar:
    """A scalar with a value that did not come from a spelling."""
    source = render(value)
    return Scalar(mark, type_plain(source) if isinstance(value, int) else Typed(Kind.TEXT, value), source)


def is_empty(node: Node | None) -> bool:
    """Absent or null."""
    return node is None or (isinstance(node, Scalar) and node.is_null)


def section(node: Node | None) -> Mapping[str, Node]:
    """The entries of a mapping; nothing for anything else."""
    return node.entries if isinstance(node, Section) else {}


def find(root: Node, path: Path) -> Node | None:
    """The node at a path, or None."""
    node: Node | None = root
    for step in path:
        if isinstance(step, int):
            node = node.items[step] if isinstance(node, Items) and step < len(node.items) else None
        else:
            node = section(node).get(step)
        if node is None:
            return None
    return node


def locate(root: Node, path: Path) -> Mark:
    """Where the thing at `path` is written; if it is not, where the nearest thing around it is."""
    node, mark = root, root.mark
    for step in path:
        if isinstance(node, Section) and isinstance(step, str) and step in node.entries:
            mark = node.keys.get(step, node.entries[step].mark)
            node = node.entries[step]
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            mark = node.mark
        else:
            break
    return mark


def dotted(path: Path) -> str:
    """A path as messages show it: `models.m.env[1]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def problem_at(root: Node, path: Path, rule: str) -> Problem:
    """A problem with the place that the operator wrote."""
    mark = locate(root, path)
    return Problem(mark.file, mark.line, dotted(path), rule)


def without(root: Node, path: Path) -> Node:
    """A copy of the tree in which the thing at `path` is not written; list items become null."""
    if not path:
        return Section(root.mark, {})
    step, rest = path[0], path[1:]
    if isinstance(root, Section) and isinstance(step, str) and step in root.entries:
        entries = dict(root.entries)
        if rest:
            entries[step] = without(entries[step], rest)
        else:
            del entries[step]
        return root.with_entries(entries)
    if isinstance(root, Items) and isinstance(step, int) and step < len(root.items):
        items = list(root.items)
        null = Scalar(items[step].mark, Typed(Kind.NULL, None), "")
        items[step] = without(items[step], rest) if rest else null
        return Items(root.mark, tuple(items))
    return root


def scalars(root: Node, path: Path = ()) -> Iterator[tuple[Path, Scalar]]:
    """Every scalar value below `root` (keys are no values) with its path, in written order."""
    trail: list[tuple[Path, Node]] = [(path, root)]
    while trail:
        here, node = trail.pop()
        match node:
            case Scalar():
                yield here, node
            case Items(items=items):
                trail.extend(((*here, index), item) for index, item in reversed(list(enumerate(items))))
            case Section(entries=entries):
                trail.extend(((*here, key), value) for key, value in reversed(list(entries.items())))
