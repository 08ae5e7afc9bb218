"""NVIDIA cards through `nvidia-smi`, which prints one line per card and interval for as long as it runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from swapyard.observe.gpu.readings import Reading, decimal, integer, pci_address
from swapyard.observe.gpu.tool import Tool

_COLUMNS = "index,name,uuid,temperature.gpu,utilization.gpu,memory.used,memory.total,fan.speed,power.draw"

# The lines of one interval follow each other closely; a pause this long ends the snapshot.
_SILENCE = 0.25


class NvidiaSmi:
    """The tool in its own loop; started again by the next read when it has died."""

    name = "nvidia-smi"
    streams = True

    def __init__(self, every: float, driver: Path = Path("/proc/driver/nvidia/gpus")) -> None:
        seconds = max(1, int(every))
        # `--loop` with two dashes: drivers from 540 on refuse the one-dash form.
        self._tool = Tool(
            "nvidia-smi",
            f"--query-gpu={_COLUMNS}",
            "--format=csv,noheader,nounits",
            "--loop",
            str(seconds),
        )
        # A sleeping card can need seconds to answer; a driver that hangs never does.
        self._timeout = 3 * seconds + 15.0
        self._driver = driver
        self._addresses: dict[str, str] = {}

    def read(self) -> list[Reading]:
        lines = self._tool.lines(self._timeout, _SILENCE)
        newest = {reading.index: reading for line in lines if (reading := parse_line(line)) is not None}
        return [self._with_address(newest[index]) for index in sorted(newest)]

    def interrupt(self) -> None:
        self._tool.interrupt()

    def close(self) -> None:
        self._tool.close()

    def _with_address(self, reading: Reading) -> Reading:
        if reading.uuid not in self._addresses:
            self._addresses[reading.uuid] = driver_addresses(self._driver).get(reading.uuid, "")
        return dataclasses.replace(reading, pci=self._addresses[reading.uuid])


def parse_line(line: str) -> Reading | None:
    """One card from one line; None for a header, a message and whatever else is not data.

    Memory is in MiB.  A column that is not a number of its kind is unknown: `[N/A]`, `ERR!`, a unit.
    """
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 9:
        return None
    index = integer(fields[0])
    if index is None:
        return None
    return Reading(
        index=index,
        name=fields[1],
        uuid=fields[2],
        temp_c=integer(fields[3]),
        gpu_util_pct=decimal(fields[4]),
        mem_used_mb=integer(fields[5]),
        mem_total_mb=integer(fields[6]),
        fan_speed_pct=decimal(fields[7]),
        power_draw_w=decimal(fields[8]),
    )


def driver_addresses(driver: Path) -> dict[str, str]:
    """PCI addresses by UUID, as the driver tells them in `/proc`; the tool's own columns lack them."""
    addresses = {}
    for information in driver.glob("*/information"):
        try:
            lines = information.read_text(errors="replace").splitlines()
        except OSError:
            continue
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if "GPU UUID" in facts:
            addresses[facts["GPU UUID"]] = pci_address(facts.get("Bus Location", ""))
    return addresses
