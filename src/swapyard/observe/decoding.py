"""Content codings undone piece by piece, with a bound on what a small reply may grow into."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli
import zstandard

from swapyard.errors import SwapyardError

PIECE_LIMIT_BYTES = 256 * 1024
"""Most bytes that one step hands on; memory stays flat however well a reply was compressed."""

GROWTH_LIMIT = 256
"""Times its size to which a reply may grow; text rarely passes 20, a bomb reaches 1000 and more."""

GROWTH_FREE_BYTES = 64 * 1024 * 1024
"""Growth up to here is always allowed."""

MOST_CODINGS = 4
"""Codings of one reply that are undone; more than two are not in use."""

WINDOW_LIMIT_BYTES = 8 * 1024 * 1024
"""Largest zstd window; RFC 8878 asks decoders to support this much and lets them refuse more."""


ZLIB_BYTES = 64 * 1024
"""What a decoder holds besides a large window.  Source: zlib.h, 32 KiB and about 7 KiB, and buffers."""


class DecodingError(SwapyardError):
    """A reply is not what its Content-Encoding says."""


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode some more; raises DecodingError."""

    def finish(self) -> None:
        """Say that no more comes; raises DecodingError if the end is missing."""


def decoder_for(content_encoding: str) -> Decoder | None:
    """The decoder for a Content-Encoding header; None if there is nothing to undo.

    Codings that nobody here knows are left as they are: the bytes are then recorded encoded.
    """
    if not content_encoding:
        return None
    names = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
    makers = [_MAKERS[name] for name in names if name != "identity" and name in _MAKERS]
    if not 0 < len(makers) <= MOST_CODINGS or len(makers) != len(
        [name for name in names if name != "identity"]
    ):
        return None
    # Codings are listed in the order in which they were applied (RFC 9110, 8.4).
    decoder: Decoder = _Guarded(makers[-1]())
    for make in reversed(makers[:-1]):
        decoder = _Chained(decoder, _Guarded(make()))
    return decoder


def memory_of(content_encoding: str, start: bytes) -> int:
    """About the bytes that decoding a reply with this start holds; most of it is the window it asks for."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name in _MAKERS]
    # Only the outermost coding can be seen.
    inner_bytes = WINDOW_LIMIT_BYTES * (len(names) - 1)
    match names[-1:]:
        case ["zstd"]:
            return inner_bytes + _zstd_window(start)
        case ["br"]:
            return inner_bytes + _brotli_window(start)
        case _:
            return inner_bytes + ZLIB_BYTES


def _zstd_window(start: bytes) -> int:
    try:
        parameters = zstandard.get_frame_parameters(start)
    except zstandard.ZstdError:
        return WINDOW_LIMIT_BYTES  # too short to tell
    return min(int(parameters.window_size), WINDOW_LIMIT_BYTES) + ZLIB_BYTES


def _brotli_window(start: bytes) -> int:
    """WBITS of the first byte.  Source: RFC 7932, 9.1."""
    first = start[0]
    if not first & 1:
        bits = 16
    elif first >> 1 & 7:
        bits = 17 + (first >> 1 & 7)
    else:
        bits = 17 if not first >> 4 & 7 else 8 + (first >> 4 & 7)
    return (1 << bits) + ZLIB_BYTES


class _Zlib:
    """gzip and deflate; deflate may or may not be wrapped as RFC 1950 says, both are in use."""

    def __init__(self, window_bits: int, fallback_bits: int | None = None) -> None:
        self._bits = window_bits
        self._fallback_bits = fallback_bits
        self._inner = zlib.decompressobj(window_bits)
        self._begun = b""
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._fallback_bits is not None:
            data = self._begun + data
            if len(data) < 2:
                self._begun = data
                return
            wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            if not wrapped:
                self._inner = zlib.decompressobj(self._fallback_bits)
            self._fallback_bits = None
        while data:
            if self._inner.eof:
                if self._bits != _GZIP or data[:1] == b"\0":
                    return  # trailing bytes after the stream, zero padding included, are ignored
                self._inner = zlib.decompressobj(self._bits)  # the next gzip member
            try:
                piece = self._inner.decompress(data, PIECE_LIMIT_BYTES)
            except zlib.error as error:
                raise DecodingError(str(error)) from error
            if piece:
                yield piece
            data = self._inner.unconsumed_tail or self._inner.unused_data

    def finish(self) -> None:
        if not self._inner.eof:
            raise DecodingError("unexpected end of data")


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            piece = self._inner.process(data, output_buffer_limit=PIECE_LIMIT_BYTES)
            while piece:
                yield piece
                piece = self._inner.process(b"", output_buffer_limit=PIECE_LIMIT_BYTES)
        except brotli.error as error:
            raise DecodingError(str(error)) from error

    def finish(self) -> None:
        if not self._inner.is_finished():
            raise DecodingError("unexpected end of data")


class _Zstd:
    """zstd, one frame after another."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT_BYTES)
        self._inner = self._context.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        # The library gives out all that a step yields at once; a kilobyte of the best
        # packed zeros is 32 MiB, so slices are what bounds a step.
        for start in range(0, len(data), 1024):
            rest = data[start : start + 1024]
            while rest:
                if self._inner.eof:
                    self._inner = self._context.decompressobj()
                try:
                    piece = self._inner.decompress(rest)
                except zstandard.ZstdError as error:
                    raise DecodingError(str(error)) from error
                for at in range(0, len(piece), PIECE_LIMIT_BYTES):
                    yield piece[at : at + PIECE_LIMIT_BYTES]
                rest = self._inner.unused_data if self._inner.eof else b""

    def finish(self) -> None:
        if not self._inner.eof:
            raise DecodingError("unexpected end of data")


class _Guarded:
    """Ends the decoding of a reply that grows beyond reason."""

    def __init__(self, inner: Decoder) -> None:
        self._inner = inner
        self._in_bytes = 0
        self._out_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._in_bytes += len(data)
        for piece in self._inner.feed(data):
            self._out_bytes += len(piece)
            if self._out_bytes > max(GROWTH_FREE_BYTES, GROWTH_LIMIT * self._in_bytes):
                raise DecodingError(f"grows to more than {GROWTH_LIMIT} times its size")
            yield piece

    def finish(self) -> None:
        self._inner.finish()


class _Chained:
    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer = outer
        self._inner = inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)

    def finish(self) -> None:
        self._outer.finish()
        self._inner.finish()


_GZIP = 31
_ZLIB = 15
_RAW = -15

_MAKERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(_GZIP),
    "x-gzip": lambda: _Zlib(_GZIP),
    "deflate": lambda: _Zlib(_ZLIB, _RAW),
    "br": _Brotli,
    "zstd": _Zstd,
}
