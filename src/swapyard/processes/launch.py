"""What exactly is executed for a model, and whether it could be executed at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from swapyard.processes.adopted import MARK, RUN
from swapyard.types import ModelId

Split = Callable[[str], list[str]]
"""Command line → arguments; raises ValueError with the reason when there is nothing to execute."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """All that supervision needs to know about one model.

    `command` is the text of `cmd`, or its arguments.  `stop_command` is the text of `cmdStop`, "" for
    SIGTERM.  `env` entries are `NAME=value`.  `check_endpoint` "none" means no probe.  Timeouts in seconds.
    """

    model: ModelId
    command: tuple[str, ...] | str
    stop_command: str
    env: tuple[str, ...]
    proxy: str
    check_endpoint: str
    health_check_timeout: float
    connect_timeout: float


@dataclass(frozen=True, slots=True)
class Launch:
    """A program ready to be executed: `executable` is a path, `arguments` begins with its name as written."""

    executable: str
    arguments: tuple[str, ...]
    env: dict[str, str]


def prepare(spec: ProcessSpec, split: Split) -> Launch:
    """Resolve the command of `spec`; nothing is started and only file status is read.

    Raises ValueError with the reason in words when it cannot be started.
    """
    check_proxy(spec.proxy)
    arguments = split(spec.command) if isinstance(spec.command, str) else list(spec.command)
    if not arguments:
        raise ValueError("empty command")
    return Launch(find_executable(arguments[0]), tuple(arguments), environment(spec.env))


def prepare_stop(spec: ProcessSpec, pid: int, split: Split) -> Launch:
    """Resolve the stop command for the child `pid`; raises ValueError with the reason.

    UnusableTextError when the text is no command at all, any other ValueError when its program is missing.
    """
    try:
        arguments = split(spec.stop_command.replace("${PID}", str(pid)))
    except ValueError as error:
        raise UnusableTextError(str(error)) from error
    if not arguments:
        raise UnusableTextError("empty command")
    return Launch(find_executable(arguments[0]), tuple(arguments), environment(spec.env))


class UnusableTextError(ValueError):
    """The stop command is not a command at all; the default way of stopping is used instead."""


def check_proxy(proxy: str) -> None:
    """Raise ValueError unless requests could be sent to this base URL."""
    if not proxy:
        raise ValueError("upstream proxy missing")
    url = urlsplit(proxy)
    try:
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no port
        usable = False
    if not usable:
        raise ValueError(f"upstream proxy is not an http(s) address: {proxy!r}")


def find_executable(name: str) -> str:
    """Look `name` up in our own search path; raises ValueError with the reason.

    The PATH of the model's `env` does not count for the program itself, as in Go's exec.Command.
    """
    found = shutil.which(name)
    if found is not None:
        return found
    if os.path.dirname(name) and os.path.exists(name):
        kind = "is a directory" if os.path.isdir(name) else "no permission to execute it"
        raise ValueError(f"not executable: {name} ({kind})")
    raise ValueError(f"executable not found: {name}")


def environment(entries: tuple[str, ...]) -> dict[str, str]:
    """Our own environment with `entries` added, which win; an entry without `=` is left out.

    One more entry marks all that this run starts, see `adopted.MARK`.
    """
    env = {**os.environ, MARK: RUN}
    for entry in entries:
        name, separator, value = entry.partition("=")
        if name and separator:
            env[name] = value
    return env
