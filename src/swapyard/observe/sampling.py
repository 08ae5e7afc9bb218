"""One run of the performance monitor: a thread for the machine and one for each source of card readings.

A source that hangs holds up nobody else.  One that fails is tried again after a growing pause, one that is
not there once a minute, and one whose cards a better source shows is left in peace.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from swapyard.observe.gpu.cards import Cards, Sample
from swapyard.observe.gpu.readings import Reading, Source, SourceFailedError, SourceMissingError
from swapyard.observe.ring import Ring
from swapyard.observe.system import SystemSample
from swapyard.upkeep import Upkeep

PART = "performance"

Log = Callable[[int, str], None]

HISTORY = 3600.0

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# A source that has gone this long without a failure starts again with the shortest pause.
_RECOVERED_AFTER = 120.0
_MISSING_PAUSE = 60.0
_REDUNDANT_PAUSE = 600.0
# Numbers are given to cards once all sources have answered, so that they do not depend on who was first.
_FIRST_ROUND = 3.0


class Sampling:
    """Samples from construction of its threads (`start`) until `stop`; read it from any thread.

    `changed` is called from the sampling threads with every sample that was taken; `measure` once for each
    interval, in a thread of its own because it asks the cards' driver, which may hang.
    """

    def __init__(
        self,
        every: float,
        sources: list[Source],
        read_system: Callable[[], SystemSample],
        log: Log,
        changed: Callable[[SystemSample | list[Sample]], None],
        measure: Callable[[], None] = lambda: None,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._upkeep = upkeep or Upkeep()
        self._every = every
        self._sources = sources
        self._read_system = read_system
        self._log = log
        self._changed = changed
        self._measure = measure
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        capacity = int(HISTORY // every)
        self._system: Ring[SystemSample] = Ring(capacity)
        self._snapshots: list[Ring[list[Sample]]] = [Ring(capacity) for _ in sources]
        self._patience = 3 * every + 5
        self._cards = Cards(self._patience)
        self._newest: dict[int, tuple[float, Sample]] = {}
        self._first_round: dict[int, tuple[list[Reading], float, float]] | None = {}
        self._began = time.monotonic()
        self._threads = [
            self._thread("system samples", self._watch_system),
            self._thread("model memory", self._watch_models),
        ]
        for rank, source in enumerate(sources):
            self._threads.append(self._thread(source.name, _Poll(self, rank, source).run))

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        arguments = (f"{PART}, {name}", run, self._stopped)
        return threading.Thread(target=self._upkeep.keep_thread, args=arguments, name=name, daemon=True)

    @property
    def every(self) -> float:
        return self._every

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads and kill what they run; returns at once."""
        self._stopped.set()
        for source in self._sources:
            source.interrupt()

    def join(self, timeout: float) -> None:
        """Wait until the threads have ended, for at most `timeout` seconds; blocking."""
        until = time.monotonic() + timeout
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < until:
            for thread in self._threads:
                thread.join(0.02)
            # A read that began just before `stop` may have started a tool since.
            self.stop()

    def system(self) -> list[SystemSample]:
        with self._lock:
            return self._system.items()

    def newest_system(self) -> SystemSample | None:
        with self._lock:
            return self._system.newest()

    def gpus(self) -> list[Sample]:
        """All samples of all cards in the order of time."""
        with self._lock:
            self._settle_first_round()
            samples = [sample for ring in self._snapshots for snapshot in ring.items() for sample in snapshot]
        return sorted(samples, key=lambda sample: sample.at)

    def newest_gpus(self) -> list[Sample]:
        """The newest sample of each card that is still delivered, by id."""
        oldest = time.monotonic() - self._patience
        with self._lock:
            self._settle_first_round()
            return [sample for _, (seen, sample) in sorted(self._newest.items()) if seen >= oldest]

    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def is_redundant(self, rank: int) -> bool:
        with self._lock:
            return self._cards.is_redundant(rank, time.monotonic())

    def deliver(self, rank: int, readings: list[Reading]) -> None:
        """Take what a source has read; nothing at all also counts as its answer in the first round."""
        answer = (readings, time.time(), time.monotonic())
        with self._lock:
            if self._first_round is None:
                samples = self._merge(rank, answer)
            else:
                self._first_round.setdefault(rank, answer)
                self._settle_first_round()
                if self._first_round is not None:
                    return
                samples = [sample for _, sample in self._newest.values()]
                if not samples:
                    self.log(logging.INFO, "GPU monitoring is not available: no source shows a card")
        if samples or not readings:
            self._announce(samples)

    def log(self, level: int, message: str) -> None:
        if not self._stopped.is_set():
            self._log(level, message)

    def _announce(self, sample: SystemSample | list[Sample]) -> None:
        # A thread that outlives `stop` for a moment has nothing to say any more.
        if not self._stopped.is_set():
            self._changed(sample)

    def _settle_first_round(self) -> None:
        """Give the cards their numbers once everybody has answered or had the time."""
        if self._first_round is None:
            return
        waiting = len(self._first_round) < len(self._sources)
        if waiting and time.monotonic() - self._began < _FIRST_ROUND:
            return
        answers, self._first_round = self._first_round, None
        for rank in sorted(answers):
            self._merge(rank, answers[rank])

    def _merge(self, rank: int, answer: tuple[list[Reading], float, float]) -> list[Sample]:
        readings, at, now = answer
        samples = self._cards.merge(rank, readings, at, now)
        if samples:
            self._snapshots[rank].push(samples)
        for sample in samples:
            self._newest[sample.id] = (now, sample)
        return samples

    def _watch_system(self) -> None:
        # The first reading only sets the processors' counters.
        self._sample_system()
        while not self._stopped.wait(self._every):
            sample = self._sample_system()
            if sample is not None:
                with self._lock:
                    self._system.push(sample)
                self._announce(sample)

    def _watch_models(self) -> None:
        while not self._stopped.is_set():
            try:
                self._measure()
            except Exception as error:
                self.log(logging.ERROR, f"performance: the models cannot be measured: {error!r}")
            self._stopped.wait(self._every)

    def _sample_system(self) -> SystemSample | None:
        try:
            return self._read_system()
        except Exception as error:
            # One gap in the history; whatever is wrong may be right at the next tick.
            self.log(logging.ERROR, f"performance: the machine cannot be read: {error!r}")
            return None


