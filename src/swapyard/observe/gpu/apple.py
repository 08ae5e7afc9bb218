"""Apple GPUs: through `mactop`, which goes on printing, and through `ioreg`, which needs no rights."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from typing import Any

from swapyard.observe.gpu.readings import Reading, SourceFailedError, SourceMissingError, mebibytes
from swapyard.observe.gpu.tool import Tool

# Both tools describe the one GPU of the machine; the address makes it the same card for both.
_ADDRESS = "apple"

_UTILIZATION = re.compile(r'"Device Utilization %"=(\d+)')
_IN_USE = re.compile(r'"In use system memory"=(\d+)')
_MODEL = re.compile(r'"model" = "([^"]*)"')
_CORES = re.compile(r'"gpu-core-count" = (\d+)')


class Mactop:
    """`memory` tells the GPU's share of the memory, where the tool itself shows that of the whole machine."""

    name = "mactop"
    streams = True

    def __init__(self, every: float, memory: Ioreg) -> None:
        self._memory = memory
        interval_ms = max(1000, int(every * 1000))
        self._tool = Tool("mactop", "--headless", "--format", "json", "--interval", str(interval_ms))
        self._timeout = 3 * interval_ms / 1000 + 15

    def read(self) -> list[Reading]:
        lines = self._tool.lines(self._timeout, 0.0)
        readings = [reading for line in lines if (reading := parse_mactop(line)) is not None]
        if not readings:
            return []
        try:
            share = self._memory.read()[0]
        except (SourceFailedError, SourceMissingError):
            return readings[-1:]
        return [
            dataclasses.replace(readings[-1], mem_used_mb=share.mem_used_mb, mem_total_mb=share.mem_total_mb)
        ]

    def interrupt(self) -> None:
        self._tool.interrupt()
        self._memory.interrupt()

    def close(self) -> None:
        self._tool.close()


class Ioreg:
    """`memory_bytes` tells the memory of the machine, which the GPU shares."""

    name = "ioreg"
    streams = False

    def __init__(self, memory_bytes: Callable[[], int]) -> None:
        self._tool = Tool("ioreg", "-r", "-c", "IOGPU", "-d", "1", "-f")
        self._memory_bytes = memory_bytes

    def read(self) -> list[Reading]:
        reading = parse_ioreg(self._tool.run(5.0), self._memory_bytes())
        if reading is None:
            raise SourceFailedError("ioreg shows no GPU")
        return [reading]

    def interrupt(self) -> None:
        self._tool.interrupt()

    def close(self) -> None:
        """Nothing is held between readings."""


def parse_mactop(line: str) -> Reading | None:
    """The GPU in one JSON line; None for anything that is not an object."""
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    if not isinstance(facts, dict):
        return None
    system, soc, memory = (_part(facts, key) for key in ("system_info", "soc_metrics", "memory"))
    total_mb = mebibytes(_number(memory, "total"))
    return Reading(
        index=0,
        name=_name(system.get("name"), _number(system, "gpu_core_count")),
        pci=_ADDRESS,
        temp_c=_rounded(_number(soc, "gpu_temp")),
        vram_temp_c=_rounded(_memory_celsius(facts.get("temperatures"))),
        gpu_util_pct=_number(facts, "gpu_usage"),
        mem_used_mb=mebibytes(_number(memory, "used")) if total_mb else None,
        mem_total_mb=total_mb or None,
        fan_speed_pct=_fan(facts.get("fans")),
        power_draw_w=_number(soc, "gpu_power"),
    )


def parse_ioreg(text: str, memory_bytes: int) -> Reading | None:
    """The GPU in the registry's text; None when neither its use nor its memory is in it."""
    utilization, in_use = _UTILIZATION.search(text), _IN_USE.search(text)
    if utilization is None and in_use is None:
        return None
    model, cores = _MODEL.search(text), _CORES.search(text)
    return Reading(
        index=0,
        name=_name(model and model[1], cores and float(cores[1])),
        pci=_ADDRESS,
        gpu_util_pct=float(utilization[1]) if utilization else None,
        mem_used_mb=mebibytes(int(in_use[1])) if in_use else None,
        mem_total_mb=mebibytes(memory_bytes),
    )


def _name(name: Any, cores: float | None) -> str:
    text = name if isinstance(name, str) and name else "Apple GPU"
    return f"{text} ({int(cores)}-core GPU)" if cores and cores > 0 else text


def _memory_celsius(groups: Any) -> float | None:
    for group in groups if isinstance(groups, list) else []:
        if isinstance(group, dict) and str(group.get("group", "")).lower() == "memory":
            return _number(group, "avg_celsius")
    return None


def _fan(fans: Any) -> float | None:
    """Mean over the fans, each between its lowest and highest speed; None without a usable fan."""
    shares = []
    for fan in fans if isinstance(fans, list) else []:
        speed, low, high = (_number(fan, key) or 0.0 for key in ("rpm", "min_rpm", "max_rpm"))
        if high > low:
            shares.append(max(0.0, (speed - low) / (high - low) * 100))
    return sum(shares) / len(shares) if shares else None


def _part(facts: dict[str, Any], key: str) -> dict[str, Any]:
    part = facts.get(key)
    return part if isinstance(part, dict) else {}


def _number(facts: Any, key: str) -> float | None:
    value = facts.get(key) if isinstance(facts, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _rounded(value: float | None) -> int | None:
    """To the nearest whole number, halves away from zero."""
    return None if value is None else int(math.copysign(math.floor(abs(value) + 0.5), value))
