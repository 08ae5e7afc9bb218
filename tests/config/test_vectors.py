"""The vectors of the specification, each checked as it stands or as the table below says.

`solve` and `contain` vectors belong to the matrix solver; here their expressions only have to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from swapyard.config import commands
from swapyard.config.describe import resolved
from swapyard.config.load import Loaded, load, load_text
from swapyard.config.names import LocalModel, Names
from swapyard.config.schema import Config
from swapyard.config.sets import compile_sets
from swapyard.errors import ConfigError
from swapyard.types import ModelId

Vector = dict[str, Any]

_MISSING = object()
_OWN_MODEL_KEYS = ("macros", "sendHeartbeats")

# Vectors that record what the original does where swapyard does better: why, and what holds instead.
ADJUSTED: dict[str, tuple[str, Vector]] = {
    "glb-01": (
        "serial is the default scheduler when nothing asks for fifo",
        {"expect": {"routing.scheduler.use": "serial", "apiKeys": [], "routing.router.use": "group"}},
    ),
    "mod-06": (
        "a health check timeout written on a model is honoured",
        {"expect": {"models.m.healthCheckTimeout": 999}},
    ),
    "grp-04": (
        "an unknown group member is found while loading",
        {"error": ["groups.g.members[0]", "ghost", "no model config"]},
    ),
    "q-01": (
        "a model ID that YAML types as a number is its text",
        {"expect": {"models.5.cmd": "s", "models.ok.cmd": "s"}},
    ),
    "q-02": (
        "keys that are not text neither hide macros nor their problems",
        {"error": ["unknown macro '${nope}'", "model m metadata"]},
    ),
    "q-03": ("a null model is an empty mapping", {"error": ["model m", "proxy", "${PORT}", "cmd"]}),
    "q-04": (
        "a null group is an empty mapping",
        {"expect": {"routing.router.settings.groups.g.swap": True}},
    ),
    "q-05": (
        "a null peer is an empty mapping",
        {"error": ["peers.p", "proxy is required", "peer models can not be empty"]},
    ),
    "q-06": (
        "a group called (default) keeps its settings and members, and gets the models no group lists",
        {
            "expect": {
                "routing.router.settings.groups": {
                    "(default)": {
                        "swap": False,
                        "exclusive": True,
                        "persistent": False,
                        "members": ["a", "b"],
                    }
                }
            }
        },
    ),
    "q-07": (
        "sets keep their order of definition",
        {"expect": {"routing.router.settings.matrix.set_order": ["zz", "m10", "m9", "aa"]}},
    ),
    "q-09": ("an empty key never switches authentication off", {"error": ["empty api key", "apiKeys[0]"]}),
    "q-10": (
        "text keys keep the spelling of the file",
        {
            "expect": {
                "models.m.name": "1.10",
                "models.m.description": "2024-01-02",
                "models.m.useModelName": "0123",
                "apiKeys": ["1e5"],
            }
        },
    ),
    "q-11": ("merge keys work within macros", {"expect": {"macros": {"A": 1, "B": 2}}}),
    "q-12": (
        "the value of a variable is never searched for further variables",
        {"expect": {"models.m.name": "${env.INNER}"}},
    ),
    "q-13": (
        "the value of a variable is never searched for further variables",
        {"expect": {"models.m.name": "${env.INNER}"}},
    ),
    "q-14": (
        "anchors belong to their file",
        {"expect": {"models.a.ttl": 11, "models.b.ttl": 22}},
    ),
    "q-15": ("references in comments never count", {"expect": {"apiKeys": ["va"]}}),
    "q-16": ("values arrive as they are in every kind of scalar", {"expect": {"models.m.name": "c:\\d"}}),
    "q-17": ("a file with one plain scalar is refused", {"error": ["a.yaml", "must be a mapping"]}),
    "q-18": (
        "fractions do not vanish in integer keys",
        {"error": ["models.m.ttl", "cannot unmarshal", "1.9"]},
    ),
}


def _read_vectors() -> dict[str, Vector]:
    vectors: dict[str, Vector] = {}
    for path in sorted((Path(__file__).parent / "vectors").glob("*.yaml")):
        for vector in YAML(typ="safe", pure=True).load(path.read_text()):
            if vector["id"] in ADJUSTED:
                kept = {key: value for key, value in vector.items() if key not in ("expect", "error")}
                vector = kept | ADJUSTED[vector["id"]][1]
            vectors[vector["id"]] = vector
    return vectors


VECTORS = _read_vectors()


def _ids(*kinds: str) -> list[str]:
    return [name for name, vector in VECTORS.items() if vector.get("kind", "config") in kinds]


def _loaded(vector: Vector, folder: Path) -> Loaded:
    environ = vector.get("env", {})
    if vector.get("kind") != "merge":
        return load_text(vector["config"], environ)
    for name, text in vector["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    main, directory = (folder / vector[key] if key in vector else None for key in ("main", "dir"))
    return load(main, directory, environ)


def _described(config: Config) -> dict[str, Any]:
    """The resolved form with the extra members that vectors use, without keys the original has not."""
    described = resolved(config, show_secrets=True)
    described["performance"] = {
        "disabled": config.performance.disabled,
        "every_seconds": config.performance.every,
    }
    for model, settings in config.models.items():
        entry = described["models"][model]
        entry["filters"]["strip_list"] = list(settings.filters.strip_list)
        entry["capabilities"]["empty"] = settings.capabilities.empty
        for key in _OWN_MODEL_KEYS:
            del entry[key]
    for peer, peer_settings in config.peers.items():
        described["peers"][peer]["filters"]["strip_list"] = list(peer_settings.filters.strip_list)
    matrix = config.routing.router.settings.matrix
    if matrix is not None:
        described["routing"]["router"]["settings"]["matrix"]["set_order"] = list(matrix.set_order)
    return described


def _at(tree: Any, path: str) -> Any:
    """The value at a dotted path; keys may contain dots, the longest fitting key is tried first."""
    if not path:
        return tree
    steps = path.split(".")
    for count in range(len(steps), 0, -1):
        key = ".".join(steps[:count])
        if isinstance(tree, dict) and key in tree:
            found = _at(tree[key], ".".join(steps[count:]))
            if found is not _MISSING:
                return found
    return _MISSING


@pytest.mark.parametrize("name", _ids("config", "merge"))
def test_a_configuration_resolves_or_fails_as_its_vector_says(name: str, tmp_path: Path) -> None:
    vector = VECTORS[name]
    if "error" in vector:
        with pytest.raises(ConfigError) as caught:
            _loaded(vector, tmp_path)
        missing = [part for part in vector["error"] if part not in str(caught.value)]
        assert not missing, str(caught.value)
        return
    described = _described(_loaded(vector, tmp_path).config)
    assert {path: _at(described, path) for path in vector["expect"]} == vector["expect"]


@pytest.mark.parametrize("name", _ids("resolve"))
def test_names_resolve_as_their_vector_says(name: str, tmp_path: Path) -> None:
    names = Names(_loaded(VECTORS[name], tmp_path).config)

    def spelled(wanted: str) -> str | None:
        match names.resolve(wanted):
            case None:
                return None
            case LocalModel(model):
                return f"local:{model}"
            case peer:
                return f"peer:{peer.peer}:{peer.model}"

    assert {wanted: spelled(wanted) for wanted in VECTORS[name]["names"]} == VECTORS[name]["resolve"]


@pytest.mark.parametrize("name", _ids("byid"))
def test_parameters_by_name_are_as_their_vector_says(name: str, tmp_path: Path) -> None:
    vector = VECTORS[name]
    model = _loaded(vector, tmp_path).config.models[ModelId(vector["model"])]
    params = model.filters.by_id(vector["byid"])
    assert ([key for key, _ in params], dict(params)) == (vector["keys"], vector["params"])


SPLITTERS: dict[str, Callable[[str], list[str]]] = {
    "cmd": commands.split_posix,
    "wincmd": commands.split_windows,
}


@pytest.mark.parametrize("name", _ids("cmd", "wincmd"))
def test_commands_split_as_their_vector_says(name: str) -> None:
    vector = VECTORS[name]
    split = SPLITTERS[vector["kind"]]
    if "error" in vector:
        with pytest.raises(ValueError, match="|".join(vector["error"])):
            split(vector["text"])
    else:
        assert split(vector["text"]) == vector["argv"]


@pytest.mark.parametrize("name", _ids("strip"))
def test_comments_are_removed_as_their_vector_says(name: str) -> None:
    assert commands.strip_comments(VECTORS[name]["text"]) == VECTORS[name]["result"]


@pytest.mark.parametrize("name", _ids("solve", "contain"))
def test_expressions_compile_as_their_vector_says(name: str) -> None:
    vector = VECTORS[name]
    texts: dict[str, str] = dict(vector["sets"])
    compiled, problems = compile_sets(texts, ModelId)
    rules = "\n".join(problem.rule for problem in problems)
    assert all(part in rules for part in vector.get("error", ())), rules
    assert bool(problems) == ("error" in vector)
    assert {named.name for named in compiled} == set(texts) - {problem.name for problem in problems}


def test_every_adjustment_belongs_to_a_vector_and_says_why() -> None:
    assert set(ADJUSTED) <= set(VECTORS)
    assert all(reason for reason, _ in ADJUSTED.values())


def test_all_vectors_of_the_specification_are_here() -> None:
    assert len(VECTORS) == 310
