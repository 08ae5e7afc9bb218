"""The ways to find accelerators on this kind of machine; all are tried, the best first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from swapyard.observe.gpu.nvml import Nvml
from swapyard.observe.hardware import amd, apple, drm, nvidia
from swapyard.observe.hardware.accelerators import Accelerator
from swapyard.observe.hardware.tools import Tools


def probe(root: Path, memory_bytes: int, tools: Tools) -> Iterator[Accelerator]:
    """Everything that was found, once for each probe that saw it; `memory_bytes` is the machine's memory."""
    if sys.platform == "darwin":
        yield from apple.displays(memory_bytes, tools)
        return
    # `nvidia-smi` asks the same library, in up to three slow runs.
    yield from nvidia.from_nvml(Nvml()) or nvidia.from_nvidia_smi(tools)
    if sys.platform == "linux":
        yield from amd.from_rocm_smi(tools)
        yield from drm.from_kfd(root)
        yield from drm.from_drm(root)
