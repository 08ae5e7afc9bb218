"""The snapshot of the machine in its published shape (schema version 1), and the time it may take."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from swapyard.observe.hardware import host
from swapyard.observe.hardware.accelerators import Accelerator, merged
from swapyard.observe.hardware.probes import probe
from swapyard.observe.hardware.tools import BUDGET, Tools
from swapyard.observe.log_times import rfc3339

_LATE = 1.0
"""Seconds beyond their budget that tools may need to end, and what follows them."""

_log = logging.getLogger(__name__)


Probe = Callable[[Path, int, Tools], Iterable[Accelerator]]


def detect(
    version: str, *, budget: float = BUDGET, probe: Probe = probe, tools: Tools | None = None
) -> dict[str, Any] | None:
    """Look at the machine; blocking, for a worker thread.

    Facts that cannot be found are null; tools run for `budget` seconds at most, or until `tools` are stopped.
    None, with a warning in the log, when the memory cannot be read or something else takes longer than that.
    `version` is that of this program.
    """
    running = tools or Tools(budget)
    answers: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(snapshot(version, probe=probe, tools=running))
        except Exception as error:
            answers.put(error)

    # A thread that may be left behind: a driver that hangs must not hold up the end of the program.
    threading.Thread(target=look, name="hardware", daemon=True).start()
    try:
        answer = answers.get(timeout=budget + _LATE)
    except queue.Empty:
        _log.warning("hardware detection took longer than %g s", budget)
        return None
    if isinstance(answer, Exception):
        _log.warning("hardware detection failed: %s", answer)
        return None
    return answer


def snapshot(
    version: str, root: Path = Path("/"), probe: Probe = probe, tools: Tools | None = None
) -> dict[str, Any]:
    """The facts; raises OSError or ValueError when the size of the memory is not among them."""
    capacity_bytes = host.memory_bytes(root)
    return {
        "schema_version": 1,
        "captured_at": rfc3339(datetime.now(UTC)),
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "swapyard", "version": version},
        },
        "architecture": host.architecture(),
        "operating_system": host.operating_system(root),
        "environment": host.environment(root),
        "cpu": host.cpu(root),
        "memory": {"capacity_bytes": capacity_bytes},
        "accelerators": [
            _accelerator(index, found)
            for index, found in enumerate(merged(probe(root, capacity_bytes, tools or Tools())))
        ],
    }


def _accelerator(index: int, found: Accelerator) -> dict[str, Any]:
    driver = {"name": found.driver_name, "version": found.driver_version}
    return {
        "index": index,
        "kind": "gpu",
        "vendor": found.vendor,
        "model": found.model,
        "architecture": found.architecture,
        "memory": {"kind": found.memory_kind, "capacity_bytes": found.capacity_bytes},
        "driver": driver if any(driver.values()) else None,
        "power_limit_watts": found.power_limit_watts,
    }
