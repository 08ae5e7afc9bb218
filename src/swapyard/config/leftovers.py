"""The check after expansion: nothing in a known place may still look like a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from swapyard.config import env
from swapyard.config.schema import Document
from swapyard.config.section import yaml_key
from swapyard.config.tree import Items, Node, Path, Scalar, Section, dotted, problem_at
from swapyard.errors import Problem

REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_-]+)\}")

_KNOWN_TOP = frozenset(yaml_key(name) for name in Document.model_fields) - {"macros"}
_SHORT_FIELDS = frozenset(
    {"cmd", "cmdStop", "proxy", "checkEndpoint", "filters.stripParams", "name", "description"}
)


def check_left_overs(root: Section) -> tuple[Section, list[Problem]]:
    """Find references that nothing resolved; their values come back marked as reported.

    Keys are not looked at, nor what stands below unknown top-level keys and `macros`.
    """
    problems: list[Problem] = []

    def checked(node: Node, path: Path) -> Node:
        match node:
            case Scalar():
                rules = _rules(node, path)
                problems.extend(problem_at(root, path, rule) for rule in rules)
                return replace(node, is_reported=True) if rules else node
            case Items():
                return replace(
                    node, items=tuple(checked(item, (*path, at)) for at, item in enumerate(node.items))
                )
            case Section():
                own_macros = len(path) == 2 and path[0] == "models"
                return node.with_entries(
                    {
                        key: value if own_macros and key == "macros" else checked(value, (*path, key))
                        for key, value in node.entries.items()
                    }
                )

    entries = {
        key: checked(node, (key,)) if key in _KNOWN_TOP else node for key, node in root.entries.items()
    }
    return root.with_entries(entries), problems


def _rules(scalar: Scalar, path: Path) -> list[str]:
    text = scalar.value
    if scalar.is_reported or not isinstance(text, str) or "${" not in text:
        return []
    return list(dict.fromkeys(_left_over(text, path)))


def _left_over(text: str, path: Path) -> Iterator[str]:
    for match in env.REFERENCE.finditer(text):
        yield f"environment variable '{match[1]}' is not set"
    for name in REFERENCE.findall(text):
        macro = f"${{{name}}}"
        if path[0] != "models" or len(path) < 3:
            yield f"unknown macro '{macro}' found in {dotted(path)}"
            continue
        model = path[1]
        field = dotted(tuple(step for step in path[2:] if isinstance(step, str)))
        if field == "cmdStop" and name == "PID":
            continue
        if path[2] in ("capabilities", "metadata"):
            yield f"unknown macro '{macro}' found in model {model} {path[2]}"
        elif field not in _SHORT_FIELDS:
            yield f"unknown macro '{macro}' found in model {model} {field}"
        elif name in ("PORT", "MODEL_ID"):
            yield f"macro '{macro}' should have been substituted in {model}.{field}"
        else:
            yield f"unknown macro '{macro}' found in {model}.{field}"
