"""A wall clock that goes wrong, for one program and its children."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")
NOT_HERE = "clock jumps: there is no C compiler for what makes them"


class WallClock:
    """Needs a C compiler; `is_here` says whether there is one."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "wall_clock.so"
        self._file = folder / "wall_clock"
        self.is_here = _compile(self._library)
        self.jump(0)

    @property
    def environment(self) -> dict[str, str]:
        """For the program whose clock it is."""
        if not self.is_here:
            return {}
        return {"LD_PRELOAD": str(self._library), "CHAOS_WALL_CLOCK": str(self._file)}

    def jump(self, seconds: int) -> None:
        """From now on it is wrong by this much."""
        number = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(number, struct.pack("=q", seconds), 0)
        finally:
            os.close(number)


def _compile(library: Path) -> bool:
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    command = [compiler, "-O1", "-fPIC", "-shared", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return True
