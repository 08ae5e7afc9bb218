"""Compiles the hot modules into a wheel with mypyc; which they are stands in pyproject.toml.

A wheel is pure Python, and does the same, where nothing can be compiled or SWAPYARD_PURE=1 is set.  An
editable installation always is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILERS = ["mypy==2.4.*", "setuptools>=77"]


class CompileHook(BuildHookInterface):
    """`modules` of its configuration are patterns of files below `src`."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        # The compiler needs the types of everything that is imported.
        return [] if why_pure() else [*COMPILERS, *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if version == "editable":
            return
        if reason := why_pure():
            self.app.display_warning(f"swapyard: nothing is compiled into this wheel: {reason}")
            return
        source = Path(self.root, "src")
        modules = sorted({path for pattern in self.config["modules"] for path in source.glob(pattern)})
        self._folder = tempfile.TemporaryDirectory(prefix="swapyard-build-")
        built = compiled(source, modules, Path(self._folder.name))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update({str(path): inside for path, inside in built.items()})
        self.app.display_info(f"swapyard: {len(modules)} modules are compiled into this wheel")

    def finalize(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def why_pure() -> str:
    """Why nothing is to be compiled; "" when something is."""
    if os.environ.get("SWAPYARD_PURE", "") not in ("", "0"):
        return "SWAPYARD_PURE is set"
    if sys.implementation.name != "cpython":
        return "this Python is not CPython"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the headers of Python are missing (Debian: apt-get install python3-dev)"
    return ""


def compiled(source: Path, modules: list[Path], folder: Path) -> dict[Path, str]:
    """The libraries of these modules below `source`, each with its place in the wheel.

    Files are written in `folder` alone.  SystemExit when a module cannot be compiled.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution

    before = Path.cwd()
    # Tracebacks name files as they are named here.
    os.chdir(source)
    try:
        extensions = mypycify(
            [
                "--config-file=",
                f"--cache-dir={folder / 'cache'}",
                "--ignore-missing-imports",
                *(str(module.relative_to(source)) for module in modules),
            ],
            debug_level="0",
            group_name="swapyard",
            target_dir=str(folder / "c"),
        )
        for extension in extensions:
            # What a C compiler warns of is no concern of whoever installs this.
            extension.extra_compile_args.append("-Wno-error")
        command = Distribution({"name": "swapyard", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
    libraries = folder / "lib"
    return {path: str(path.relative_to(libraries)) for path in libraries.rglob("*") if path.is_file()}
