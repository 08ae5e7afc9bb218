from __future__ import annotations

import asyncio
import io
import itertools
import logging
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from swapyard.observe import printout, sampling
from swapyard.observe.gpu.cards import Sample
from swapyard.observe.gpu.readings import Reading, Source, SourceFailedError, SourceMissingError
from swapyard.observe.model_memory import ModelMemory, model_memory
from swapyard.observe.performance import Monitor
from swapyard.observe.system import Interface, SystemSample, read_system
from swapyard.types import ModelId

QWEN = ModelId("qwen")


def run(main: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await main

    before = set(threading.enumerate())
    asyncio.run(limited())
    left = {thread for thread in threading.enumerate() if thread not in before and thread.is_alive()}
    assert not left


class SteadySource:
    """Shows the same card at every reading."""

    streams = False

    def __init__(self, name: str, *readings: Reading) -> None:
        self.name = name
        self.readings = list(readings)
        self.reads = 0

    def read(self) -> list[Reading]:
        self.reads += 1
        return self.readings

    def interrupt(self) -> None:
        """A reading ends at once."""

    def close(self) -> None:
        """Nothing is held."""


class MissingSource(SteadySource):
    def read(self) -> list[Reading]:
        self.reads += 1
        raise SourceMissingError("not here")


class SourceThatDiesAtFirst(SteadySource):
    def read(self) -> list[Reading]:
        self.reads += 1
        if self.reads == 2:
            raise SourceFailedError("it died")
        return self.readings


class HangingSource(SteadySource):
    """Never answers; only an interruption ends a read."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.interrupted = threading.Event()

    def read(self) -> list[Reading]:
        self.interrupted.wait()
        raise SourceFailedError("stopped")

    def interrupt(self) -> None:
        self.interrupted.set()


class Watched:
    """A monitor that samples every 100 ms and whose samples can be awaited."""

    def __init__(self, *sources: Source, **more: Any) -> None:
        self.lines: list[tuple[int, str]] = []
        self.made = 0

        def make(every: float) -> list[Source]:
            self.made += 1
            return list(sources)

        self.monitor = Monitor(
            0.01, False, lambda level, text: self.lines.append((level, text)), make_sources=make, **more
        )
        self._loop = asyncio.get_running_loop()
        self._samples: asyncio.Queue[SystemSample | list[Sample]] = asyncio.Queue()
        self.monitor.listen(self._hand_over)

    def _hand_over(self, sample: SystemSample | list[Sample]) -> None:
        self._loop.call_soon_threadsafe(self._samples.put_nowait, sample)

    async def until(self, wanted: Callable[[SystemSample | list[Sample]], bool]) -> Any:
        while not wanted(sample := await self._samples.get()):
            pass
        return sample

    async def system(self) -> Any:
        return await self.until(lambda sample: isinstance(sample, SystemSample))

    async def gpus(self) -> Any:
        return await self.until(lambda sample: isinstance(sample, list))

    async def __aenter__(self) -> Watched:
        self._task = asyncio.ensure_future(self.monitor.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


def test_the_machine_is_read_for_real() -> None:
    read_system()
    sample = read_system()
    assert len(sample.cpu_util_per_core) == os.cpu_count()
    assert all(0 <= percent <= 100 for percent in sample.cpu_util_per_core)
    assert 0 < sample.mem_used_mb < sample.mem_total_mb
    assert sample.net_io is not None
    assert "lo" not in [interface.name for interface in sample.net_io]


def test_samples_are_taken_and_shown_in_the_published_shape() -> None:
    async def main() -> None:
        card = Reading(0, "RTX", uuid="GPU-1", temp_c=51, mem_used_mb=19600, mem_total_mb=24500)
        async with Watched(SteadySource("steady", card)) as watched:
            await watched.gpus()
            await watched.system()
            shown = watched.monitor.samples()
        assert list(shown) == ["enabled", "gpu_stats", "sys_stats"]
        gpu = dict(shown["gpu_stats"][0])
        assert datetime.fromisoformat(gpu.pop("timestamp")).tzinfo is not None
        assert gpu == {
            "id": 0,
            "name": "RTX",
            "uuid": "GPU-1",
            "temp_c": 51,
            "vram_temp_c": None,
            "gpu_util_pct": None,
            "mem_util_pct": 80.0,
            "mem_used_mb": 19600,
            "mem_total_mb": 24500,
            "fan_speed_pct": None,
            "power_draw_w": None,
        }
        system = shown["sys_stats"][0]
        assert list(system) == [
            "timestamp",
            "cpu_util_per_core",
            "mem_total_mb",
            "mem_used_mb",
            "mem_free_mb",
            "swap_total_mb",
            "swap_used_mb",
            "load_avg_1",
            "load_avg_5",
            "load_avg_15",
            "net_io",
        ]
        assert all(set(each) == {"name", "bytes_recv", "bytes_sent"} for each in system["net_io"])

    run(main())


def sample_at(at: float) -> SystemSample:
    return SystemSample(at, array("d", [1.0]), 8, 4, 4, None, None, None, (Interface("eth0", 1, 2),))


def test_only_samples_strictly_later_are_shown_after_a_time() -> None:
    async def main() -> None:
        clock = itertools.count(1_000_000)
        async with Watched(read_system=lambda: sample_at(next(clock) + 0.1234567)) as watched:
            await watched.system()
            await watched.system()
            first = watched.monitor.samples()["sys_stats"][0]
            after = datetime.fromisoformat(first["timestamp"])
            later = watched.monitor.samples(after)["sys_stats"]
            assert first["timestamp"] not in [each["timestamp"] for each in later]
            assert len(later) >= 1
            assert watched.monitor.samples(after + timedelta(days=1)) == {
                "enabled": True,
                "gpu_stats": [],
                "sys_stats": [],
            }

    run(main())


def test_without_samples_the_lists_are_null() -> None:
    monitor = Monitor(5, False, lambda level, text: None)
    assert monitor.samples() == {"enabled": True, "gpu_stats": None, "sys_stats": None}
    assert monitor.samples(datetime.now(UTC)) == {"enabled": True, "gpu_stats": [], "sys_stats": []}
    assert monitor.system() is None
    assert monitor.gpus() == []


def test_a_disabled_monitor_says_so_and_takes_no_samples() -> None:
    async def main() -> None:
        async with Watched() as watched:
            watched.monitor.configure(5, True)
            assert not watched.monitor.enabled
            assert watched.monitor.samples() == {"enabled": False}
            assert watched.monitor.system() is None

    run(main())


def test_a_reload_switches_sampling_off_and_on_again() -> None:
    async def main() -> None:
        async with Watched(SteadySource("steady", Reading(0, "card"))) as watched:
            await watched.system()
            watched.monitor.configure(0.1, True)
            watched.monitor.configure(0.1, False)
            assert watched.monitor.samples()["sys_stats"] is None
            await watched.system()
            await watched.gpus()
            assert watched.made == 2

    run(main())


def test_a_reload_that_changes_nothing_keeps_the_samples() -> None:
    async def main() -> None:
        async with Watched() as watched:
            await watched.system()
            watched.monitor.configure(0.01, False)
            assert watched.monitor.samples()["sys_stats"]
            assert watched.made == 1

    run(main())


def test_an_hour_of_samples_is_kept() -> None:
    kept = sampling.Sampling(1800, [], read_system, lambda level, text: None, lambda sample: None)
    assert kept._system.capacity == 2
    assert sampling.Sampling(7200, [], read_system, print, print)._system.capacity == 1
    assert sampling.Sampling(5, [], read_system, print, print)._system.capacity == 720


def test_cards_of_all_sources_are_shown_and_numbered_by_the_better_source_first() -> None:
    async def main() -> None:
        async with Watched(
            SteadySource("better", Reading(0, "first", uuid="A")),
            MissingSource("absent"),
            SteadySource("lesser", Reading(0, "second", uuid="B"), Reading(1, "first again", uuid="A")),
        ) as watched:
            await watched.gpus()
            assert [(gpu.id, gpu.name) for gpu in watched.monitor.gpus()] == [(0, "first"), (1, "second")]
        told = [text for _, text in watched.lines]
        assert "GPU monitoring: no absent: not here" in told
        assert "GPU monitoring: better shows first" in told

    run(main())


def test_a_source_whose_cards_a_better_one_shows_is_left_in_peace() -> None:
    async def main() -> None:
        card = Reading(0, "card", uuid="A")
        lesser = SteadySource("lesser", card)
        async with Watched(SteadySource("better", card), lesser) as watched:
            for _ in range(5):
                await watched.gpus()
        assert lesser.reads == 1

    run(main())


def test_a_source_that_dies_is_tried_again() -> None:
    async def main() -> None:
        source = SourceThatDiesAtFirst("fragile", Reading(0, "card"))
        async with Watched(source) as watched:
            await watched.until(lambda sample: source.reads >= 3 and sample != [])
        told = [line for line in watched.lines if "it died" in line[1]]
        assert told == [(logging.WARNING, "GPU monitoring: it died; trying again")]

    run(main())


def test_a_source_that_hangs_holds_up_nobody_and_ends_with_the_monitor() -> None:
    async def main() -> None:
        hanging = HangingSource("hanging")
        async with Watched(hanging, SteadySource("steady", Reading(0, "card"))) as watched:
            await watched.gpus()
            assert [gpu.name for gpu in watched.monitor.gpus()] == ["card"]
        assert hanging.interrupted.is_set()

    run(main())


def test_it_is_told_when_no_source_shows_a_card() -> None:
    async def main() -> None:
        async with Watched(MissingSource("absent")) as watched:
            assert await watched.gpus() == []
        assert (
            logging.INFO,
            "GPU monitoring is not available: no source shows a card",
        ) in watched.lines

    run(main())


def test_a_machine_that_cannot_be_read_leaves_a_gap_and_is_tried_again() -> None:
    async def main() -> None:
        calls = itertools.count()

        def read() -> SystemSample:
            if next(calls) == 1:
                raise OSError("no /proc")
            return sample_at(1.0)

        async with Watched(read_system=read) as watched:
            await watched.system()
        assert [level for level, text in watched.lines if "no /proc" in text] == [logging.ERROR]

    run(main())


def test_running_models_are_measured_with_each_sample() -> None:
    async def main() -> None:
        async with Watched(pids=lambda: {QWEN: os.getpid()}) as watched:
            while not (held := watched.monitor.memory()):
                await watched.system()
        assert held[QWEN].resident_bytes > 1_000_000
        assert held[QWEN].gpu_bytes == {}

    run(main())


def test_a_model_is_measured_with_all_its_descendants() -> None:
    script = "x = b'x' * 30_000_000; print(flush=True); input()"
    shell = f'"{sys.executable}" -c "{script}"; true'
    child = subprocess.Popen(["/bin/sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child, child.stdin, child.stdout:
        child.stdout.readline()
        alone = model_memory(
            {QWEN: child.pid}, lambda: {child.pid: {"GPU-1": 5, "GPU-2": 1}, 1: {"GPU-1": 9}}
        )
        child.stdin.write(b"\n")
    assert alone[QWEN].resident_bytes > 30_000_000
    assert alone[QWEN].gpu_bytes == {"GPU-1": 5, "GPU-2": 1}


def test_a_model_whose_process_is_gone_is_left_out() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    assert model_memory({QWEN: child.pid}) == {}
    assert model_memory({}) == {}


def test_card_memory_of_all_processes_of_a_model_is_added_up() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child, child.stdout:
        grandchild = int(child.stdout.readline())
        held = model_memory(
            {QWEN: child.pid}, lambda: {child.pid: {"GPU-1": 5}, grandchild: {"GPU-1": 7, "GPU-2": 1}}
        )
        os.kill(grandchild, 9)
    assert held[QWEN].gpu_bytes == {"GPU-1": 12, "GPU-2": 1}
    assert isinstance(held[QWEN], ModelMemory)


def test_the_stand_alone_monitor_prints_one_sample_of_everything() -> None:
    async def main() -> None:
        def make(every: float, disabled: bool, log: Callable[[int, str], None]) -> Monitor:
            card = Reading(0, "RTX", gpu_util_pct=97, temp_c=51, power_draw_w=310.55)
            return Monitor(every, disabled, log, make_sources=lambda every: [SteadySource("steady", card)])

        out = io.StringIO()
        await printout.print_samples(0.1, out, once=True, make_monitor=make)
        text = out.getvalue()
        assert "[INFO] GPU monitoring: steady shows RTX\n" in text
        assert "[GPU 0 RTX]\n  Util:  GPU 97.0 %, Mem unknown %\n" in text
        assert "  Temp:  51 °C, Mem unknown °C\n" in text
        assert text.count("[SYS ") == 1
        assert "  Load: " in text

    run(main())


def test_the_stand_alone_monitor_prints_until_it_is_cancelled() -> None:
    async def main() -> None:
        enough = asyncio.Event()

        class Out(io.StringIO):
            def flush(self) -> None:
                if self.getvalue().count("[SYS ") >= 3:
                    enough.set()

        printing = asyncio.ensure_future(printout.print_samples(0.1, Out()))
        await enough.wait()
        printing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await printing

    run(main())
