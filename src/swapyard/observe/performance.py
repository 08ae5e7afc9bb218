"""The performance monitor: an hour of samples of machine and cards, and what each running model holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from swapyard.observe.gpu.cards import Sample
from swapyard.observe.gpu.nvml import Nvml
from swapyard.observe.gpu.readings import Source
from swapyard.observe.gpu.sources import sources
from swapyard.observe.log_times import rfc3339
from swapyard.observe.model_memory import ModelMemory, ProcessMemory, model_memory
from swapyard.observe.sampling import Log, Sampling
from swapyard.observe.system import SystemSample, read_system
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep

SHORTEST_EVERY = 0.1
_JOIN_TIMEOUT = 2.0

Listener = Callable[[SystemSample | list[Sample]], None]


class Monitor:
    """Takes samples while `run` runs and monitoring is not disabled; everything else is read from its memory.

    `every` is in seconds.  `pids` tells the running models' processes and is called from a sampling thread,
    as is `log`.  `make_sources` gives the sources of card readings for an interval, the best first.
    """

    def __init__(
        self,
        every: float,
        disabled: bool,
        log: Log,
        *,
        pids: Callable[[], Mapping[ModelId, int]] = dict,
        make_sources: Callable[[float], list[Source]] = sources,
        read_system: Callable[[], SystemSample] = read_system,
        process_memory: ProcessMemory | None = None,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._upkeep = upkeep or Upkeep()
        self._every = max(SHORTEST_EVERY, every)
        self._disabled = disabled
        self._log = log
        self._pids = pids
        self._make_sources = make_sources
        self._read_system = read_system
        self._process_memory = process_memory or Nvml().process_memory
        self._running = False
        self._sampling: Sampling | None = None
        self._memory: Mapping[ModelId, ModelMemory] = {}
        self._listeners: list[Listener] = []

    @property
    def enabled(self) -> bool:
        return not self._disabled

    async def run(self) -> None:
        """Sample until cancelled; no thread and no tool is left behind then."""
        self._running = True
        self._start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            await self._stop_and_wait()

    def configure(self, every: float, disabled: bool) -> None:
        """Take the settings of a new configuration; samples survive unless these differ."""
        every = max(SHORTEST_EVERY, every)
        if (every, disabled) == (self._every, self._disabled):
            return
        self._every, self._disabled = every, disabled
        if self._sampling is not None:
            self._sampling.stop()
            self._sampling = None
        self._memory = {}
        if self._running:
            self._start()

    def samples(self, after: datetime | None = None) -> dict[str, Any]:
        """The answer of `/api/performance`: all samples, or only those strictly later than `after`.

        The fields are the reference's; what is not known is null where the reference shows 0.  With `after`
        an empty list is empty, without it null, as the reference does.
        """
        if self._disabled:
            return {"enabled": False}
        sampling = self._sampling
        system = [_system_json(s) for s in sampling.system() if _is_later(s.at, after)] if sampling else []
        gpus = [_gpu_json(s) for s in sampling.gpus() if _is_later(s.at, after)] if sampling else []
        empty: list[Any] | None = None if after is None else []
        return {"enabled": True, "gpu_stats": gpus or empty, "sys_stats": system or empty}

    def system(self) -> SystemSample | None:
        """The newest sample of the machine."""
        return self._sampling.newest_system() if self._sampling else None

    def gpus(self) -> list[Sample]:
        """The newest sample of every card that still delivers, by id."""
        return self._sampling.newest_gpus() if self._sampling else []

    def memory(self) -> Mapping[ModelId, ModelMemory]:
        """What the running models held at the last sample."""
        return self._memory

    def measure(self, pids: Mapping[ModelId, int]) -> Mapping[ModelId, ModelMemory]:
        """Measure these models' processes now; blocking, for a worker thread."""
        return model_memory(pids, self._process_memory)

    def listen(self, listener: Listener) -> None:
        """Have `listener` called with every sample from now on, from the sampling threads."""
        self._listeners.append(listener)

    def _start(self) -> None:
        if self._disabled:
            return
        self._sampling = Sampling(
            self._every,
            self._make_sources(self._every),
            self._read_system,
            self._log,
            self._changed,
            self._measure_running,
            self._upkeep,
        )
        self._sampling.start()

    async def _stop_and_wait(self) -> None:
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            sampling.stop()
            await asyncio.to_thread(sampling.join, _JOIN_TIMEOUT)

    def _changed(self, sample: SystemSample | list[Sample]) -> None:
        for listener in self._listeners:
            listener(sample)

    def _measure_running(self) -> None:
        self._memory = self.measure(self._pids())


def _is_later(at: float, after: datetime | None) -> bool:
    # Compared as it is printed, in whole microseconds: a client sends back what it was shown.
    return after is None or datetime.fromtimestamp(at, UTC) > after


def _timestamp(at: float) -> str:
    return rfc3339(datetime.fromtimestamp(at, UTC).astimezone())


def _system_json(sample: SystemSample) -> dict[str, Any]:
    load = sample.load_avg or (None, None, None)
    interfaces = [
        {"name": each.name, "bytes_recv": each.bytes_recv, "bytes_sent": each.bytes_sent}
        for each in sample.net_io or ()
    ]
    return {
        "timestamp": _timestamp(sample.at),
        "cpu_util_per_core": list(sample.cpu_util_per_core),
        "mem_total_mb": sample.mem_total_mb,
        "mem_used_mb": sample.mem_used_mb,
        "mem_free_mb": sample.mem_free_mb,
        "swap_total_mb": sample.swap_total_mb,
        "swap_used_mb": sample.swap_used_mb,
        "load_avg_1": load[0],
        "load_avg_5": load[1],
        "load_avg_15": load[2],
        "net_io": interfaces if sample.net_io is not None else None,
    }


def _gpu_json(sample: Sample) -> dict[str, Any]:
    return {
        "timestamp": _timestamp(sample.at),
        "id": sample.id,
        "name": sample.name,
        "uuid": sample.uuid,
        "temp_c": sample.temp_c,
        "vram_temp_c": sample.vram_temp_c,
        "gpu_util_pct": sample.gpu_util_pct,
        "mem_util_pct": sample.mem_util_pct,
        "mem_used_mb": sample.mem_used_mb,
        "mem_total_mb": sample.mem_total_mb,
        "fan_speed_pct": sample.fan_speed_pct,
        "power_draw_w": sample.power_draw_w,
    }
