"""What a request may ask the demonstration to answer, word for word, so that a test knows what is coming.

The last user message decides.  `say: some text` is answered with that text.  A JSON object may hold

  say          the text of the answer
  fence_bytes  a closed code block of about that many bytes, after the text
  think        reasoning that goes before the answer
  pace         pieces a second, 0 for as fast as possible; without it the demonstration's own pace
  piece        characters in a piece, without it 12
  error        a message that goes out as an error object in the midst of the stream, after the text
  status       an HTTP status that the request is refused with, `error` or `say` being the reason
  log          text for the standard output, where a gateway reads a model's log
  send         instead of all that: "picture" for a PNG file, "bytes" for some of no kind, "nothing"

Every other message is answered with made-up words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PIECE_CHARACTERS = 12
MAX_FENCE_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """An answer that was asked for; `pace` in pieces a second, None for the demonstration's own."""

    say: str = ""
    think: str = ""
    error: str = ""
    status: int = 200
    log: str = ""
    send: str = ""
    pace: float | None = None
    piece: int = PIECE_CHARACTERS

    def pieces(self) -> list[str]:
        return list(_cut(self.say, self.piece))

    def thoughts(self) -> list[str]:
        return list(_cut(self.think, self.piece))


def script_of(body: dict[str, Any]) -> Script | None:
    """The script in a chat, message or response request; None where its last user message holds none."""
    text = _last_user_text(body).strip()
    if text.startswith("say:"):
        return Script(say=text.removeprefix("say:").lstrip())
    if not text.startswith("{"):
        return None
    try:
        asked = json.loads(text)
    except ValueError:
        return None
    return _from_object(asked) if isinstance(asked, dict) else None


def _from_object(asked: dict[str, Any]) -> Script | None:
    known = {"say", "fence_bytes", "think", "pace", "piece", "error", "status", "log", "send"}
    if not known & asked.keys():
        return None
    status, piece, pace = asked.get("status"), asked.get("piece"), asked.get("pace")
    return Script(
        say=str(asked.get("say", "")) + _fence(asked.get("fence_bytes")),
        think=str(asked.get("think", "")),
        error=str(asked.get("error", "")),
        status=status if isinstance(status, int) and 400 <= status <= 599 else 200,
        log=str(asked.get("log", "")),
        send=str(asked.get("send", "")),
        pace=float(pace) if isinstance(pace, int | float) and pace >= 0 else None,
        piece=piece if isinstance(piece, int) and piece > 0 else PIECE_CHARACTERS,
    )


def _cut(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(0, len(text), length))


def _fence(size: object) -> str:
    """A block of numbered Python functions."""
    if not isinstance(size, int) or size <= 0:
        return ""
    lines, held = ["```python\n"], 0
    while held < min(size, MAX_FENCE_BYTES):
        number = len(lines)
        head = f"def track_{number}(engine, wagons={number}):  # block {number}\n"
        lines.append(f'{head}    return f"{{engine}}-{number}"\n\n')
        held += len(lines[-1])
    return "".join([*lines, "```\n"])


def _last_user_text(body: dict[str, Any]) -> str:
    """Of `messages`, or of `input` as the Responses API has it; plain text or the text parts joined."""
    turns = body.get("messages") or body.get("input") or []
    if isinstance(turns, str):
        return turns
    if not isinstance(turns, list):
        return ""
    contents = [
        turn.get("content") for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"
    ]
    last = contents[-1] if contents else ""
    if isinstance(last, list):
        parts = [part.get("text") for part in last if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return last if isinstance(last, str) else ""
