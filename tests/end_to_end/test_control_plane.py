"""Whatever is asked of the control plane: no server error, and no answer that its document does not allow.

Schemathesis makes the requests from the OpenAPI document, fitting ones and unfitting ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

DOCUMENT = Path(__file__).resolve().parents[2] / "ui" / "openapi.json"
"""Kept equal to what the program serves by tests/test_ui_types.py."""

ENDLESS = {"/api/events", "/logs/stream", "/logs/stream/{name}"}

CONFIG = """
captureBuffer: 1
models:
  good: {cmd: "${server}.quick ${PORT}", aliases: [better], ttl: 600}
  other: {cmd: "${server}.quick ${PORT}"}
peers: {cloud: {proxy: "http://127.0.0.1:1", models: [far]}}
selectors: {pool: {strategy: pin, targets: [good]}}
profiles: {night: {pins: {x: good}}}
"""

EXAMPLES = 20
"""For each operation and kind; the whole takes about half a minute."""

UNAVAILABLE = {"/api/performance", "/api/ready"}
"""May answer 503, in a documented shape."""


def operations() -> dict[str, APIOperation[Any, Any, Any, Any]]:
    document = schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text()))
    found = [result.ok() for result in document.get_all_operations() if isinstance(result, Ok)]
    return {operation.label: operation for operation in found if operation.path not in ENDLESS}


OPERATIONS = operations()

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def swapyard(shared_yard: Callable[..., Yard]) -> Yard:
    started = shared_yard(CONFIG)
    assert started.chat("good").status == 200
    return started


def asked() -> Iterator[tuple[str, GenerationMode]]:
    """Nothing is unfitting for an operation that reads neither a query nor a body."""
    for label, operation in OPERATIONS.items():
        yield label, GenerationMode.POSITIVE
        if operation.query or operation.body:
            yield label, GenerationMode.NEGATIVE


@pytest.mark.parametrize(("label", "mode"), list(asked()))
def test_an_operation_answers_as_the_document_says(label: str, mode: GenerationMode, swapyard: Yard) -> None:
    operation = OPERATIONS[label]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=swapyard.url, timeout=20)
        assert response.status_code < 500 or (operation.path in UNAVAILABLE and response.status_code == 503)
        case.validate_response(response, checks=CHECKS)

    ask()
