"""Clients and operators who ask for nonsense get a clear answer, and the log has a line about it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

GOOD = """
models:
  good: {cmd: "${server}.well_behaved ${PORT}"}
"""

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def swapyard(shared_yard: StartYard) -> Yard:
    return shared_yard(GOOD)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param('{"model": "nobody"}', "no router for requested model", id="unknown-model"),
        pytest.param('{"messages": []}', "no model id could be identified", id="no-model"),
        pytest.param('{"model": ""}', "no model id could be identified", id="empty-model"),
        pytest.param('{"model', "no model id could be identified", id="invalid-json"),
        pytest.param("good morning", "no model id could be identified", id="not-json-at-all"),
        pytest.param("", "no model id could be identified", id="no-body"),
    ],
)
def test_a_request_that_names_no_model_we_have_is_404(swapyard: Yard, body: str, message: str) -> None:
    lines = swapyard.log().count('"POST /v1/chat/completions HTTP/1.1" 404')
    reply = swapyard.request("POST", "/v1/chat/completions", body, JSON)
    assert (reply.status, reply.code) == (404, "not_found")
    assert message in reply.message
    swapyard.log_says('"POST /v1/chat/completions HTTP/1.1" 404', lines + 1)
    assert swapyard.states() == {}


@pytest.mark.parametrize("model", ["7", "true", '["m"]', '"' + "m" * 513 + '"'])
def test_a_model_that_is_no_name_is_400_and_leaves_no_row_issue_11(swapyard: Yard, model: str) -> None:
    rows = len(swapyard.activity())
    reply = swapyard.request("POST", "/v1/chat/completions", f'{{"model": {model}}}', JSON)
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert len(reply.message) < 100 and len(swapyard.activity()) == rows


def test_an_unknown_path_is_404_and_a_wrong_method_405(swapyard: Yard) -> None:
    assert swapyard.get("/v1/nothing").status == 404
    wrong = swapyard.get("/v1/chat/completions")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")


def test_bytes_that_are_not_http_are_400_and_the_end_of_that_connection_only(swapyard: Yard) -> None:
    with swapyard.connect() as client:
        client.sendall(b"\x16\x03\x01 is this TLS?\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert swapyard.get("/health").text == "OK"


def test_an_address_that_is_taken_is_named_and_ends_the_command(yard: StartYard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        swapyard = yard(GOOD, "-listen", f"127.0.0.1:{port}", ready=False)
        assert swapyard.exit_status() == 1
    assert f"cannot listen on 127.0.0.1:{port}: " in swapyard.log()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        pytest.param("models: {a: {cmd: x, ttl: -5}}\n", "models.a.ttl", id="wrong-value"),
        pytest.param("models: [\n", "config.yaml", id="not-yaml"),
        pytest.param("models: {a: {cmd: 'x ${nope}'}}\n", "nope", id="unknown-macro"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained_with_its_line(
    yard: StartYard, config: str, problem: str
) -> None:
    swapyard = yard(config, ready=False)
    assert swapyard.exit_status() == 1
    log = swapyard.log()
    assert f"{swapyard.config_file.name}:" in log
    assert problem in log
    assert "Traceback" not in log


def test_a_configuration_that_is_not_there_is_named(yard: StartYard, tmp_path: Path) -> None:
    swapyard = yard(GOOD, "-config", str(tmp_path / "missing.yaml"), ready=False)
    assert swapyard.exit_status() == 1
    assert "missing.yaml" in swapyard.log()
