"""Samples as text on a terminal: what the stand-alone monitor prints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from swapyard.observe import log_lines
from swapyard.observe.gpu.cards import Sample
from swapyard.observe.performance import Monitor
from swapyard.observe.system import SystemSample

_ONCE_TIMEOUT = 5.0


async def print_samples(
    every: float,
    out: TextIO,
    *,
    once: bool = False,
    make_monitor: Callable[[float, bool, Callable[[int, str], None]], Monitor] = Monitor,
) -> None:
    """Print every sample until cancelled or unread, or one of machine and cards each (within 5 s) if `once`.

    `every` is in seconds.  What the monitor has to say (which sources there are) is printed in between.
    """
    loop = asyncio.get_running_loop()
    printed: asyncio.Queue[str | SystemSample | list[Sample]] = asyncio.Queue()

    def hand_over(item: str | SystemSample | list[Sample]) -> None:
        # Called from the sampling threads.
        loop.call_soon_threadsafe(printed.put_nowait, item)

    def log(level: int, message: str) -> None:
        hand_over(f"[{log_lines.level_name(level)}] {message}")

    monitor = make_monitor(every, False, log)
    monitor.listen(hand_over)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(monitor.run(), name="monitor")
        with contextlib.suppress(TimeoutError, BrokenPipeError):
            async with asyncio.timeout(_ONCE_TIMEOUT if once else None):
                await _print(printed, out, once)
        running.cancel()


async def _print(printed: asyncio.Queue[str | SystemSample | list[Sample]], out: TextIO, once: bool) -> None:
    missing = {SystemSample, list}
    while missing or not once:
        item = await printed.get()
        if isinstance(item, str):
            out.write(item + "\n")
        elif isinstance(item, SystemSample):
            missing.discard(SystemSample)
            out.write(system_text(item))
        else:
            missing.discard(list)
            out.writelines(gpu_text(sample) for sample in item)
        out.flush()


def system_text(sample: SystemSample) -> str:
    """One sample of the machine, in several lines."""
    at = datetime.fromtimestamp(sample.at).strftime("%H:%M:%S")
    cores = " ".join(f"{percent:.1f}" for percent in sample.cpu_util_per_core)
    load = " ".join(f"{value:.2f}" for value in sample.load_avg) if sample.load_avg else "unknown"
    memory = f"{sample.mem_used_mb} MB used / {sample.mem_total_mb} MB total ({sample.mem_free_mb} MB free)"
    swap = f"{_known(sample.swap_used_mb)} MB used / {_known(sample.swap_total_mb)} MB total"
    return f"[SYS {at}]\n  CPU:  {cores}\n  Mem:  {memory}\n  Swap: {swap}\n  Load: {load}\n"


def gpu_text(sample: Sample) -> str:
    """One sample of one card, in several lines."""
    return (
        f"[GPU {sample.id} {sample.name}]\n"
        f"  Util:  GPU {_tenths(sample.gpu_util_pct)} %, Mem {_tenths(sample.mem_util_pct)} %\n"
        f"  Mem:   {_known(sample.mem_used_mb)} MB used / {_known(sample.mem_total_mb)} MB total\n"
        f"  Temp:  {_known(sample.temp_c)} °C, Mem {_known(sample.vram_temp_c)} °C\n"
        f"  Fan:   {_tenths(sample.fan_speed_pct)} %\n"
        f"  Power: {_tenths(sample.power_draw_w)} W\n"
    )


def _known(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _tenths(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"
