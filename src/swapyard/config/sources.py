"""Which files make up the configuration, in which order, and their text."""

from __future__ import annotations

import os
from pathlib import Path

from swapyard.errors import ConfigError, Problem

_ENDINGS = (".yml", ".yaml")


def collect(main: Path | None, directory: Path | None) -> list[Path]:
    """The main file, then the YAML files of the directory in byte order of name; raises ConfigError."""
    if main is None and directory is None:
        raise ConfigError([Problem("", 0, "", "at least one of -config or -config-dir must be provided")])
    inside = _inside(directory) if directory is not None else []
    if main is None:
        if not inside:
            raise ConfigError([Problem(str(directory), 0, "", "no configuration sources found")])
        return inside
    for path in inside:
        if os.path.abspath(path) == os.path.abspath(main):
            rule = f"the main file {main} is also present in -config-dir, as {path}"
            raise ConfigError([Problem(str(main), 0, "", rule)])
    return [main, *inside]


def _inside(directory: Path) -> list[Path]:
    try:
        return [directory / name for name in yaml_names(directory)]
    except OSError as error:
        raise ConfigError([Problem(str(directory), 0, "", f"-config-dir: {reason(error)}")]) from error


def yaml_names(directory: Path) -> list[str]:
    """Names of the YAML files right in a directory, hidden ones too, in byte order; links count as files.

    Raises OSError when the directory cannot be read.
    """
    with os.scandir(directory) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.endswith(_ENDINGS) and not entry.is_dir(follow_symlinks=False)
        ]
    return sorted(names, key=os.fsencode)


def read_text(path: Path) -> str | Problem:
    """The text of a file, or why there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return Problem(str(path), 0, "", f"failed to read config: {reason(error)}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(str(path), line, "", f"failed to parse config: not UTF-8 ({error.reason})")


def reason(error: OSError) -> str:
    """What the system says, in the lower case that messages use."""
    return (error.strerror or str(error)).lower()
