"""An obedient model (see tests/hostile/obedient_model.py) whose start depends on its mood.

    python -m tests.chaos.moody_model PORT NAME FOLDER

While the file FOLDER/NAME.hangs exists it does not become ready; when there is a FOLDER/NAME.dies it ends at
once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.hostile import obedient_model

TICK = 0.02


def main(port: int, name: str, folder: Path) -> None:
    if (folder / f"{name}.dies").exists():
        sys.exit(f"{name} is in no mood to start")
    while (folder / f"{name}.hangs").exists():
        time.sleep(TICK)
    obedient_model.serve(port)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
