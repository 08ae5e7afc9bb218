"""A tone and a picture as files, for the answers of the demonstration that are not text."""

from __future__ import annotations

import math
import random
import struct
import zlib

SAMPLE_RATE_HZ = 16_000


def tone(seconds: float) -> bytes:
    """A WAV file: 16-bit mono, 440 Hz."""
    count = int(seconds * SAMPLE_RATE_HZ)
    wave = (math.sin(2 * math.pi * 440 * index / SAMPLE_RATE_HZ) for index in range(count))
    samples = b"".join(struct.pack("<h", int(8000 * value)) for value in wave)
    form = struct.pack("<IHHIIHH", 16, 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)
    chunks = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def picture(prompt: str, side: int = 256) -> bytes:
    """A PNG file: a colour gradient that depends on the prompt alone."""
    red, green = random.Random(prompt).sample(range(64, 256), 2)
    rows = b"".join(
        b"\0" + b"".join(bytes((red * x // side, green * y // side, (x ^ y) % 256)) for x in range(side))
        for y in range(side)
    )

    def part(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    )
