"""NVIDIA cards through NVML, the driver's own library: readings, and the memory each process holds.

Source: NVML API reference; binding nvidia-ml-py.  The binding is imported only where the library exists.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from swapyard.observe.gpu.readings import (
    Reading,
    SourceFailedError,
    SourceMissingError,
    mebibytes,
    pci_address,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """One card as it was bought; "" and None are unknown.  `capability` reads like `8.6`."""

    name: str
    uuid: str
    pci: str
    driver: str
    capability: str
    memory_bytes: int | None
    power_limit_w: float | None


class Nvml:
    """The library, opened at the first use and opened again after a failure.

    `binding` is the nvidia-ml-py module; None loads it.  NVML itself is safe to call from several threads.
    """

    name = "NVML"
    streams = False

    def __init__(self, binding: Any = None) -> None:
        self._given = binding
        self._lock = threading.Lock()
        # The binding between `nvmlInit` and `nvmlShutdown`; None while closed.
        self._open: Any = None

    def read(self) -> list[Reading]:
        nvml = self._opened()
        try:
            return [_read_card(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            # A lost card or a reloaded driver needs a new start of the library.
            self.close()
            raise SourceFailedError(f"NVML: {error}") from error

    def process_memory(self) -> dict[int, dict[str, int]]:
        """Bytes of card memory by process id and card UUID; empty when the driver does not tell."""
        held: dict[int, dict[str, int]] = {}
        try:
            nvml = self._opened()
        except SourceMissingError:
            return held
        count = _known(nvml, nvml.nvmlDeviceGetCount)
        if count is None:
            self.close()
        for index in range(count or 0):
            uuid, processes = _card_processes(nvml, index)
            for pid, used_bytes in processes.items():
                held.setdefault(pid, {})[uuid] = used_bytes
        return held

    def facts(self) -> list[CardFacts]:
        """What does not change while the driver runs.  Raises SourceMissingError or SourceFailedError."""
        nvml = self._opened()
        driver = _text(_known(nvml, nvml.nvmlSystemGetDriverVersion))
        try:
            return [_card_facts(nvml, index, driver) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            raise SourceFailedError(f"NVML: {error}") from error

    def interrupt(self) -> None:
        """The library cannot be interrupted."""

    def close(self) -> None:
        with self._lock:
            nvml, self._open = self._open, None
            if nvml is not None:
                _known(nvml, nvml.nvmlShutdown)

    def _opened(self) -> Any:
        with self._lock:
            if self._open is None:
                nvml = self._given or _binding()
                try:
                    nvml.nvmlInit()
                except nvml.NVMLError as error:
                    raise SourceMissingError(f"NVML: {error}") from error
                self._open = nvml
            return self._open


def _binding() -> Any:
    """The binding, if the driver's library is here; its own 7000 lines are not imported for nothing."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise SourceMissingError("no NVIDIA driver library") from error
    import pynvml

    return pynvml


def _known(nvml: Any, ask: Callable[..., T], *arguments: Any) -> T | None:
    """The answer, or None where this card or driver does not support the question."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: Any) -> str:
    # Older bindings hand out bytes.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _read_card(nvml: Any, index: int) -> Reading:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    utilization = _known(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _memory(nvml, handle)
    power_mw = _known(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
    return Reading(
        index=index,
        name=_text(_known(nvml, nvml.nvmlDeviceGetName, handle)),
        uuid=_text(_known(nvml, nvml.nvmlDeviceGetUUID, handle)),
        pci=_address(nvml, handle),
        temp_c=_known(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        vram_temp_c=_memory_temperature(nvml, handle),
        gpu_util_pct=utilization.gpu if utilization is not None else None,
        mem_used_mb=mebibytes(memory.used) if memory is not None else None,
        mem_total_mb=mebibytes(memory.total) if memory is not None else None,
        fan_speed_pct=_known(nvml, nvml.nvmlDeviceGetFanSpeed, handle),
        power_draw_w=power_mw / 1000 if power_mw is not None else None,
    )


def _card_facts(nvml: Any, index: int, driver: str) -> CardFacts:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    capability = _known(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = _memory(nvml, handle)
    limit_mw = _known(nvml, nvml.nvmlDeviceGetPowerManagementLimit, handle)
    return CardFacts(
        name=_text(_known(nvml, nvml.nvmlDeviceGetName, handle)),
        uuid=_text(_known(nvml, nvml.nvmlDeviceGetUUID, handle)),
        pci=_address(nvml, handle),
        driver=driver,
        capability=f"{capability[0]}.{capability[1]}" if capability else "",
        memory_bytes=memory.total if memory is not None and memory.total > 0 else None,
        power_limit_w=limit_mw / 1000 if limit_mw else None,
    )


def _address(nvml: Any, handle: Any) -> str:
    address = _known(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    return pci_address(_text(address.busId)) if address is not None else ""


def _memory(nvml: Any, handle: Any) -> Any:
    """Version 2 counts as `nvidia-smi` does, without what the driver reserves; older drivers lack it."""
    second = _known(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    return second if second is not None else _known(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)


def _memory_temperature(nvml: Any, handle: Any) -> int | None:
    """Degrees of the memory; consumer cards have no such sensor and report an error or 0."""
    fields = _known(nvml, nvml.nvmlDeviceGetFieldValues, handle, [nvml.NVML_FI_DEV_MEMORY_TEMP])
    if not fields or fields[0].nvmlReturn != nvml.NVML_SUCCESS:
        return None
    return int(fields[0].value.uiVal) or None


def _card_processes(nvml: Any, index: int) -> tuple[str, dict[int, int]]:
    """The card's UUID and the bytes by process id.

    A process that computes and draws is in both lists with the same figure.
    """
    used: dict[int, int] = {}
    handle = _known(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return "", used
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _known(nvml, ask, handle) or []:
            if process.usedGpuMemory is not None:
                used[process.pid] = max(used.get(process.pid, 0), process.usedGpuMemory)
    return _text(_known(nvml, nvml.nvmlDeviceGetUUID, handle)), used
