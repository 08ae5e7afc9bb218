"""Checks that the swapyard of this interpreter is an installed one, compiled as pyproject.toml says."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    modules = 0
    for pattern in patterns:
        files = sorted(SOURCE.glob(pattern))
        if not files:
            sys.exit(f"{pattern}: there is no such module")
        for file in files:
            name = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
            found = Path(importlib.import_module(name).__file__ or "")
            if found.suffix == ".py" or found.is_relative_to(SOURCE):
                sys.exit(f"{name} is not compiled: {found}")
            modules += 1
    print(f"{modules} modules are compiled")


if __name__ == "__main__":
    main()
