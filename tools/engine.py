#!/usr/bin/env python3
"""Builds the real inference engine of the end-to-end tests: llama-cpp-python in an environment of its own.

    python3 tools/engine.py

The environment lies in `.cache/engine-<version>` at the root of the repository and is made once.  The first
time on a machine llama.cpp is compiled, which takes minutes and a C++ compiler; pip keeps the result.  What
happens is told on standard error; the last line on standard output is the path of the interpreter.  When the
engine cannot be built, one sentence says why and the exit status is 1.  Standard library only.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path

VERSION = "0.3.36"
"""Of llama-cpp-python.  Source: https://pypi.org/project/llama-cpp-python/."""

PACKAGES = (f"llama-cpp-python[server]=={VERSION}", "gguf==0.19.0", "numpy>=2.0,<3")
CACHE = Path(__file__).resolve().parent.parent / ".cache"
HOME = CACHE / f"engine-{VERSION}"
LOG = CACHE / f"engine-{VERSION}.log"
FINISHED = "finished"
BUILD_TIMEOUT = 3600.0
"""Seconds; two slow cores need six minutes."""


class EngineError(Exception):
    """The engine is not there and could not be built; the text is one sentence."""


def interpreter() -> Path:
    return HOME / "bin" / "python"


def build() -> Path:
    """The interpreter of the finished environment, which is made first if need be.  Raises EngineError."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "engine.lock").open("w") as lock:
        # Two test runs at once: the second waits for the first and finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (HOME / FINISHED).exists():
            say(f"the engine is there: {HOME}")
        else:
            _make()
    return interpreter()


def _make() -> None:
    say(f"making an environment in {HOME}")
    shutil.rmtree(HOME, ignore_errors=True)
    LOG.unlink(missing_ok=True)
    try:
        venv.create(HOME, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(f"the engine cannot be built: no environment in {HOME}: {error}") from error
    say(f"installing {', '.join(PACKAGES)}; if llama.cpp has to be compiled, this takes minutes ({LOG})")
    _run(["-m", "pip", "install", "--disable-pip-version-check", *PACKAGES])
    _run(["-c", "import llama_cpp.server.app, gguf, numpy"])
    (HOME / FINISHED).touch()
    say("done")


def _run(arguments: list[str]) -> None:
    with LOG.open("ab") as log:
        try:
            done = subprocess.run(
                [interpreter(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=BUILD_TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"the engine cannot be built: not done within {BUILD_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise EngineError(f"the engine cannot be built: {_reason()} (all of it: {LOG})")


def _reason() -> str:
    text = LOG.read_text(errors="replace")
    if "CMake" in text and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return "there is no C++ compiler"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["pip failed without a word"]
    return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])


def say(text: str) -> None:
    print(f"engine: {text}", file=sys.stderr, flush=True)


def main() -> None:
    try:
        print(build())
    except EngineError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
