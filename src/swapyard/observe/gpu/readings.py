"""What a source says about a graphics card, and the rules all sources share for reading text.

None means that the source does not know.  A zero is a measured zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

MIB = 1 << 20

_PCI = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])\Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """One card as one source sees it at one time.

    `index` is the source's own number for the card; `uuid` and `pci` are "" where the source has none.
    """

    index: int
    name: str
    uuid: str = ""
    pci: str = ""
    temp_c: int | None = None
    vram_temp_c: int | None = None
    gpu_util_pct: float | None = None
    mem_used_mb: int | None = None
    mem_total_mb: int | None = None
    fan_speed_pct: float | None = None
    power_draw_w: float | None = None

    @property
    def mem_util_pct(self) -> float | None:
        """Used of total memory in percent, from the whole MiB; None unless both are known."""
        if self.mem_used_mb is None or not self.mem_total_mb:
            return None
        return self.mem_used_mb / self.mem_total_mb * 100


class SourceMissingError(Exception):
    """This machine does not have the source: no tool, no library, no socket, no card."""


class SourceFailedError(Exception):
    """The source is there and did not deliver this time."""


class Source(Protocol):
    """One way to read cards, used by one thread.

    `streams` is true when `read` itself waits for the next measurement.
    """

    name: str
    streams: bool

    def read(self) -> list[Reading]:
        """Read every card once; may block.  Raises SourceMissingError or SourceFailedError."""

    def interrupt(self) -> None:
        """End a read in progress where that is possible; from any thread, returns at once."""

    def close(self) -> None:
        """Give up what is held between readings; in the reading thread, and `read` may follow."""


def pci_address(text: str) -> str:
    """A PCI address in one spelling: lower case, the domain in at least four digits; "" if it is none."""
    found = _PCI.match(text.strip().lower())
    return f"{int(found[1] or '0', 16):04x}:{found[2]}" if found else ""


def integer(text: str) -> int | None:
    """A number without fraction or unit; None for `[N/A]`, `ERR!` and everything else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII) else None


def decimal(text: str) -> float | None:
    """A finite number without a unit; None for everything else."""
    return float(text) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?", text) else None


def whole(value: float | None) -> int | None:
    """The number without its fraction."""
    return None if value is None else int(value)


def mebibytes(value: float | None) -> int | None:
    """Bytes as whole MiB, rounded down."""
    return None if value is None or value < 0 else int(value) // MIB
