"""What `/metrics` tells: the machine and its cards as the reference names them, and every model's traffic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from swapyard.observe.exposition import Exposition, Histogram, Labels
from swapyard.observe.gpu.cards import Sample
from swapyard.observe.gpu.readings import MIB
from swapyard.observe.model_memory import ModelMemory
from swapyard.observe.system import SystemSample
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep

_WAIT_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LOAD_BOUNDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
_FIRST_TOKEN_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_REQUEST_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

_GPU_FAMILIES: tuple[tuple[str, str, Callable[[Sample], float | None]], ...] = (
    ("temperature_celsius", "Temperature of the card", lambda gpu: _float(gpu.temp_c)),
    ("vram_temperature_celsius", "Temperature of the card's memory", lambda gpu: _float(gpu.vram_temp_c)),
    ("util_percent", "Share of time in which the card computed", lambda gpu: _float(gpu.gpu_util_pct)),
    ("memory_util_percent", "Share of the card's memory in use", lambda gpu: gpu.mem_util_pct),
    ("memory_used_bytes", "Card memory in use", lambda gpu: _float(gpu.mem_used_mb, MIB)),
    ("memory_total_bytes", "Card memory in all", lambda gpu: _float(gpu.mem_total_mb, MIB)),
    ("fan_speed_percent", "Fan speed of the card", lambda gpu: _float(gpu.fan_speed_pct)),
    ("power_draw_watts", "Power the card draws", lambda gpu: _float(gpu.power_draw_w)),
)


@dataclass(frozen=True, slots=True)
class Lost:
    """What came faster than it could be observed, since the start of the program."""

    rows: int
    captures: int
    # Of bodies in which no usage was looked for.
    body_bytes: int


class _Traffic:
    """What one model has answered since the start of the program."""

    __slots__ = (
        "evictions",
        "first_token",
        "load",
        "loads",
        "queue",
        "request",
        "restarts",
        "statuses",
        "tokens",
    )

    def __init__(self) -> None:
        self.statuses: dict[int, int] = defaultdict(int)
        self.tokens: dict[str, int] = defaultdict(int)
        self.loads: dict[str, int] = defaultdict(int)
        self.evictions = 0
        self.restarts = 0
        self.queue = Histogram(_WAIT_BOUNDS)
        self.load = Histogram(_LOAD_BOUNDS)
        self.first_token = Histogram(_FIRST_TOKEN_BOUNDS)
        self.request = Histogram(_REQUEST_BOUNDS)


class Metrics:
    """Counters that cost a request a few microseconds, and the page that shows them.

    Everything here is called in the event loop's thread.  The callables tell the present: requests by model
    that hold a lease and that wait for one, the memory models hold, the newest samples, and the tasks of the
    event loop, whose number comes back to what it was when nothing is left to do.
    """

    def __init__(
        self,
        *,
        in_flight: Callable[[], Mapping[ModelId, int]] = dict,
        waiting: Callable[[], Mapping[ModelId, int]] = dict,
        memory: Callable[[], Mapping[ModelId, ModelMemory]] = dict,
        system: Callable[[], SystemSample | None] = lambda: None,
        gpus: Callable[[], list[Sample]] = list,
        lost: Callable[[], Lost | None] = lambda: None,
        upkeep: Upkeep | None = None,
        tasks: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._upkeep = upkeep or Upkeep()
        self._in_flight = in_flight
        self._waiting = waiting
        self._memory = memory
        self._system = system
        self._gpus = gpus
        self._lost = lost
        self._tasks = tasks
        self._models: dict[str, _Traffic] = defaultdict(_Traffic)

    def observe(
        self,
        model: str,
        status: int,
        seconds: float,
        *,
        queue: float | None = None,
        first_token: float | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cached_tokens: int = 0,
        draft_tokens: int = 0,
        draft_accepted_tokens: int = 0,
    ) -> None:
        """Count an answered request; times in seconds, None or a negative count where not reported.

        `model` is a name from the configuration, never a client's own text: each one is kept for good.
        """
        traffic = self._models[model]
        traffic.statuses[status] += 1
        traffic.request.observe(seconds)
        if queue is not None:
            traffic.queue.observe(queue)
        if first_token is not None:
            traffic.first_token.observe(first_token)
        if input_tokens > 0:
            traffic.tokens["input"] += input_tokens
        if output_tokens > 0:
            traffic.tokens["output"] += output_tokens
        if cached_tokens > 0:
            traffic.tokens["cached"] += cached_tokens
        if draft_tokens > 0:
            traffic.tokens["draft"] += draft_tokens
        if draft_accepted_tokens > 0:
            traffic.tokens["draft_accepted"] += draft_accepted_tokens

    def load_finished(self, model: str, seconds: float, *, ready: bool) -> None:
        """Count a load that ended: ready after this time, or given up."""
        traffic = self._models[model]
        traffic.loads["ready" if ready else "failed"] += 1
        if ready:
            traffic.load.observe(seconds)

    def evicted(self, model: str) -> None:
        """Count a model that had to make room."""
        self._models[model].evictions += 1

    def restarted(self, model: str) -> None:
        """Count a load that was needed because the model's process had ended by itself."""
        self._models[model].restarts += 1

    def render(self) -> bytes:
        """The page, in the format `exposition.CONTENT_TYPE` names."""
        page = Exposition()
        system = self._system()
        if system is not None:
            _write_system(page, system)
        _write_gpus(page, self._gpus())
        self._write_traffic(page)
        self._write_present(page)
        if (lost := self._lost()) is not None:
            _write_lost(page, lost)
        self._write_upkeep(page)
        return page.content()

    def _write_traffic(self, page: Exposition) -> None:
        models = sorted(self._models.items())
        page.family(
            "swapyard_requests_total",
            "counter",
            "Requests answered, by model and HTTP status",
            (
                ((*_model(name), ("status", str(status))), count)
                for name, traffic in models
                for status, count in sorted(traffic.statuses.items())
            ),
        )
        page.family(
            "swapyard_tokens_total",
            "counter",
            "Tokens reported by the models, by kind",
            (
                ((*_model(name), ("kind", kind)), count)
                for name, traffic in models
                for kind, count in traffic.tokens.items()
            ),
        )
        for name, meaning, pick in _HISTOGRAMS:
            used = ((_model(model), pick(traffic)) for model, traffic in models)
            page.histograms(
                name, meaning, ((labels, histogram) for labels, histogram in used if histogram.count)
            )
        page.family(
            "swapyard_loads_total",
            "counter",
            "Loads that ended, by result",
            (
                ((*_model(name), ("result", result)), count)
                for name, traffic in models
                for result, count in traffic.loads.items()
            ),
        )
        page.family(
            "swapyard_evictions_total",
            "counter",
            "Times the model made room for another",
            ((_model(name), traffic.evictions) for name, traffic in models),
        )
        page.family(
            "swapyard_restarts_total",
            "counter",
            "Loads after the model's process had ended by itself",
            ((_model(name), traffic.restarts) for name, traffic in models),
        )

    def _write_upkeep(self, page: Exposition) -> None:
        page.family(
            "swapyard_internal_errors_total",
            "counter",
            "Unforeseen errors, each of them a bug, by the part that went on without what failed",
            (((("part", part),), count) for part, count in sorted(self._upkeep.errors().items())),
        )
        page.family(
            "swapyard_part_down",
            "gauge",
            "1 for each part that does not work right now",
            (((("part", part),), 1) for part in sorted(self._upkeep.down())),
        )

    def _write_present(self, page: Exposition) -> None:
        memory = sorted(self._memory().items())
        page.family(
            "swapyard_in_flight", "gauge", "Requests the model is serving", _counts(self._in_flight())
        )
        page.family("swapyard_waiting", "gauge", "Requests waiting for the model", _counts(self._waiting()))
        page.family("swapyard_tasks", "gauge", "Tasks of the event loop", [((), self._tasks())])
        page.family(
            "swapyard_resident_bytes",
            "gauge",
            "Main memory held by the model's processes",
            ((_model(name), held.resident_bytes) for name, held in memory),
        )
        page.family(
            "swapyard_gpu_bytes",
            "gauge",
            "Card memory held by the model's processes",
            (
                ((*_model(name), ("gpu", gpu)), used)
                for name, held in memory
                for gpu, used in sorted(held.gpu_bytes.items())
            ),
        )


