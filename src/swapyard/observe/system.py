"""The machine: processors, memory, load and network, read through psutil."""

from __future__ import annotations

import os
import sys
import time
from array import array
from dataclasses import dataclass

from swapyard.observe.gpu.readings import MIB


@dataclass(frozen=True, slots=True)
class Interface:
    """Bytes since boot of one network interface."""

    name: str
    bytes_recv: int
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class SystemSample:
    """The machine at one time; `at` is wall-clock time in seconds, None means unknown."""

    at: float
    # Percent per logical processor, in their order.
    cpu_util_per_core: array[float]
    mem_total_mb: int
    mem_used_mb: int
    mem_free_mb: int
    swap_total_mb: int | None
    swap_used_mb: int | None
    load_avg: tuple[float, float, float] | None
    # None where the platform's counters cannot be read.
    net_io: tuple[Interface, ...] | None


def read_system() -> SystemSample:
    """Read everything once; may block, but not for long.

    Processor use is that since the previous call in the same thread, zeros at the first.  Raises OSError
    when processors or memory cannot be read; the rest is unknown then.
    """
    # Not at the top: the start of the program does not wait for it.
    import psutil

    cores = psutil.cpu_percent(percpu=True)
    memory = psutil.virtual_memory()
    # On Linux what the kernel could free at once does not count as used.
    used = memory.total - memory.available if sys.platform == "linux" else memory.used
    swap = _swap()
    return SystemSample(
        at=time.time(),
        cpu_util_per_core=array("d", cores),
        mem_total_mb=memory.total // MIB,
        mem_used_mb=used // MIB,
        mem_free_mb=memory.free // MIB,
        swap_total_mb=swap[0] // MIB if swap else None,
        swap_used_mb=swap[1] // MIB if swap else None,
        load_avg=_load(),
        net_io=_network(),
    )


def _swap() -> tuple[int, int] | None:
    """Bytes of swap in all and in use.

    On Linux from the file: psutil also reads paging counters, and warns where a container hides them.
    """
    import psutil

    try:
        if sys.platform == "linux":
            facts = _meminfo()
            return facts["SwapTotal"], facts["SwapTotal"] - facts["SwapFree"]
        swap = psutil.swap_memory()
    except (OSError, KeyError, ValueError, psutil.Error):
        return None
    return swap.total, swap.used


def _meminfo() -> dict[str, int]:
    """Bytes by name from `/proc/meminfo`, which counts in KiB."""
    with open("/proc/meminfo") as file:
        lines = [line.split() for line in file]
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if len(line) == 3}


def _load() -> tuple[float, float, float] | None:
    try:
        return os.getloadavg()
    except OSError:
        return None


def _network() -> tuple[Interface, ...] | None:
    """All interfaces but the loopback, whose name is `lo` or, on macOS, `lo0`."""
    import psutil

    try:
        counters = psutil.net_io_counters(pernic=True)
    except (OSError, psutil.Error):
        return None
    return tuple(
        Interface(name, counter.bytes_recv, counter.bytes_sent)
        for name, counter in counters.items()
        if name not in ("lo", "lo0")
    )
