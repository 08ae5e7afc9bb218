"""AMD's accelerators, from `rocm-smi`."""

from __future__ import annotations

import csv

from swapyard.observe.gpu.readings import SourceFailedError, SourceMissingError, pci_address
from swapyard.observe.hardware.accelerators import Accelerator, fact, positive
from swapyard.observe.hardware.tools import Tools

_ALWAYS = ("-i", "--showmeminfo", "vram", "--showproductname")
# Older versions of the tool refuse the whole command for one of these.
_NOT_EVERYWHERE = ("--showdriverversion", "--showmaxpower")


def from_rocm_smi(tools: Tools) -> list[Accelerator]:
    """Every card the tool shows; none when there is no tool."""
    for options in ((*_ALWAYS, *_NOT_EVERYWHERE), _ALWAYS):
        try:
            return parse_cards(tools.run("rocm-smi", *options, "--showbus", "--csv"))
        except SourceMissingError:
            return []
        except SourceFailedError:
            continue
    return []


def parse_cards(text: str) -> list[Accelerator]:
    """Cards from the CSV; rows that are not of a card, such as that of the system, are left out."""
    header: list[str] = []
    cards = []
    for row in csv.reader(text.splitlines()):
        if row and row[0].strip().lower() == "device":
            header = [name.strip().lower() for name in row]
        elif header and len(row) == len(header) and row[0].strip().lower().startswith("card"):
            cards.append(_card(dict(zip(header, row, strict=True))))
    return cards


def _card(row: dict[str, str]) -> Accelerator:
    capacity = positive(row.get("vram total memory (b)"))
    address = _first(row, "pci bus", "pci bus id", "bus")
    driver_version = _first(row, "driver version")
    return Accelerator(
        identity=pci_address(address or "") or _first(row, "guid", "unique id") or "",
        vendor="AMD",
        model=_first(row, "card series", "device name", "card model"),
        architecture=_first(row, "gfx version"),
        memory_kind="dedicated",
        capacity_bytes=int(capacity) if capacity else None,
        driver_name="amdgpu",
        driver_version=driver_version,
        power_limit_watts=positive(
            _first(row, "max graphics package power (w)", "maximum graphics package power (w)")
        ),
    )


def _first(row: dict[str, str], *columns: str) -> str | None:
    return next((value for column in columns if (value := fact(row.get(column))) is not None), None)