_HISTOGRAMS: tuple[tuple[str, str, Callable[[_Traffic], Histogram]], ...] = (
    ("swapyard_queue_seconds", "Time from a request's arrival until it could be served", lambda t: t.queue),
    (
        "swapyard_load_seconds",
        "Time from the start of the model's process until it was ready",
        lambda t: t.load,
    ),
    (
        "swapyard_first_token_seconds",
        "Time from the arrival of a request until the first token of its stream",
        lambda t: t.first_token,
    ),
    (
        "swapyard_request_seconds",
        "Time from the arrival of a request until the last byte of the answer",
        lambda t: t.request,
    ),
)


def _write_lost(page: Exposition, lost: Lost) -> None:
    page.family(
        "swapyard_unobserved_total",
        "counter",
        "Rows of the activity log and captures that were given up because they came too fast",
        (((("kind", kind),), count) for kind, count in (("row", lost.rows), ("capture", lost.captures))),
    )
    page.family(
        "swapyard_unobserved_bytes_total",
        "counter",
        "Bytes of replies that passed too fast to be looked at",
        [((), lost.body_bytes)],
    )


def _model(name: str) -> Labels:
    return (("model", name),)


def _counts(counts: Mapping[ModelId, int]) -> Iterable[tuple[Labels, int]]:
    return ((_model(name), count) for name, count in sorted(counts.items()))


