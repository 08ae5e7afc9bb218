"""The bound on the names that a client may say, wherever it says them; of a longer one nothing is kept."""

from __future__ import annotations

from swapyard.config.names import LONGEST_NAME_BYTES
from swapyard.errors import Fault, RequestError


def too_long(length: int, what: str = "the model's name") -> RequestError:
    """What is said of a name of this many bytes."""
    return RequestError(
        Fault.INVALID_REQUEST, f"{what} is {length} bytes long; the longest possible has {LONGEST_NAME_BYTES}"
    )


def checked(name: str, what: str = "the model's name") -> str:
    """The name itself.  RequestError (INVALID_REQUEST) when it is longer than any name can be."""
    # No character takes more than four bytes.
    if 4 * len(name) > LONGEST_NAME_BYTES:
        length = len(name.encode("utf-8", "replace"))
        if length > LONGEST_NAME_BYTES:
            raise too_long(length, what)
    return name
