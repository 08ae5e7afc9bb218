from __future__ import annotations

import logging
import unicodedata

import pytest

from swapyard.observe.log_lines import (
    access_line,
    duration_text,
    escaped,
    is_access_logged,
    level_number,
    line,
)


def test_a_line_has_its_level_in_brackets() -> None:
    assert line(logging.INFO, "hello") == b"[INFO] hello\n"


def test_a_line_puts_time_and_prefix_before_the_level() -> None:
    """Vector B8."""
    written = line(logging.ERROR, "multi\nline", time="18:25", prefix="p")
    assert written == b"18:25 [p] [ERROR] multi\nline\n"


def test_a_line_with_text_that_cannot_be_encoded_is_written_all_the_same() -> None:
    assert line(logging.WARNING, "\udc80") == b"[WARN] \\udc80\n"


@pytest.mark.parametrize(
    ("name", "level"),
    [("debug", 10), (" WARN ", 30), ("Error", 40), ("info", 20), ("loud", 20), ("", 20)],
)
def test_an_unknown_level_means_info(name: str, level: int) -> None:
    assert level_number(name) == level


def test_the_access_line_tells_who_asked_what_and_how_it_ended() -> None:
    text = access_line("127.0.0.1", "GET", "/api/hardware", "HTTP/1.1", 200, 1004, "curl/7.88.1", 0.000325676)
    assert text == 'Request 127.0.0.1 "GET /api/hardware HTTP/1.1" 200 1004 "curl/7.88.1" 325.676µs'


def test_a_client_cannot_forge_a_line_of_the_access_log() -> None:
    text = access_line(
        "::1\r", "GET", '/a\n[INFO] "forged\x85\x1b[2J', "HTTP/1.1", 404, 0, 'x" 200\u2028\u202e\\', 1
    )
    assert text == (
        'Request ::1\\x0d "GET /a\\x0a[INFO] \\"forged\\x85\\x1b[2J HTTP/1.1" 404 0 '
        '"x\\" 200\\u2028\\u202e\\\\" 1s'
    )


def test_what_a_client_wrote_is_shown_up_to_a_length() -> None:
    text = access_line("::1", "GET", "/" + "a" * 5000, "HTTP/1.1", 404, 0, "b" * 2048, 1)
    assert text == f'Request ::1 "GET /{"a" * 1022}… HTTP/1.1" 404 0 "{"b" * 511}…" 1s'


def test_every_character_that_could_break_a_line_or_a_field_is_escaped() -> None:
    breaks = {
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp", "Cs")
    }
    turns = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    for char in sorted(breaks | turns | set('"\\')):
        assert escaped(f"a{char}b") != f"a{char}b", hex(ord(char))


def test_text_in_any_script_is_not_escaped() -> None:
    assert escaped("/модель/模型/é 🙂") == "/модель/模型/é 🙂"


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/wol-health", False),
        ("/api/performance", False),
        ("/metrics", False),
        ("/metricsx", False),
        ("/api/metrics/stats", True),
        ("/health", True),
    ],
)
def test_polled_paths_stay_out_of_the_access_log(path: str, logged: bool) -> None:
    assert is_access_logged(path) is logged


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-0.1, "0s"),
        (250e-9, "250ns"),
        (0.000325676, "325.676µs"),
        (0.0123, "12.3ms"),
        (0.9999999, "1s"),
        (1.204, "1.204s"),
        (59.9999, "1m0s"),
        (90, "1m30s"),
        (3661.5, "1h1m1.5s"),
    ],
)
def test_durations_read_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_what_a_client_wrote_is_cut_issue_11() -> None:
    long = "w" * 20_000
    line = access_line(long, "GET", "/" + long, "HTTP/1.1", 404, 0, long, 0.001)
    client, request, agent = "w" * 127 + "…", "/" + "w" * 1022 + "…", "w" * 511 + "…"
    assert line == f'Request {client} "GET {request} HTTP/1.1" 404 0 "{agent}" 1ms'
