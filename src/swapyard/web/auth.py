"""Who may come in: API keys in the three places where clients put them, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from swapyard.errors import Fault, RequestError
from swapyard.observe.activity import key_label

Headers = Sequence[tuple[bytes, bytes]]

OWN_PAGE = (b"x-requested-with", b"swapyard")
"""The header by which our own page marks what it asks for."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in; `key` names the key without giving it away, "" when none are configured."""

    key: str = ""


ANYBODY = Caller()


class Keys:
    """The configured keys; None means that everything is open, an empty sequence that nobody gets in."""

    def __init__(self, keys: Sequence[str] | None) -> None:
        self._keys = None if keys is None else [(key.encode(), key_label(key)) for key in keys]

    def admit(self, headers: Headers) -> Caller:
        """The caller, or RequestError(UNAUTHORIZED), for our own page UNAUTHORIZED_PAGE."""
        if self._keys is None:
            return ANYBODY
        candidate = _candidate(headers)
        if candidate is not None:
            # Every key is compared, so that the time taken says nothing about which one came close.
            matches = [label for key, label in self._keys if hmac.compare_digest(key, candidate)]
            if matches:
                return Caller(matches[0])
        fault = Fault.UNAUTHORIZED_PAGE if OWN_PAGE in headers else Fault.UNAUTHORIZED
        raise RequestError(fault, "unauthorized: invalid or missing API key")


def _candidate(headers: Headers) -> bytes | None:
    """The password of Basic, else a Bearer token, else x-api-key; one candidate only.

    A malformed Basic value falls through to x-api-key, a wrong Bearer token does not.
    """
    authorization = _first(headers, b"authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(b" ")
        match scheme.lower():
            case b"basic":
                password = _password(value)
                if password:
                    return password
            case b"bearer":
                return value
    return _first(headers, b"x-api-key")


def _password(value: bytes) -> bytes | None:
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    _, colon, password = decoded.partition(b":")
    return password if colon else None


def _first(headers: Headers, wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
