"""What every mapping of the file has in common: published spellings, null, unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from swapyard.config.fields import Plain, as_mapping
from swapyard.config.tree import Scalar

_PUBLISHED = {
    "global_ttl": "globalTTL",
    "set_params_by_id": "setParamsByID",
    "inputs": "in",
    "outputs": "out",
    "session_id": "session_id",
    "on_startup": "on_startup",
    "evict_costs": "evict_costs",
}


def yaml_key(attribute: str) -> str:
    """The published spelling of an attribute."""
    return _PUBLISHED.get(attribute) or to_camel(attribute)


class Section(BaseModel):
    """A mapping of the file.  Null counts as the empty mapping, unknown keys are left to `unknown.py`."""

    model_config = ConfigDict(
        frozen=True, alias_generator=yaml_key, populate_by_name=True, extra="ignore", protected_namespaces=()
    )

    # Keys that older files may carry and that mean nothing (or are translated) here.
    old_keys: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _must_be_a_mapping(cls, data: object) -> object:
        if isinstance(data, cls):
            return data
        return cls.prepare(dict(as_mapping(data)))  # type: ignore[call-overload]

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Translate old spellings."""
        return data


def is_null(value: object) -> bool:
    return isinstance(value, Scalar) and value.is_null and not value.is_reported


def null_is_absent(value: object) -> object:
    return None if is_null(value) else value


Optionally = BeforeValidator(null_is_absent)
Entries = BeforeValidator(as_mapping)
PlainEntries = Annotated[Mapping[str, Plain], Entries]
