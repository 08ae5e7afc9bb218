"""The model list: which records there are, in which order, and what each says."""

from __future__ import annotations

from typing import Any

import pytest

from swapyard.api import listing
from swapyard.config.load import load_text
from swapyard.config.names import Names
from swapyard.types import ModelId, State

CONFIG = """
models:
  qwen-coder:
    cmd: "x ${PORT}"
    name: " Coder "
    description: for code
    aliases: [coder, " ", " spaced "]
    metadata: {team: infra, type: overruled, capabilities: dropped}
    capabilities: {in: [text], out: [text], tools: true, context: 32768}
  plain: {cmd: "x ${PORT}", metadata: {capabilities: kept}}
  hidden: {cmd: "x ${PORT}", unlisted: true, aliases: [ghost]}
  Z: {cmd: "x ${PORT}"}
peers: {cloud: {proxy: "http://127.0.0.1:1", models: [big/moe, big/moe, plain]}}
selectors:
  pool: {strategy: spillover, targets: [qwen-coder, cloud/big/moe], settings: {spillover: 2}, name: Pool}
  pinned: {strategy: pin, targets: [plain, qwen-coder], metadata: {note: x}}
  unseen: {strategy: pin, targets: [plain], unlisted: true}
routing: {router: {settings: {groups: {g: {swap: false, members: [qwen-coder, plain]}}}}}
profiles:
  day: {pins: {fresh: plain, plain: hidden, ghost: plain, pool: plain, off: ~, big/moe: plain}}
"""


def records(
    text: str = CONFIG, profile: str | None = None, states: dict[str, State] | None = None
) -> dict[str, dict[str, Any]]:
    config = load_text(text, {}).config
    known = states or {}

    def state_of(model: ModelId) -> State:
        return known.get(model, State.STOPPED)

    rows = listing.records(config, Names(config), profile, state_of, created=7)
    assert all(row["created"] == 7 and row["owned_by"] == "llama-swap" for row in rows)
    return {row["id"]: row for row in rows}


def test_records_stand_in_byte_order_and_unlisted_ones_do_not() -> None:
    assert list(records()) == ["Z", "cloud/big/moe", "cloud/plain", "pinned", "plain", "pool", "qwen-coder"]


def test_a_model_tells_what_is_configured() -> None:
    assert records()["qwen-coder"] == {
        "id": "qwen-coder",
        "object": "model",
        "created": 7,
        "owned_by": "llama-swap",
        "name": "Coder",
        "description": "for code",
        "architecture": {
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "modality": "text->text",
        },
        "capabilities": {"function_calling": True},
        "supported_parameters": ["tools", "tool_choice"],
        "context_length": 32768,
        "meta": {
            "llamaswap": {"team": "infra", "type": "model", "aliases": ["coder", " ", " spaced "]},
            "n_ctx": 32768,
        },
        "status": {"value": "unloaded"},
    }


def test_members_that_say_nothing_are_absent() -> None:
    row = records()["Z"]
    assert set(row) == {"id", "object", "created", "owned_by", "meta", "status"}
    assert row["meta"] == {"llamaswap": {"type": "model"}}
    assert records()["plain"]["meta"]["llamaswap"] == {"type": "model", "capabilities": "kept"}


def test_aliases_have_records_only_where_that_is_asked_for() -> None:
    rows = records("includeAliasesInList: true\n" + CONFIG)
    assert rows["coder"]["meta"]["llamaswap"]["type"] == "alias"
    assert rows["coder"]["meta"]["llamaswap"]["modelID"] == "qwen-coder"
    assert rows["coder"]["context_length"] == 32768 and "spaced" in rows and "ghost" not in rows


def test_peers_models_go_by_their_full_names() -> None:
    row = records()["cloud/big/moe"]
    assert (row["name"], row["status"]) == ("cloud: big/moe", {"value": "unloaded"})
    assert row["meta"] == {"llamaswap": {"type": "peer", "peerID": "cloud"}} and "description" not in row


def test_selectors_tell_their_strategy() -> None:
    assert records()["pool"]["meta"]["llamaswap"] == {
        "type": "selector",
        "strategy": "spillover",
        "targets": ["qwen-coder", "cloud/big/moe"],
        "spillover": 2,
    }
    assert records()["pinned"]["meta"]["llamaswap"] == {
        "note": "x",
        "type": "selector",
        "strategy": "pin",
        "targets": ["plain", "qwen-coder"],
    }


def test_pins_of_the_active_profile_are_listed_when_their_name_is_new() -> None:
    fresh = set(records(profile="day")) - set(records())
    assert fresh == {"fresh"}
    assert records(profile="day")["fresh"]["meta"] == {"llamaswap": {"type": "profile"}}
    assert set(records(profile="gone")) == set(records())


@pytest.mark.parametrize(
    ("state", "model", "selector"),
    [
        (State.STOPPED, "unloaded", "unloaded"),
        (State.STARTING, "loaded", "loaded"),
        (State.READY, "loaded", "loaded"),
        (State.STOPPING, "loaded", "unloaded"),
        (State.SHUTDOWN, "unloaded", "unloaded"),
    ],
)
def test_the_status_follows_the_process(state: State, model: str, selector: str) -> None:
    rows = records(states={"qwen-coder": state})
    assert rows["qwen-coder"]["status"]["value"] == model
    assert rows["pool"]["status"]["value"] == selector
    # Of a pin only the first target counts.
    assert rows["pinned"]["status"]["value"] == "unloaded"


@pytest.mark.parametrize(
    ("configured", "shown"),
    [
        ("{in: [image]}", {"vision": True}),
        ("{in: [audio], out: [text]}", {"audio_transcriptions": True}),
        ("{in: [text], out: [audio]}", {"audio_speech": True}),
        (
            "{in: [text, image], out: [image]}",
            {"vision": True, "image_generation": True, "image_to_image": True},
        ),
        ("{tools: true}", {"function_calling": True}),
        ("{reranker: true}", {"reranker": True}),
        ("{context: 5}", None),
        ("{in: [text]}", None),
    ],
)
def test_abilities_follow_from_the_configured_capabilities(
    configured: str, shown: dict[str, bool] | None
) -> None:
    row = records(f'models: {{m: {{cmd: "x ${{PORT}}", capabilities: {configured}}}}}')["m"]
    assert row.get("capabilities") == shown
