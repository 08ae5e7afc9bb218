"""NVIDIA's accelerators, from NVML or from `nvidia-smi`."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

from swapyard.observe.gpu.nvml import Nvml
from swapyard.observe.gpu.readings import MIB, SourceFailedError, SourceMissingError, integer, pci_address
from swapyard.observe.hardware.accelerators import Accelerator, fact, positive
from swapyard.observe.hardware.tools import Tools

# Source: NVIDIA, "CUDA GPU Compute Capability" and the CUDA C++ Programming Guide.
_ARCHITECTURES = {
    "Fermi": "2.0 2.1",
    "Kepler": "3.0 3.2 3.5 3.7",
    "Maxwell": "5.0 5.2 5.3",
    "Pascal": "6.0 6.1 6.2",
    "Volta": "7.0 7.2",
    "Turing": "7.5",
    "Ampere": "8.0 8.6 8.7",
    "Ada Lovelace": "8.9",
    "Hopper": "9.0",
    "Blackwell": "10.0 10.3 11.0 12.0 12.1",
}
_BY_CAPABILITY = {capability: name for name, list_ in _ARCHITECTURES.items() for capability in list_.split()}


def architecture(capability: str) -> str | None:
    """The architecture of a compute capability such as `8.6`."""
    return _BY_CAPABILITY.get(capability.strip())


def from_nvml(nvml: Nvml) -> list[Accelerator]:
    """Every card the driver's library shows; none where there is no driver."""
    try:
        return [
            Accelerator(
                identity=card.pci or card.uuid,
                vendor="NVIDIA",
                model=fact(card.name),
                architecture=architecture(card.capability),
                memory_kind="dedicated",
                capacity_bytes=card.memory_bytes,
                driver_name="NVIDIA",
                driver_version=fact(card.driver),
                power_limit_watts=card.power_limit_w,
            )
            for card in nvml.facts()
        ]
    except (SourceMissingError, SourceFailedError):
        return []
    finally:
        nvml.close()


def from_nvidia_smi(tools: Tools) -> list[Accelerator]:
    """Every card the tool shows; none when there is no tool or its answer is not the table asked for."""
    rows = _query(tools, "index,name,uuid,pci.bus_id,memory.total,driver_version,power.limit")
    cards = parse_cards(rows) if rows is not None else {}
    if not cards:
        return []
    for index, row in (_table(_query(tools, "index,architecture"), 2) or {}).items():
        if index in cards:
            cards[index] = replace(cards[index], architecture=fact(row[1]))
    if any(card.architecture is None for card in cards.values()):
        for index, row in (_table(_query(tools, "index,compute_cap"), 2) or {}).items():
            if index in cards and cards[index].architecture is None:
                cards[index] = replace(cards[index], architecture=architecture(row[1]))
    return list(cards.values())


def parse_cards(text: str) -> dict[int, Accelerator]:
    """Cards by index from the seven columns of the first query; memory is in MiB, power in watts."""
    cards = {}
    for index, row in (_table(text, 7) or {}).items():
        memory_mb = positive(row[4])
        cards[index] = Accelerator(
            identity=pci_address(row[3]) or fact(row[2]) or "",
            vendor="NVIDIA",
            model=fact(row[1]),
            memory_kind="dedicated",
            capacity_bytes=int(memory_mb * MIB) if memory_mb else None,
            driver_name="NVIDIA",
            driver_version=fact(row[5]),
            power_limit_watts=positive(row[6]),
        )
    return cards


def _query(tools: Tools, columns: str) -> str | None:
    try:
        return tools.run("nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits")
    except (SourceMissingError, SourceFailedError):
        return None


def _table(text: str | None, columns: int) -> dict[int, list[Any]] | None:
    """Rows by their index; None when one of them is not what was asked for, a message for instance."""
    rows = {}
    for row in csv.reader((text or "").splitlines(), skipinitialspace=True):
        if not row:
            continue
        index = integer(row[0].strip())
        if len(row) != columns or index is None:
            return None
        rows[index] = row
    return rows
