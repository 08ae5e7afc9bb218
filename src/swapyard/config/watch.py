"""Noticing that configuration files changed, by looking every few seconds: works on every file system."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swapyard.config.sources import yaml_names

INTERVAL = 2.0
"""Seconds between looks."""

FileState = tuple[int, int]
"""Modification time in nanoseconds and size in bytes, of what a link points to."""

OnError = Callable[[OSError], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look found: the state of each file by name; empty when there is nothing."""

    files: Mapping[str, FileState] = field(default_factory=dict)

    def is_news(self, before: Snapshot) -> bool:
        """Whether there is something now that is not what was there before.  Disappearing is no news."""
        return bool(self.files) and self.files != before.files


Looks = tuple[Snapshot, Snapshot]


def look_at_file(path: Path, on_error: OnError) -> Snapshot:
    """A missing file is an empty snapshot; other errors are told and count as missing."""
    state = _state(path, on_error)
    return Snapshot({path.name: state} if state else {})


def look_at_directory(path: Path, on_error: OnError) -> Snapshot:
    """The YAML files right in the directory, as the loader would pick them."""
    try:
        names = yaml_names(path)
    except FileNotFoundError:
        return Snapshot()
    except OSError as error:
        on_error(error)
        return Snapshot()
    states = ((name, _state(path / name, on_error)) for name in names)
    return Snapshot({name: state for name, state in states if state})


def _state(path: Path, on_error: OnError) -> FileState | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        on_error(error)
        return None
    return status.st_mtime_ns, status.st_size


def _ignore(_: OSError) -> None:
    return None


class FileWatch:
    """Yields whenever the main file or the directory changed since construction.

    The first look is taken at once: make it before loading, so that no change in between is missed.  A change
    made while the consumer is busy is noticed at the next look.  `on_error` hears of files that are there but
    cannot be looked at (such a file counts as missing), in another thread.  After an exception it can be
    asked again, and has missed nothing.
    """

    def __init__(
        self,
        main: Path | None,
        directory: Path | None,
        interval: float = INTERVAL,
        on_error: OnError = _ignore,
    ) -> None:
        self._main = main
        self._directory = directory
        self._interval = interval
        self._on_error = on_error
        self._seen = self._look()

    def __aiter__(self) -> FileWatch:
        return self

    async def __anext__(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            # In a thread, because a look at a network file system may take long.
            now = await asyncio.to_thread(self._look)
            seen, self._seen = self._seen, now
            if any(new.is_news(old) for new, old in zip(now, seen, strict=True)):
                return

    def _look(self) -> Looks:
        return (
            look_at_file(self._main, self._on_error) if self._main else Snapshot(),
            look_at_directory(self._directory, self._on_error) if self._directory else Snapshot(),
        )
