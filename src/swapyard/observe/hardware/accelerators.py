"""Accelerators as the probes find them, and one list out of what several probes found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device as one probe sees it; None is unknown.

    `identity` is its PCI address, its UUID or its place: what tells it from others, and never shown.
    `memory_kind` is `dedicated`, `unified`, `shared_system` or `unknown`.
    """

    identity: str
    vendor: str | None = None
    model: str | None = None
    architecture: str | None = None
    memory_kind: str = "unknown"
    capacity_bytes: int | None = None
    driver_name: str | None = None
    driver_version: str | None = None
    power_limit_watts: float | None = None


def merged(found: Iterable[Accelerator]) -> list[Accelerator]:
    """One entry per device: of several with the same identity, the first known value of each field counts.

    In the order of their identities, then models.
    """
    devices: dict[object, Accelerator] = {}
    for number, accelerator in enumerate(found):
        # Those without an identity are never taken for each other.
        key = accelerator.identity or number
        devices[key] = _completed(devices[key], accelerator) if key in devices else accelerator
    return sorted(devices.values(), key=lambda device: (device.identity, device.model or ""))


def fact(text: str | None) -> str | None:
    """Text from a tool or a file; None for the words that stand for nothing."""
    trimmed = (text or "").strip()
    return None if trimmed.lower() in ("", "n/a", "[n/a]", "unknown", "[not supported]") else trimmed


def positive(text: str | None) -> float | None:
    """A number above zero; None for everything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _completed(first: Accelerator, second: Accelerator) -> Accelerator:
    values = {}
    for field in fields(Accelerator):
        value = getattr(first, field.name)
        values[field.name] = getattr(second, field.name) if value in (None, "unknown") else value
    return replace(first, **values)