class _Poll:
    """The thread of one source."""

    def __init__(self, sampling: Sampling, rank: int, source: Source) -> None:
        self._sampling = sampling
        self._rank = rank
        self._source = source
        self._failures = 0
        self._failed_at = float("-inf")
        self._told = ""
        self._worked = False
        self._look_again = time.monotonic() + _REDUNDANT_PAUSE

    def run(self) -> None:
        while not self._sampling.is_stopped():
            self._sampling.wait(self._rest() if self._is_superfluous() else self._read())
        self._source.close()

    def _is_superfluous(self) -> bool:
        return time.monotonic() < self._look_again and self._sampling.is_redundant(self._rank)

    def _rest(self) -> float:
        self._source.close()
        return self._sampling.every

    def _read(self) -> float:
        """Read once; the seconds until the next time."""
        self._look_again = time.monotonic() + _REDUNDANT_PAUSE
        try:
            readings = self._source.read()
        except SourceMissingError as error:
            self._sampling.deliver(self._rank, [])
            self._tell(logging.DEBUG, f"GPU monitoring: no {self._source.name}: {error}")
            return _MISSING_PAUSE
        except SourceFailedError as error:
            return self._fail(str(error))
        except Exception as error:
            return self._fail(repr(error))
        self._sampling.deliver(self._rank, readings)
        if readings:
            self._worked = True
            cards = ", ".join(reading.name or "a card" for reading in readings)
            self._tell(logging.INFO, f"GPU monitoring: {self._source.name} shows {cards}")
        return 0 if self._source.streams else self._sampling.every

    def _fail(self, reason: str) -> float:
        now = time.monotonic()
        if now - self._failed_at > _RECOVERED_AFTER:
            self._failures = 0
        self._failed_at = now
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._sampling.deliver(self._rank, [])
        level = logging.WARNING if self._worked else logging.DEBUG
        self._tell(level, f"GPU monitoring: {reason}; trying again")
        return max(pause, 0 if self._source.streams else self._sampling.every)

    def _tell(self, level: int, message: str) -> None:
        """Log what has changed since the last time, not what goes on."""
        if message != self._told:
            self._told = message
            self._sampling.log(level, message)
