"""Server-sent events as bytes."""

from __future__ import annotations

import json

from swapyard.web import sse


def test_an_event_is_one_line_of_data_whatever_the_text_holds() -> None:
    event = sse.data({"text": "two\nlines\r\u2028 and é"})
    assert event.startswith(b"data: {") and event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2 and b"\r" not in event
    assert json.loads(event[len(b"data: ") :]) == {"text": "two\nlines\r\u2028 and é"}


def test_a_message_is_an_envelope_whose_data_is_json_in_a_string() -> None:
    message = sse.message("activity", {"id": 413})
    assert message == b'event:message\ndata:{"type":"activity","data":"{\\"id\\":413}"}\n\n'
