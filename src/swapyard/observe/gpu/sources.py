"""The sources that are tried on this kind of machine, the best first."""

from __future__ import annotations

import sys

from swapyard.observe.gpu.amd_sysfs import AmdSysfs
from swapyard.observe.gpu.apple import Ioreg, Mactop
from swapyard.observe.gpu.lact import Lact
from swapyard.observe.gpu.nvidia_smi import NvidiaSmi
from swapyard.observe.gpu.nvml import Nvml
from swapyard.observe.gpu.readings import Source
from swapyard.observe.gpu.rocm_smi import RocmSmi


def sources(every: float) -> list[Source]:
    """All of them, present or not: each says itself, whenever it is asked, whether it is there."""
    if sys.platform == "darwin":
        return [Mactop(every, Ioreg(_memory_bytes)), Ioreg(_memory_bytes)]
    if sys.platform == "win32":
        return [Nvml(), NvidiaSmi(every)]
    return [Nvml(), Lact(), NvidiaSmi(every), RocmSmi(), AmdSysfs()]


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
