"""The command line: flags as llama-swap takes them, and the commands `check`, `demo` and `monitor`."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

from swapyard.app.options import Address, OptionError, Options, parse_address
from swapyard.errors import ConfigError, SwapyardError

if TYPE_CHECKING:
    import ssl

USAGE = """\
Usage: swapyard -config FILE [options]
       swapyard check -config FILE       show what a configuration means, or what is wrong with it
       swapyard demo                     run two demonstration models behind one address
       swapyard monitor [-stream] [-t 1s]
                                         print a sample of the machine and of its graphics cards,
                                         or one every second (-t: up to an hour) until interrupted

Options, with one dash or two, value after a blank or "=":
  -config FILE          configuration file
  -config-dir DIR       folder of further configuration files (*.yaml, *.yml)
  -listen HOST:PORT     address to listen on (default :8080, with TLS :8443)
  -tls-cert-file FILE   certificate; together with -tls-key-file turns TLS on
  -tls-key-file FILE    its private key
  -watch-config         reload the configuration when a file changes
  -version              print the version and exit
  -help                 print this and exit
"""


class UsageError(Exception):
    """A command line that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Flag:
    """`is_switch` flags take no value unless it is joined with "="."""

    name: str
    is_switch: bool = False


FLAGS = {
    flag.name: flag
    for flag in (
        Flag("config"),
        Flag("config-dir"),
        Flag("listen"),
        Flag("tls-cert-file"),
        Flag("tls-key-file"),
        Flag("watch-config", is_switch=True),
        Flag("version", is_switch=True),
        Flag("help", is_switch=True),
        Flag("h", is_switch=True),
    )
}

MONITOR_FLAGS = {
    flag.name: flag
    for flag in (Flag("stream", is_switch=True), Flag("t"), FLAGS["version"], FLAGS["help"], FLAGS["h"])
}

SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 3600.0
"""Seconds between two samples that `monitor` prints."""

PATIENCE = 5.0
"""Seconds after which threads that are still busy when the program has ended are given up."""

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def parse_flags(arguments: Sequence[str], flags: Mapping[str, Flag] = FLAGS) -> dict[str, str]:
    """Flags up to the first argument that is none; the last of repeated ones wins.  Raises UsageError.

    A switch has the value "true" or "".
    """
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        flag = flags.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if flag.is_switch:
            given[name] = _switch(name, value if equals else "true")
            continue
        if not equals:
            if not rest:
                raise UsageError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        given[name] = value
    return given


def _switch(name: str, value: str) -> str:
    if value in _TRUE:
        return "true"
    if value in _FALSE:
        return ""
    raise UsageError(f'invalid boolean value "{value}" for -{name}: use true or false')


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(words[0], serve) if words else serve
    try:
        flags = MONITOR_FLAGS if command is monitor else FLAGS
        given = parse_flags(words if command is serve else words[1:], flags)
        asks = any(given.get(name) for name in ("version", "help", "h"))
        status = _about(given) if asks else command(given)
    except UsageError as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        status = 2
    except (OptionError, SwapyardError, OSError) as error:
        _complain(str(error))
        status = 1
    except KeyboardInterrupt:
        # Before there is a program that could be stopped properly.
        status = 128 + signal.SIGINT
    sys.exit(status)


def _about(given: Mapping[str, str]) -> int:
    """The version on standard output, or how this is used on standard error."""
    if given.get("version"):
        print(f"version: {package_version('swapyard')} ({_commit()}), built at {_date()}")
    else:
        print(USAGE, end="", file=sys.stderr)
    return 0


def leave_threads_behind(status: int, patience: float = PATIENCE) -> None:
    """Exit in a few seconds, also when a thread hangs for good in a driver or on a network file system."""
    timer = threading.Timer(patience, os._exit, [status])
    timer.daemon = True
    timer.start()


def _complain(message: str) -> None:
    stamp = datetime.now().astimezone().isoformat(timespec="seconds")
    print(f"{stamp} ERROR {message}", file=sys.stderr)


def serve(given: Mapping[str, str]) -> int:
    """The program itself."""
    return _run(_options(given))


def _options(given: Mapping[str, str]) -> Options:
    certificate, key = given.get("tls-cert-file", ""), given.get("tls-key-file", "")
    if bool(certificate) != bool(key):
        raise OptionError("-tls-cert-file and -tls-key-file go together; only one of them was given")
    default = ":8443" if certificate else ":8080"
    return Options(
        config=_path(given, "config"),
        config_dir=_path(given, "config-dir"),
        listen=parse_address(given.get("listen") or default),
        certificate=Path(certificate) if certificate else None,
        key=Path(key) if key else None,
        watch=bool(given.get("watch-config")),
    )


