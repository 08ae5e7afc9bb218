"""Files or text → one frozen Config, or every problem there is, each with its file, line and key path."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swapyard.config import sources
from swapyard.config.checks import check_values
from swapyard.config.decode import Decoded, decode
from swapyard.config.env import reveal
from swapyard.config.findings import Findings
from swapyard.config.macros import expand
from swapyard.config.merge import merge
from swapyard.config.models import DEFAULT_UNLOAD_TIMEOUT, SHORTEST_HEALTH_CHECK, fill_in
from swapyard.config.names import Names
from swapyard.config.read import Parsed, read
from swapyard.config.references import check_references, preload
from swapyard.config.routing import compile_routing
from swapyard.config.schema import (
    Config,
    Document,
    Hooks,
    OnStartup,
    Settings,
    UiActivity,
    UiConfig,
    UpstreamConfig,
)
from swapyard.config.tree import Path as KeyPath
from swapyard.config.tree import Section, is_empty, problem_at
from swapyard.config.unknown import unknown_keys
from swapyard.errors import ConfigError, Problem
from swapyard.types import ModelId

_DEFAULT_ROWS = 1000
_DEFAULT_SAMPLING = 5.0

# Values that other rules look names up in.  When one of them was unusable those rules would only echo it.
_NAMING = frozenset({"models", "peers", "selectors", "groups", "matrix", "routing"})
_NAMING_IN_MODEL = frozenset({"aliases", "filters"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """`warnings` do not keep the configuration from being used; `ports` are the numbers behind `${PORT}`."""

    config: Config
    warnings: tuple[Problem, ...] = ()
    sources: tuple[Path, ...] = ()
    ports: Mapping[ModelId, int] = field(default_factory=dict)


def load(
    main: Path | None,
    directory: Path | None,
    environ: Mapping[str, str],
    ports: Mapping[ModelId, int] | None = None,
) -> Loaded:
    """Load the main file and the YAML files of a directory; raises ConfigError with every problem.

    `ports` are those of the generation before: its models keep their number, so that a running process
    stays what the configuration says, and nobody else is given one of them.
    """
    paths = sources.collect(main, directory)
    parsed = [_read_file(path, environ) for path in paths]
    return _load(parsed, tuple(paths), ports or {})


def load_text(
    text: str,
    environ: Mapping[str, str],
    file: str = "config.yaml",
    ports: Mapping[ModelId, int] | None = None,
) -> Loaded:
    """Load a single document that is not in a file; raises ConfigError, whose problems carry `file`."""
    return _load([_as_document(read(text, file, environ), file)], (), ports or {})


def _read_file(path: Path, environ: Mapping[str, str]) -> Parsed:
    text = sources.read_text(path)
    if isinstance(text, Problem):
        return Parsed(problems=[text])
    return _as_document(read(text, str(path), environ), str(path))


def _as_document(parsed: Parsed, file: str) -> Parsed:
    """Nothing at all counts as an empty mapping; anything but a mapping is refused."""
    if is_empty(parsed.root):
        parsed.root = None
    elif not isinstance(parsed.root, Section):
        line = parsed.root.mark.line if parsed.root else 0
        parsed.problems.append(Problem(file, line, "", "the top level of a config must be a mapping"))
        parsed.root = None
    return parsed


def _load(parsed: list[Parsed], paths: tuple[Path, ...], ports: Mapping[ModelId, int]) -> Loaded:
    problems = [problem for one in parsed for problem in one.problems]
    root, conflicts = merge([one.root for one in parsed if isinstance(one.root, Section)])
    problems += conflicts
    if any(one.root is None and one.problems for one in parsed):
        # A whole file is missing: whatever else could be said would be about its absence.
        raise ConfigError(_sorted(problems))
    expanded = expand(root, ports)
    decoded = decode(expanded.root)
    problems += expanded.problems + decoded.problems
    found = Findings()
    config = _build(decoded, found)
    problems += [
        problem_at(expanded.root, path, rule) for path, rule in found.errors if path not in decoded.lost
    ]
    if problems:
        raise ConfigError(_sorted(problems))
    anchored = {key for one in parsed for key in one.anchored}
    warnings = unknown_keys(root, anchored)
    warnings += [problem_at(expanded.root, path, rule) for path, rule in found.warnings]
    return Loaded(config, tuple(_sorted(warnings)), paths, expanded.ports)


def _sorted(problems: list[Problem]) -> list[Problem]:
    """Each once, from the top of the first file to the end of the last; files in order of first mention."""
    problems = [
        replace(problem, path=reveal(problem.path), rule=reveal(problem.rule)) for problem in problems
    ]
    files = list(dict.fromkeys(problem.file for problem in problems))
    return sorted(dict.fromkeys(problems), key=lambda problem: (files.index(problem.file), problem.line))


def _build(decoded: Decoded, found: Findings) -> Config:
    """Check a document and make what it means of it; with errors found the result is of no use."""
    document = decoded.document
    check_values(document, found)
    if any(_names_something(path) for path in decoded.lost):
        return Config()
    models = fill_in(document, found, windows=sys.platform == "win32")
    document = document.model_copy(update={"models": models})
    names = Names(document)
    errors_before = len(found.errors)
    routing = compile_routing(document, names, found)
    check_references(document, names, routing if len(found.errors) == errors_before else None, found)
    hooks = Hooks(on_startup=OnStartup(preload=preload(document, names, routing, found)))
    settings = {name: getattr(document, name) for name in Settings.model_fields}
    return Config.model_construct(**settings | _effective(document) | {"routing": routing, "hooks": hooks})


def _names_something(path: KeyPath) -> bool:
    if len(path) > 2 and path[0] == "models":
        return path[2] in _NAMING_IN_MODEL
    return not path or path[0] in _NAMING


def _effective(document: Document) -> dict[str, Any]:
    """Top-level values with the rules applied that correct instead of refusing."""
    performance = document.performance
    return {
        "health_check_timeout": max(document.health_check_timeout, SHORTEST_HEALTH_CHECK),
        "unload_timeout": document.unload_timeout or DEFAULT_UNLOAD_TIMEOUT,
        "metrics_max_in_memory": max(document.metrics_max_in_memory, 0) or _DEFAULT_ROWS,
        "performance": performance.model_copy(update={"every": performance.every or _DEFAULT_SAMPLING}),
        "upstream": document.upstream if document.upstream.ignore_paths else UpstreamConfig(),
        "ui": UiConfig(activity=UiActivity(session_id=_header_names(document.ui.activity.session_id))),
    }


def _header_names(written: tuple[str, ...]) -> tuple[str, ...]:
    """Trimmed, without empty ones and repeats; the first spelling stays."""
    first: dict[str, str] = {}
    for name in (name.strip() for name in written):
        if name:
            first.setdefault(name.lower(), name)
    return tuple(first.values())
