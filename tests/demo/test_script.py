"""What a request may ask the demonstration to say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swapyard.demo.script import Script, script_of


def asking(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def scripted(**members: Any) -> Script:
    script = script_of(asking(json.dumps(members)))
    assert script is not None
    return script


@pytest.mark.parametrize("text", ["hello", "", "{not json", "[1]", '{"other": 1}', '"say"'])
def test_ordinary_messages_hold_no_script(text: str) -> None:
    assert script_of(asking(text)) is None


@pytest.mark.parametrize(
    "body",
    [
        asking("say: two words"),
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "say: two words"}, {}]}]},
        {"messages": [{"role": "user", "content": "say: old"}, *asking("say: two words")["messages"]]},
        {"input": "say: two words"},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "say: two words"}]}]},
    ],
)
def test_the_last_user_message_decides_in_every_protocol(body: dict[str, Any]) -> None:
    script = script_of(body)
    assert script is not None
    assert script.say == "two words"


def test_the_pieces_are_the_text_and_have_the_length_that_was_asked_for() -> None:
    script = scripted(say="abcdefg", piece=3)
    assert script.pieces() == ["abc", "def", "g"]


def test_a_fence_is_closed_and_as_long_as_asked() -> None:
    text = scripted(fence_bytes=200_000).say
    assert text.startswith("```python\n")
    assert text.endswith("\n```\n")
    assert 200_000 <= len(text) < 200_200
    assert text.count("```") == 2


@pytest.mark.parametrize(("asked", "status"), [(502, 502), (404, 404), (200, 200), (99, 200), ("x", 200)])
def test_only_failures_may_be_asked_for_as_status(asked: object, status: int) -> None:
    assert scripted(status=asked).status == status
