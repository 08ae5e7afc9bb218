"""What tests of the whole program share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def rewrite(tmp_path: Path) -> Callable[[str], None]:
    """Replace the configuration of the running yard; its own first lines, ports among them, stay."""

    def write(configuration: str) -> None:
        file = tmp_path / "config.yaml"
        server = Path(__file__).parent.parent / "scripted_server.py"
        command = f"{sys.executable} {server} --port ${{PORT}} --name ${{MODEL_ID}}"
        own = file.read_text(encoding="utf-8").splitlines()[:2]
        file.write_text("\n".join([*own, configuration.replace("@MODEL@", command)]), encoding="utf-8")

    return write
