"""AMD cards through the files of the kernel's amdgpu driver.

Source: Linux, Documentation/gpu/amdgpu/thermal.rst and driver-misc.rst.
"""

from __future__ import annotations

from pathlib import Path

from swapyard.observe.gpu.readings import Reading, SourceMissingError, integer, mebibytes, pci_address

_AMD = "0x1002"


class AmdSysfs:
    name = "sysfs"
    streams = False

    def __init__(self, drm: Path = Path("/sys/class/drm")) -> None:
        self._drm = drm

    def read(self) -> list[Reading]:
        cards = [card for card in _cards(self._drm) if _text(card / "device/vendor") == _AMD]
        readings = [_read_card(card) for card in cards]
        known = [reading for reading in readings if reading.mem_total_mb]
        if not known:
            raise SourceMissingError("no AMD card in sysfs")
        return known

    def interrupt(self) -> None:
        """A reading ends by itself at once."""

    def close(self) -> None:
        """Nothing is held between readings."""


def _cards(drm: Path) -> list[Path]:
    """`card0`, `card1`, … without their connectors (`card0-DP-1`), in the order of their numbers."""
    cards = [path for path in drm.glob("card*") if path.name[4:].isdecimal()]
    return sorted(cards, key=lambda path: int(path.name[4:]))


def _read_card(card: Path) -> Reading:
    device = card / "device"
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device / "hwmon")
    temperatures = _temperatures(sensors)
    power_uw = _number(sensors / "power1_average", sensors / "power1_input")
    return Reading(
        index=int(card.name[4:]),
        name=_text(device / "product_name") or f"AMD {_text(device / 'device')}".rstrip(),
        uuid=_text(device / "unique_id"),
        pci=pci_address(device.resolve().name),
        temp_c=_first(temperatures, "edge", "junction", ""),
        vram_temp_c=_first(temperatures, "mem"),
        gpu_util_pct=_number(device / "gpu_busy_percent"),
        mem_used_mb=mebibytes(_number(device / "mem_info_vram_used")),
        mem_total_mb=mebibytes(_number(device / "mem_info_vram_total")),
        fan_speed_pct=_fan(sensors),
        power_draw_w=power_uw / 1e6 if power_uw is not None else None,
    )


def _temperatures(sensors: Path) -> dict[str, int]:
    """Whole degrees by sensor label; older cards have one sensor without a label."""
    temperatures: dict[str, int] = {}
    for path in sorted(sensors.glob("temp*_input")):
        millidegrees = _number(path)
        if millidegrees is not None:
            label = _text(path.with_name(path.name.replace("_input", "_label")))
            temperatures.setdefault(label, millidegrees // 1000)
    return temperatures


def _first(temperatures: dict[str, int], *labels: str) -> int | None:
    return next((temperatures[label] for label in labels if label in temperatures), None)


def _fan(sensors: Path) -> float | None:
    """Percent of the largest duty value, which is 255 unless the card says otherwise."""
    duty = _number(sensors / "pwm1")
    if duty is None:
        return None
    return duty / (_number(sensors / "pwm1_max") or 255) * 100


def _number(*candidates: Path) -> int | None:
    """The number in the first of these files that holds one; a sleeping card refuses some reads."""
    return next((value for path in candidates if (value := integer(_text(path))) is not None), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
