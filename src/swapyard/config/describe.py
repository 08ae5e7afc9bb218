"""The settings in force, spelled like the file spells them, for `swapyard check`; secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swapyard.config.schema import Config, Document, MatrixConfig, PerformanceConfig
from swapyard.config.section import Section, yaml_key

MASKED = "********"

# What a schema says to readers; it belongs to the key, not to one of the forms of its value.
_TOLD = ("title", "description", "default")


def resolved(config: Config, *, show_secrets: bool = False) -> dict[str, Any]:
    """Everything that is in force as plain JSON values, including what was inherited or generated."""
    described = _section(config)
    if not show_secrets:
        described["apiKeys"] = [MASKED for _ in described["apiKeys"] or ()]
        for peer in described["peers"].values():
            peer["apiKey"] = MASKED if peer["apiKey"] else ""
    return described


def _section(section: Section) -> dict[str, Any]:
    described = {yaml_key(name): _plain(getattr(section, name)) for name in type(section).model_fields}
    if isinstance(section, PerformanceConfig):
        described["every"] = f"{_number(section.every)}s"
    if isinstance(section, Config) and section.api_keys is None:
        described["apiKeys"] = []
    return described


def _plain(value: object) -> Any:
    match value:
        case Section():
            return _section(value)
        case MatrixConfig():
            return _matrix(value)
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float():
            return _number(value)
        case _:
            return value


def _matrix(matrix: MatrixConfig) -> dict[str, Any]:
    texts = {named.name: named.text for named in matrix.sets}
    return {
        "vars": dict(matrix.vars),
        "evict_costs": dict(matrix.evict_costs),
        "sets": {name: texts[name] for name in matrix.set_order},
    }


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value


def json_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of configuration files, for editors.

    Every value may be null and every value may be a macro, as the loader has it; unknown keys are allowed.
    """
    schema: dict[str, Any] = _relaxed(Document.model_json_schema(by_alias=True))
    return schema


def _relaxed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    relaxed = {key: _relaxed(value) for key, value in schema.items()}
    if isinstance(relaxed.get("properties"), dict):
        relaxed["properties"] = {key: _optional(value) for key, value in relaxed["properties"].items()}
    for key in ("additionalProperties", "items"):
        if isinstance(relaxed.get(key), dict):
            relaxed[key] = _optional(relaxed[key])
    return relaxed


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {key: schema[key] for key in _TOLD if key in schema}
    rest = {key: value for key, value in schema.items() if key not in _TOLD}
    return {"anyOf": [rest, {"type": "null"}]} | told
