"""Apple's machines: accelerators as `system_profiler` lists them."""

from __future__ import annotations

import json
import re
from typing import Any

from swapyard.observe.gpu.readings import SourceFailedError, SourceMissingError
from swapyard.observe.hardware.accelerators import Accelerator, fact
from swapyard.observe.hardware.tools import Tools

_TIMEOUT = 8.0

_VENDORS = (("apple", "Apple"), ("nvidia", "NVIDIA"), ("amd", "AMD"), ("ati", "AMD"), ("intel", "Intel"))
_UNITS = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def displays(memory_bytes: int, tools: Tools) -> list[Accelerator]:
    """Every graphics device; `memory_bytes` is the machine's memory, which Apple's share."""
    try:
        text = tools.run("system_profiler", "-json", "SPDisplaysDataType", timeout=_TIMEOUT)
        return parse_displays(json.loads(text), memory_bytes)
    except (SourceMissingError, SourceFailedError, ValueError):
        return []


def parse_displays(report: Any, memory_bytes: int) -> list[Accelerator]:
    entries = report.get("SPDisplaysDataType") if isinstance(report, dict) else None
    known = [entry for entry in entries or [] if isinstance(entry, dict)]
    return [_display(number, entry, memory_bytes) for number, entry in enumerate(known)]


def _display(number: int, entry: dict[str, Any], memory_bytes: int) -> Accelerator:
    model = next(
        (name for key in ("sppci_model", "chipset_model", "_name") if (name := _text(entry, key))), None
    )
    vendor = _vendor(_text(entry, "spdisplays_vendor") or model or "")
    shared = "spdisplays_vram_shared" in entry
    generation = re.search(r"Apple M\d+", model or "")
    size = entry.get("spdisplays_vram_shared") if shared else entry.get("spdisplays_vram")
    kind = "unified" if vendor == "Apple" else "shared_system" if shared else "dedicated"
    return Accelerator(
        identity=f"display-{number:04}",
        vendor=vendor,
        model=model,
        architecture=generation[0] if generation else None,
        memory_kind=kind,
        capacity_bytes=memory_bytes if vendor == "Apple" else size_bytes(size),
        driver_name="Metal" if any("metal" in key.lower() for key in entry) else None,
    )


def _text(entry: dict[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return fact(value) if isinstance(value, str) else None


def _vendor(text: str) -> str | None:
    """The maker behind texts such as `sppci_vendor_amd` and `Intel (0x8086)`."""
    lowered = text.lower()
    for word, vendor in _VENDORS:
        if re.search(rf"(?<![a-z]){word}(?![a-z])", lowered):
            return vendor
    return fact(text.partition(" (")[0])


def size_bytes(text: Any) -> int | None:
    """Bytes of a text such as `24 GB`; megabytes where no unit is named."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]B)?\s*", str(text), re.IGNORECASE)
    return int(float(found[1]) * _UNITS[(found[2] or "MB").upper()]) or None if found else None