def _path(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]) if given.get(name) else None


def _run(options: Options, ready: Callable[[], None] | None = None) -> int:
    # What is imported and built here stays: looking for garbage in it would take a tenth of the start.
    gc.disable()
    from swapyard.config.load import load
    from swapyard.config.watch import FileWatch
    from swapyard.web.server import bind

    # Watching begins before loading, so that no change in between is missed.
    changes = FileWatch(options.config, options.config_dir) if options.watch else None
    loaded = load(options.config, options.config_dir, os.environ)
    tls = _tls(options)
    try:
        sockets = bind(options.listen.host, options.listen.port)
    except OSError as error:
        raise OptionError(f"cannot listen on {options.listen}: {error.strerror or error}") from error

    # Half of the start is still to come; who connects from here on waits for it and is not refused.
    import uvloop

    from swapyard.api.services import Build
    from swapyard.app.program import Program

    async def run() -> int:
        build = Build(package_version("swapyard"), _commit(), _date())
        status = 1
        try:
            status = await Program(options, loaded, build, tls=tls, changes=changes).run(sockets, ready)
        finally:
            leave_threads_behind(status)
        return status

    return uvloop.run(run())


def _tls(options: Options) -> ssl.SSLContext | None:
    from swapyard.web.server import tls_context

    if options.certificate is None or options.key is None:
        return None
    try:
        return tls_context(str(options.certificate), str(options.key))
    except OSError as error:
        pair = f"certificate {options.certificate} and key {options.key}"
        raise OptionError(f"cannot use {pair}: {error.strerror or error}") from error


def check(given: Mapping[str, str]) -> int:
    """Load a configuration and print what it means; every problem goes to standard error."""
    from swapyard.config.describe import resolved
    from swapyard.config.load import load

    try:
        loaded = load(_path(given, "config"), _path(given, "config-dir"), os.environ)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    # Not every terminal can show every character, but JSON can be written without any.
    plain = sys.stdout.encoding.lower() != "utf-8"
    print(json.dumps(resolved(loaded.config), indent=2, ensure_ascii=plain))
    return 0


def demo(given: Mapping[str, str]) -> int:
    """Serve the demonstration models, by default where only this machine can reach them."""
    from swapyard.demo import configuration

    listen = parse_address(given.get("listen") or "127.0.0.1:8080")
    with tempfile.TemporaryDirectory(prefix="swapyard-demo-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(configuration(), encoding="utf-8")
        options = Options(file, None, listen)
        return _run(options, lambda: print(_invitation(listen), flush=True))


def _invitation(listen: Address) -> str:
    url = f"http://{listen}"
    chat = f"curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d"
    body = '"stream":true,"messages":[{"role":"user","content":"Who are you?"}]'
    return f"""
The yard is open: {url}/ui/   (Ctrl-C closes it)

Talk to the two demonstration models, and watch them change places:
  {chat} '{{"model":"demo-quick",{body}}}'
  {chat} '{{"model":"demo-slow",{body}}}'
  curl {url}/running
"""


def monitor(given: Mapping[str, str]) -> int:
    """Print a sample of the machine and of each graphics card, or samples until interrupted."""
    import asyncio

    from swapyard.config.fields import seconds_of
    from swapyard.observe.printout import print_samples

    every = seconds_of(given.get("t", "1s"))
    if every is None:
        raise UsageError(
            f'invalid duration "{given["t"]}" for -t: use a number with a unit, such as 2s or 1m'
        )
    every = min(max(every, SHORTEST_INTERVAL), LONGEST_INTERVAL)
    with suppress(KeyboardInterrupt):
        asyncio.run(print_samples(every, sys.stdout, once=not given.get("stream")))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter will flush again.  Source: Python documentation, signal, "Note on SIGPIPE".
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


COMMANDS: dict[str, Callable[[Mapping[str, str]], int]] = {"check": check, "demo": demo, "monitor": monitor}


def _commit() -> str:
    return os.environ.get("SWAPYARD_COMMIT", "unknown")


def _date() -> str:
    return os.environ.get("SWAPYARD_BUILD_DATE", "unknown")
