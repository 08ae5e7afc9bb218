"""Accelerators of any vendor from the files of the Linux kernel.

Sources: Linux, Documentation/gpu/amdgpu and drivers/gpu/drm/amd/amdkfd (`gfx_target_version`); PCI ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swapyard.observe.gpu.readings import integer, pci_address
from swapyard.observe.hardware.accelerators import Accelerator, fact, positive

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x1022": "AMD", "0x8086": "Intel", "0x106b": "Apple"}


def from_kfd(root: Path) -> Iterator[Accelerator]:
    """AMD's compute devices, which tell the architecture."""
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        facts = dict(line.split(maxsplit=1) for line in _read(node).splitlines() if len(line.split()) == 2)
        minor = integer(facts.get("drm_render_minor", ""))
        architecture = gfx_name(integer(facts.get("gfx_target_version", "")) or 0)
        if not minor or architecture is None or not (root / f"dev/dri/renderD{minor}").exists():
            continue
        device = root / f"sys/class/drm/renderD{minor}/device"
        if _VENDORS.get(_read(device / "vendor")) == "AMD":
            yield Accelerator(_identity(device), vendor="AMD", architecture=architecture)


def gfx_name(version: int) -> str | None:
    """`gfx90a` for 90010: two decimal digits each for minor and stepping, shown as one hexadecimal digit."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    if version < 10000 or minor > 9 or stepping > 15:
        return None
    return f"gfx{major}{minor}{stepping:x}"


def from_drm(root: Path) -> Iterator[Accelerator]:
    """Cards that can be rendered on, by any of the vendors we know."""
    for card in sorted((root / "sys/class/drm").glob("card*")):
        if not card.name[4:].isdecimal():
            continue
        device = card / "device"
        vendor = _VENDORS.get(_read(device / "vendor"))
        if vendor is not None and _can_render(root, device):
            yield _card(root, device, vendor)


def _can_render(root: Path, device: Path) -> bool:
    return any((root / "dev/dri" / node.name).exists() for node in device.glob("drm/renderD*"))


def _card(root: Path, device: Path, vendor: str) -> Accelerator:
    own_bytes = integer(_read(device / "mem_info_vram_total")) or 0
    driver = (device / "driver").resolve().name if (device / "driver").exists() else None
    return Accelerator(
        identity=_identity(device),
        vendor=vendor,
        model=fact(_read(device / "product_name")),
        memory_kind="dedicated" if own_bytes > 0 else "shared_system",
        capacity_bytes=own_bytes if own_bytes > 0 else None,
        driver_name=driver,
        driver_version=fact(_read(root / f"sys/module/{driver}/version")) if driver else None,
        power_limit_watts=_power_limit(device),
    )


def _power_limit(device: Path) -> float | None:
    """The first positive limit, which the kernel gives in microwatts."""
    limits = (positive(_read(path)) for path in sorted(device.glob("hwmon/hwmon*/power1_cap")))
    return next((microwatts / 1e6 for microwatts in limits if microwatts is not None), None)


def _identity(device: Path) -> str:
    name = device.resolve().name
    return pci_address(name) or name


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
