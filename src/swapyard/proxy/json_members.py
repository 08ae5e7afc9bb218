"""Reads the members of a JSON object with their texts; a module of its own, which mypyc cannot compile."""

from __future__ import annotations

import msgspec


class _Key(str):
    """A member's name that equals only itself, so that a dict keeps duplicate names, in order."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def _own_key(_type: type, name: str) -> _Key:
    return _Key(name)


MEMBERS = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_own_key)
"""The top-level members of an object in order, duplicates included; what they contain is not built."""