def _float(value: float | None, unit: int = 1) -> float | None:
    return None if value is None else float(value * unit)


def _bytes(mebibytes: int | None) -> int | None:
    return None if mebibytes is None else mebibytes * MIB


def _write_system(page: Exposition, sample: SystemSample) -> None:
    page.family(
        "llamaswap_cpu_util_percent",
        "gauge",
        "Use of one processor core",
        (((("core", str(core)),), percent) for core, percent in enumerate(sample.cpu_util_per_core)),
    )
    for name, meaning, value in (
        ("memory_total", "Main memory in all", sample.mem_total_mb),
        ("memory_used", "Main memory in use", sample.mem_used_mb),
        ("memory_free", "Main memory in use for nothing at all", sample.mem_free_mb),
        ("swap_total", "Swap space in all", sample.swap_total_mb),
        ("swap_used", "Swap space in use", sample.swap_used_mb),
    ):
        page.family(f"llamaswap_{name}_bytes", "gauge", meaning, [((), _bytes(value))])
    load = sample.load_avg or (None, None, None)
    page.family(
        "llamaswap_load_average",
        "gauge",
        "Processes that run or want to, averaged over an interval",
        (
            ((("interval", interval),), value)
            for interval, value in zip(("1m", "5m", "15m"), load, strict=True)
        ),
    )
    page.family(
        "llamaswap_network_bytes_total",
        "counter",
        "Bytes over a network interface since boot",
        (
            ((("interface", interface.name), ("direction", direction)), count)
            for interface in sample.net_io or ()
            for direction, count in (("recv", interface.bytes_recv), ("sent", interface.bytes_sent))
        ),
    )


def _write_gpus(page: Exposition, gpus: list[Sample]) -> None:
    labelled = [(_gpu_labels(gpu), gpu) for gpu in gpus]
    for name, meaning, value in _GPU_FAMILIES:
        samples = ((labels, value(gpu)) for labels, gpu in labelled)
        page.family(f"llamaswap_gpu_{name}", "gauge", meaning, samples)


def _gpu_labels(gpu: Sample) -> Labels:
    labels: Labels = (("id", str(gpu.id)), ("name", gpu.name))
    return (*labels, ("uuid", gpu.uuid)) if gpu.uuid else labels
