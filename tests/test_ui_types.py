"""The document that the web UI's types are generated from is the one that the server gives out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_types_of_the_web_ui_are_made_from_the_current_document() -> None:
    command = [sys.executable, str(ROOT / "tools" / "openapi.py")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    committed = (ROOT / "ui" / "openapi.json").read_text(encoding="utf-8")
    assert committed == printed, "the control plane's document has changed: run `make types`"
