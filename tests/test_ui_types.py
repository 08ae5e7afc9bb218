"""The document that the web UI's types are generated from is the one that the server gives out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def test_the_types_of_the_web_ui_are_made_from_the_current_document() -> None:
    command = [sys.executable, str(ROOT / "tools" / "openapi.py")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    committed = (ROOT / "ui" / "openapi.json").read_text(encoding="utf-8")
    changed = "the control plane's document has changed: run `make types`"
    assert our_own(committed) == our_own(printed), changed


def our_own(document: str) -> dict[str, Any]:
    """Paths and schemas that we wrote; what FastAPI adds of its own differs from version to version."""
    parsed = json.loads(document)
    schemas = parsed["components"]["schemas"]
    return {
        "paths": {path: sorted(operations) for path, operations in parsed["paths"].items()},
        "schemas": {name: schema for name, schema in schemas.items() if "Validation" not in name},
    }
