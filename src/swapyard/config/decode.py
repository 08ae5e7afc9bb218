"""Tree → Document: every value converted to the type its key expects, all mismatches reported at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from swapyard.config.env import reveal
from swapyard.config.fields import REPORTED
from swapyard.config.schema import Document
from swapyard.config.tree import Items, Node, Path, Scalar, Section, find, problem_at, without
from swapyard.errors import Problem


@dataclass(slots=True)
class Decoded:
    """`lost` are the places whose value was unusable and was left out, so that the rest can be judged."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    lost: set[Path] = field(default_factory=set)


def decode(root: Section) -> Decoded:
    """Convert what can be converted; a value that does not fit is reported and its key taken as absent."""
    problems: list[Problem] = []
    lost: set[Path] = set()
    remaining: Node = root
    while True:
        try:
            return Decoded(Document.model_validate(_shape(remaining)), problems, lost)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
        # Each round takes out at least one node; without any errors in the end nothing is left to take out.
        for detail in details:
            path = _existing(remaining, detail["loc"])
            if detail["type"] != REPORTED and path not in lost:
                problems.append(problem_at(root, path, detail["msg"]))
            lost.add(path)
        for path in _from_the_end(details, remaining):
            remaining = without(remaining, path)


def _from_the_end(details: list[ErrorDetails], root: Node) -> list[Path]:
    """Longest paths first, so that taking one out does not move the others."""
    return sorted({_existing(root, detail["loc"]) for detail in details}, key=len, reverse=True)


def _existing(root: Node, path: Path) -> Path:
    """`path` as far as it is written."""
    while path and find(root, path) is None:
        path = path[:-1]
    return path


def _shape(node: Node) -> object:
    match node:
        case Scalar():
            text = node.value
            if isinstance(text, str) and reveal(text) != text:
                return node.with_text(reveal(text))
            return node
        case Items():
            return [_shape(item) for item in node.items]
        case Section():
            return {reveal(key): _shape(value) for key, value in node.entries.items()}
