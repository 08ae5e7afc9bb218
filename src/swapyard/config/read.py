"""YAML text → tree: one document, anchors and merge keys resolved, environment filled in, all problems found.

Built on the event parser of ruamel.yaml; the typing of scalars is our own (see `scalars.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner, ScannerError

from swapyard.config.env import MaskedText, mask
from swapyard.config.scalars import Kind, Typed, joined_halves, type_scalar
from swapyard.config.tree import Items, Mark, Node, Path, Scalar, Section, dotted
from swapyard.errors import Problem

DEPTH_LIMIT = 200
"""Levels of nesting; nothing in a configuration needs more than ten."""

_ALIASED_NODES_FREE = 400_000
_ALIASED_NODES_RATIO = 10


@dataclass(slots=True)
class Parsed:
    """`root` is None when the text holds nothing, or cannot be used because of `problems`.

    `anchored` names the top-level keys below which an anchor is defined.
    """

    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    anchored: set[str] = field(default_factory=set)


def read(text: str, file: str, environ: Mapping[str, str]) -> Parsed:
    """Parse the first document of `text`; never raises, `file` is the name that problems carry."""
    masked = mask(text)
    composer = _Composer(file, masked, environ)
    parsed = composer.parsed
    try:
        for event in _events(masked.text):
            composer.take(event)
    except (YAMLError, _RefusedError) as error:
        parsed.root = None
        parsed.problems.append(_syntax_problem(file, text, error))
    return parsed


class _RefusedError(Exception):
    def __init__(self, line: int, rule: str) -> None:
        super().__init__(rule)
        self.line = line


def _too_deep(line: int) -> _RefusedError:
    return _RefusedError(line, f"nested more than {DEPTH_LIMIT} levels deep")


class _Scanner(Scanner):
    """Takes a tab for white space wherever it cannot be indentation, as other YAML libraries do.

    Of an escape beyond Unicode's last character it says where it stands.
    """

    def scan_flow_scalar_non_spaces(self, double: Any, start_mark: Any) -> Any:
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError) as error:
            rule = "found an escape beyond the last character, \\U0010FFFF"
            raise ScannerError(None, None, rule, self.reader.get_mark()) from error

    def scan_to_next_token(self) -> None:
        reader = self.reader
        if reader.index == 0 and reader.peek() == "\ufeff":
            reader.forward()
        while True:
            while reader.peek() == " " or (
                reader.peek() == "\t" and (self.flow_level or not self.allow_simple_key)
            ):
                reader.forward()
            if reader.peek() == "#":
                while reader.peek() not in "\r\n\0\x85\u2028\u2029":
                    reader.forward()
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True


def _events(text: str) -> Iterator[Any]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    for event in yaml.parse(text):
        yield event
        if isinstance(event, DocumentEndEvent):
            return


def _syntax_problem(file: str, text: str, error: Exception) -> Problem:
    line, reason = 0, str(error)
    if isinstance(error, _RefusedError):
        line = error.line
    elif isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        reason = " ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        reason = f"character #x{code:04x} is not allowed"
    return Problem(file, line, "", f"failed to parse config: {reason}")


@dataclass(frozen=True, slots=True)
class _Extent:
    """Size of what a node stands for once its aliases are followed: how many nodes, how many levels."""

    nodes: int = 1
    levels: int = 1

    def around(self, part: _Extent) -> _Extent:
        return _Extent(self.nodes + part.nodes, max(self.levels, part.levels + 1))


_ONE = _Extent()


@dataclass(slots=True)
class _Frame:
    """A collection whose end has not come yet; `key` waits for its value."""

    mark: Mark
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)
    key: Scalar | None = None
    extent: _Extent = _ONE


class _Composer:
    """Builds the tree from events without recursion."""

    def __init__(self, file: str, masked: MaskedText, environ: Mapping[str, str]) -> None:
        self.parsed = Parsed()
        self._file = file
        self._masked = masked
        self._environ = environ
        self._open: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._extents: dict[str, _Extent] = {}
        self._written = 0

    def take(self, event: Any) -> None:
        match event:
            case ScalarEvent():
                self._start(event)
                scalar = self._scalar(event)
                self._register(event.anchor, scalar, _ONE)
                self._place(scalar, _ONE)
            case AliasEvent():
                self._place(self._aliased(event), self._extents.get(event.anchor, _ONE))
            case SequenceStartEvent() | MappingStartEvent():
                self._start(event)
                self._anchors.update({event.anchor: None} if event.anchor else {})
                if len(self._open) == DEPTH_LIMIT:
                    raise _too_deep(self._line(event))
                is_mapping = isinstance(event, MappingStartEvent)
                self._open.append(_Frame(self._mark(event), event.anchor, is_mapping))
            case SequenceEndEvent() | MappingEndEvent():
                frame = self._open.pop()
                node = self._section(frame) if frame.is_mapping else Items(frame.mark, tuple(frame.items))
                self._register(frame.anchor, node, frame.extent)
                self._place(node, frame.extent)

    def _line(self, event: Any) -> int:
        return int(event.start_mark.line) + 1

    def _mark(self, event: Any) -> Mark:
        return Mark(self._file, self._line(event))

    def _start(self, event: ScalarEvent | CollectionStartEvent) -> None:
        self._written += 1
        path = self._path()
        if event.anchor and path and isinstance(path[0], str):
            self.parsed.anchored.add(path[0])

    def _path(self) -> Path:
        steps = (
            (frame.key.text if frame.key else "") if frame.is_mapping else len(frame.items)
            for frame in self._open
        )
        return tuple(step for step in steps if step != "")

    def _awaits_key(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and self._open[-1].key is None

    def _problem(self, line: int, path: Path, rule: str) -> None:
        self.parsed.problems.append(Problem(self._file, line, dotted(path), rule))

    def _register(self, anchor: str | None, node: Node, extent: _Extent) -> None:
        if anchor:
            self._anchors[anchor] = node
            self._extents[anchor] = extent

    def _aliased(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise _RefusedError(self._line(event), f"unknown anchor '{event.anchor}' referenced")
        node = self._anchors[event.anchor]
        if node is None:
            raise _RefusedError(self._line(event), f"anchor '{event.anchor}' value contains itself")
        return node

    def _scalar(self, event: Any) -> Scalar:
        mark, is_plain = self._mark(event), event.style is None or event.style == ""
        written, halves = joined_halves(event.value)
        text, rules = self._masked.fill(written, self._environ)
        if is_plain and text != written:
            text = text.strip()
        for rule in halves:
            self._problem(mark.line, (*self._path(), text) if self._awaits_key() else self._path(), rule)
        for rule in dict.fromkeys(rules):
            self._problem(mark.line, self._path(), rule)
        rules += halves
        if rules:
            return Scalar(mark, Typed(Kind.TEXT, text), text, is_plain, is_reported=True)
        try:
            tag = None if event.tag is None else str(event.tag)
            typed = type_scalar(text, plain=is_plain and tag != "!", tag=tag)
        except ValueError as error:
            self._problem(mark.line, self._path(), str(error))
            return Scalar(mark, Typed(Kind.TEXT, text), text, is_plain, is_reported=True)
        return Scalar(mark, typed, text, is_plain)

    def _place(self, node: Node, extent: _Extent) -> None:
        if extent.levels > DEPTH_LIMIT + 1:
            raise _too_deep(node.mark.line)
        if not self._open:
            if extent.nodes > max(_ALIASED_NODES_FREE, self._written * _ALIASED_NODES_RATIO):
                raise _RefusedError(node.mark.line, "document contains excessive aliasing")
            self.parsed.root = node
            return
        frame = self._open[-1]
        frame.extent = frame.extent.around(extent)
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is not None:
            frame.pairs.append((frame.key, node))
            frame.key = None
        elif isinstance(node, Scalar):
            frame.key = node
        else:
            raise _RefusedError(node.mark.line, "a key of a mapping must be text")

    def _section(self, frame: _Frame) -> Section:
        """Own keys beat merged ones, an earlier merge source beats a later one; merging is shallow."""
        own: dict[str, Mark] = {}
        entries: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        is_own = self._own_keys(frame)
        for key, value in frame.pairs:
            name = "<<" if self._merges(key) else key.text
            if name in own:
                rule = f'mapping key "{name}" already defined at line {own[name].line}'
                self._problem(key.mark.line, (*self._path(), name), rule)
                continue
            own[name] = key.mark
            if not self._merges(key):
                entries[name], keys[name] = value, key.mark
                continue
            for source in self._merge_sources(key, value):
                for merged, node in source.entries.items():
                    if merged not in is_own and merged not in entries:
                        entries[merged] = node
                        keys[merged] = source.keys.get(merged, node.mark)
        return Section(frame.mark, entries, keys)

    def _own_keys(self, frame: _Frame) -> set[str]:
        return {key.text for key, _ in frame.pairs if not self._merges(key)}

    def _merges(self, key: Scalar) -> bool:
        return key.is_plain and key.source == "<<"

    def _merge_sources(self, key: Scalar, value: Node) -> list[Section]:
        sources = value.items if isinstance(value, Items) else (value,)
        found = [source for source in sources if isinstance(source, Section)]
        if len(found) < len(sources):
            rule = "map merge requires a mapping or a list of mappings as the value"
            self._problem(key.mark.line, self._path(), rule)
        return found
