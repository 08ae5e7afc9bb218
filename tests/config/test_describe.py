"""The resolved form and the JSON schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from swapyard.config.describe import MASKED, json_schema, resolved
from swapyard.config.load import load_text
from swapyard.errors import ConfigError


def test_secrets_are_masked() -> None:
    config = load_text(
        "apiKeys: [sk-one, sk-two]\n"
        "peers:\n  p: {proxy: 'http://r', models: [q], apiKey: sk-three}\n"
        "  o: {proxy: 'http://r', models: [r]}\n",
        {},
    ).config
    described = resolved(config)
    assert described["apiKeys"] == [MASKED, MASKED]
    assert described["peers"]["p"]["apiKey"] == MASKED
    assert described["peers"]["o"]["apiKey"] == ""
    assert "sk-" not in json.dumps(described)


def test_the_resolved_form_is_json_and_spells_keys_like_the_file() -> None:
    config = load_text(
        "performance: {every: 90s}\nmodels: {a: {cmd: 's ${PORT}', ttl: 5}}\n"
        "matrix: {vars: {v: a}, sets: {s: v}}\n",
        {},
    ).config
    described = json.loads(json.dumps(resolved(config)))
    assert described["performance"]["every"] == "90s"
    assert described["models"]["a"]["cmd"] == "s 5800"
    assert described["models"]["a"]["ttl"] == 5
    assert described["routing"]["router"]["settings"]["matrix"]["sets"] == {"s": "v"}
    assert described["routing"]["scheduler"]["use"] == "fifo"


def test_the_resolved_form_of_a_deep_matrix_needs_no_recursion() -> None:
    deep = "(a | (b & " * 1500 + "a" + "))" * 1500
    model = "{cmd: s, proxy: 'http://h'}"
    text = f"models: {{a: {model}, b: {model}}}\nmatrix: {{sets: {{s: '{deep}'}}}}\n"
    config = load_text(text, {}).config
    assert resolved(config)["routing"]["router"]["settings"]["matrix"]["sets"]["s"] == deep
    assert len(repr(config)) < 100_000


def _plain(value: Any) -> Any:
    """YAML as JSON: keys are text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _valid_texts() -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / "vectors").glob("*.yaml")):
        for vector in YAML(typ="safe", pure=True).load(path.read_text()):
            if "config" not in vector or "${env." in vector["config"]:
                continue
            try:
                load_text(vector["config"], {})
            except ConfigError:
                continue
            texts[vector["id"]] = vector["config"]
    return texts


VALID = _valid_texts()


@pytest.mark.parametrize("name", VALID)
def test_the_schema_takes_every_valid_vector(name: str) -> None:
    document = next(iter(YAML(typ="safe", pure=True).load_all(VALID[name])), None)
    errors = Draft202012Validator(json_schema()).iter_errors(_plain(document or {}))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_schema_refuses_values_of_the_wrong_kind() -> None:
    Draft202012Validator.check_schema(json_schema())
    validator = Draft202012Validator(json_schema())
    wrongs: tuple[dict[str, Any], ...] = (
        {"startPort": "6000"},
        {"models": []},
        {"models": {"m": {"aliases": "a"}}},
        {"store": 1},
    )
    for wrong in wrongs:
        assert not validator.is_valid(wrong), wrong


def test_the_schema_names_every_top_level_key() -> None:
    keys = json_schema()["properties"]
    assert {"models", "globalTTL", "captureRedact", "sendHeartbeats", "matrix", "routing"} <= set(keys)
