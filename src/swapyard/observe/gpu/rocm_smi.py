"""AMD cards through `rocm-smi`, run once per reading because it has no mode that goes on printing."""

from __future__ import annotations

from swapyard.observe.gpu.readings import (
    Reading,
    SourceFailedError,
    decimal,
    integer,
    mebibytes,
    pci_address,
    whole,
)
from swapyard.observe.gpu.tool import Tool

_TIMEOUT = 5.0

_POWER_COLUMNS = ("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)")


class RocmSmi:
    name = "rocm-smi"
    streams = False

    def __init__(self) -> None:
        options = "-i -P -t -f -u --showmemuse --showmeminfo vram --showproductname --showbus --csv"
        self._tool = Tool("rocm-smi", *options.split())

    def read(self) -> list[Reading]:
        readings = parse_table(self._tool.run(_TIMEOUT))
        if not readings:
            raise SourceFailedError("rocm-smi names no card")
        return readings

    def interrupt(self) -> None:
        self._tool.interrupt()

    def close(self) -> None:
        """Nothing is held between readings."""


def parse_table(text: str) -> list[Reading]:
    """Every card of the CSV that one run prints; lines that do not fit the header are left out."""
    readings = []
    header: list[str] = []
    for line in text.splitlines():
        if line.startswith("device,"):
            header = line.split(",")
            continue
        fields = [field.strip() for field in line.split(",")]
        if not header or len(fields) != len(header):
            continue
        reading = _card(dict(zip(header, fields, strict=True)))
        if reading is not None:
            readings.append(reading)
    return readings


def _card(row: dict[str, str]) -> Reading | None:
    """One card; column names are those of rocm-smi 5.7 to 7.1, matched exactly."""
    index = integer(row["device"].removeprefix("card"))
    if index is None or index < 0:
        return None
    return Reading(
        index=index,
        name=_name(row),
        uuid=row.get("GUID", ""),
        pci=pci_address(row.get("PCI Bus", "")),
        temp_c=whole(_number(row, "Temperature (Sensor edge) (C)")),
        vram_temp_c=whole(_number(row, "Temperature (Sensor memory) (C)")),
        gpu_util_pct=_number(row, "GPU use (%)"),
        mem_used_mb=mebibytes(_number(row, "VRAM Total Used Memory (B)")),
        mem_total_mb=mebibytes(_number(row, "VRAM Total Memory (B)")),
        fan_speed_pct=_number(row, "Fan speed (%)"),
        power_draw_w=_power(row),
    )


def _number(row: dict[str, str], column: str) -> float | None:
    return decimal(row.get(column, ""))


def _power(row: dict[str, str]) -> float | None:
    """The last of the two power columns that holds a number: which one does depends on the card."""
    known = [
        value for column in row if column in _POWER_COLUMNS and (value := _number(row, column)) is not None
    ]
    return known[-1] if known else None


def _name(row: dict[str, str]) -> str:
    """Series or device name, then the card and its architecture; the card alone when neither is told."""
    card, architecture = row["device"], row.get("GFX Version", "")
    for column in ("Card Series", "Card series", "Device Name"):
        series = row.get(column, "")
        if series not in ("", "N/A"):
            return (
                f"{series} {card} ({architecture})" if architecture not in ("", "N/A") else f"{series} {card}"
            )
    return card
