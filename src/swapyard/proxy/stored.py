"""Which parts of an exchange a route stores; a module of its own because mypyc cannot compile it."""

from __future__ import annotations

from enum import Flag, auto


class Stored(Flag):
    """The parts of an exchange that a capture keeps (specification, §5.1)."""

    NOTHING = 0
    REQUEST_HEADERS = auto()
    REQUEST_BODY = auto()
    RESPONSE_HEADERS = auto()
    RESPONSE_BODY = auto()
    EVERYTHING = REQUEST_HEADERS | REQUEST_BODY | RESPONSE_HEADERS | RESPONSE_BODY
