"""The stored form of a capture: CBOR in a zstd frame, alone or as the difference from a later capture."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cbor2
import zstandard

_LEVEL = 5
_LARGE_BYTES = 1024 * 1024
_HASH_LOG_MOST = 22
"""Of the match table; the table and its copy for the dictionary take 46 MB then, twice as much with one more.
Bodies of up to 8 MB are still recognised (measured)."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What is kept of one exchange; None for a part that is not kept.  Bodies are decoded, secrets blank."""

    id: int
    req_path: str
    req_headers: dict[str, str] | None
    req_body: bytes | None
    resp_headers: dict[str, str] | None
    resp_body: bytes | None

    def json(self) -> dict[str, Any]:
        """The object that the API shows; bodies in base64."""
        return {
            "id": self.id,
            "req_path": self.req_path,
            "req_headers": self.req_headers,
            "req_body": _base64(self.req_body),
            "resp_headers": self.resp_headers,
            "resp_body": _base64(self.resp_body),
        }


def to_cbor(capture: Capture) -> bytes:
    return cbor2.dumps(
        {
            "id": capture.id,
            "req_path": capture.req_path,
            "req_headers": capture.req_headers,
            "req_body": capture.req_body,
            "resp_headers": capture.resp_headers,
            "resp_body": capture.resp_body,
        }
    )


def from_cbor(plain: bytes) -> Capture:
    return Capture(**cbor2.loads(plain))


def pack(plain: bytes) -> bytes:
    """One zstd frame with a checksum."""
    return _to_keep(zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(plain))


def pack_difference(plain: bytes, later: bytes) -> bytes:
    """The same, to be unpacked together with `later`.

    A conversation sends everything that was said before with every turn, so an earlier turn
    is almost wholly contained in a later one and costs next to nothing this way.
    """
    fitted: dict[str, Any] = {}
    if len(later) > _LARGE_BYTES:
        # The level's own match table forgets what lies further back (measured: a 6 MB picture
        # in both turns went unrecognised, and cost 120 ms to recognise with this).
        log = min(len(later).bit_length(), _HASH_LOG_MOST)
        fitted = {"hash_log": log, "chain_log": log}
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        source_size=len(plain) + len(later),
        window_log=_window_log(len(plain) + len(later)),
        write_checksum=True,
        **fitted,
    )
    compressor = zstandard.ZstdCompressor(dict_data=_dictionary(later), compression_params=parameters)
    return _to_keep(compressor.compress(plain))


def _to_keep(packed: bytes) -> bytes:
    """A copy in memory of its own.

    The library compresses into a buffer of the plain size and shrinks it in place.  What lives on then sits
    at the start of a hole of that size, which the allocator can hardly use again: 720 captures of 1 MB,
    packed into 5 MB, held 1.6 GB.
    """
    return bytes(memoryview(packed))


def unpack(packed: bytes, plain_bytes: int, later: bytes | None) -> bytes:
    """Undo `pack` (`later` None) or `pack_difference`; `plain_bytes` is the size before."""
    window = 2 ** _window_log(plain_bytes + len(later or b""))
    dictionary = None if later is None else _dictionary(later)
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=window)
    return decompressor.decompress(packed, max_output_size=plain_bytes)


def _dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _window_log(size_bytes: int) -> int:
    """The smallest window that spans this many bytes, within what zstd takes."""
    return min(max(size_bytes.bit_length(), 17), 30)


def _base64(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode("ascii")
