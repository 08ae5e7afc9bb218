"""The observers of one program, and what a changed configuration means for them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from swapyard.bus import Bus
from swapyard.config.names import Names
from swapyard.config.schema import Config
from swapyard.dispatcher import Dispatcher
from swapyard.observe import log_lines
from swapyard.observe.activity import CLIENT_LEFT, ActivityRow
from swapyard.observe.captures import Captures
from swapyard.observe.logs import Logs
from swapyard.observe.performance import Monitor
from swapyard.observe.prometheus import Metrics
from swapyard.observe.recorder import Recorder
from swapyard.observe.schema import StoreError
from swapyard.observe.store import ActivityStore, Retention
from swapyard.observe.yard import Yard
from swapyard.proxy.visit import client_address
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep
from swapyard.web.messages import Reply, Request

MIB = 1024 * 1024
DAY = 86_400.0

UNKNOWN_MODEL = "(unknown)"
"""The label of requests for names that the configuration does not have: clients must not make up series."""


class Observers:
    """Everything that watches.  Raises StoreError when the activity log cannot be opened."""

    def __init__(
        self,
        config: Config,
        bus: Bus,
        logs: Logs,
        dispatcher: Dispatcher,
        names: Callable[[], Names],
        upkeep: Upkeep,
    ) -> None:
        self._dispatcher = dispatcher
        self._names = names
        self.captures = Captures(max(0, config.capture_buffer) * MIB, upkeep)
        self.recorder = Recorder(
            open_store(config),
            self.captures,
            publish=bus.publish,
            watched=bus.is_watched,
            recorded=self._count,
            redact=config.capture_redact,
            session_headers=config.ui.activity.session_id,
            upkeep=upkeep,
        )
        performance = config.performance
        self.monitor = Monitor(
            performance.every, performance.disabled, logs.log, pids=self._pids, upkeep=upkeep
        )
        self.yard = Yard()
        self.metrics = Metrics(
            in_flight=lambda: self._each(dispatcher.scheduler.in_flight),
            waiting=lambda: self._each(dispatcher.scheduler.waiting),
            memory=self.monitor.memory,
            system=self.monitor.system,
            gpus=self.monitor.gpus,
            lost=self.recorder.lost,
            upkeep=upkeep,
            tasks=lambda: len(asyncio.all_tasks()),
        )

    async def take_over(self, config: Config, store: ActivityStore | None) -> None:
        """Go on under a new configuration, with another store if one is given."""
        self.captures.set_budget(max(0, config.capture_buffer) * MIB)
        self.recorder.look_at(redact=config.capture_redact, session_headers=config.ui.activity.session_id)
        self.monitor.configure(config.performance.every, config.performance.disabled)
        self.yard.keep_models(config.models)
        if store is not None:
            (await self.recorder.use_store(store)).close()
        else:
            retention = _retention(config)
            rows = config.metrics_max_in_memory
            self.recorder.store.set_retention(rows_in_memory=rows, retention=retention)

    async def close(self) -> None:
        await self.recorder.close()
        self.recorder.store.close()

    def _each(self, count: Callable[[ModelId], int]) -> Mapping[ModelId, int]:
        return {model: count(model) for model in self._names().models}

    def _pids(self) -> Mapping[ModelId, int]:
        statuses = self._dispatcher.fleet.statuses()
        return {status.model: status.pid for status in statuses if status.pid is not None}

    def _count(self, rows: Sequence[ActivityRow]) -> None:
        names = self._names()
        for row in rows:
            known = names.resolve(row.model) is not None
            self.metrics.observe(
                row.model if known else UNKNOWN_MODEL,
                row.resp_status_code,
                row.duration_ms / 1000,
                queue=_seconds(row.queue_ms),
                first_token=_seconds(row.first_token_ms),
                input_tokens=row.tokens.input,
                output_tokens=row.tokens.output,
                cached_tokens=row.tokens.cached,
                draft_tokens=row.tokens.drafted,
                draft_accepted_tokens=row.tokens.accepted,
            )


def store_path(config: Config) -> Path | None:
    return Path(config.store.path) if config.store is not None and config.store.path.strip() else None


def open_store(config: Config) -> ActivityStore:
    """The activity log that the configuration asks for.  Raises StoreError with the path and the reason."""
    try:
        return ActivityStore.open(
            store_path(config),
            rows_in_memory=config.metrics_max_in_memory,
            retention=_retention(config),
        )
    except sqlite3.Error as error:
        raise StoreError(f"{store_path(config)}: {error}") from error


def _retention(config: Config) -> Retention | None:
    if config.store is None:
        return None
    days = config.store.max_age_days
    return Retention(rows=config.store.max_rows or None, age=days * DAY if days else None)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def access_line(request: Request, reply: Reply, seconds: float) -> str:
    """One line for a request that has ended: which recorded one it is, and whether its client was gone."""
    line = log_lines.access_line(
        client_address(request),
        request.method,
        request.path,
        f"HTTP/{request.http_version}",
        reply.status or (CLIENT_LEFT if request.client_disconnected else 0),
        reply.body_bytes,
        request.fields.get(b"user-agent", b"").decode("latin-1"),
        seconds,
    )
    if request.id:
        line += f" {request.id}"
    return f"{line} client disconnected" if request.client_disconnected else line
