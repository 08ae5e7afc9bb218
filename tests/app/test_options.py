"""Addresses to listen on: what is understood, what is refused, and who can reach them."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapyard.app.options import Address, OptionError, Options, parse_address, state_directory


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        (":8080", Address("", 8080), ":8080"),
        ("127.0.0.1:0", Address("127.0.0.1", 0), "127.0.0.1:0"),
        ("[::1]:8080", Address("::1", 8080), "[::1]:8080"),
        ("[::]:65535", Address("::", 65535), "[::]:65535"),
        ("yard.example:80", Address("yard.example", 80), "yard.example:80"),
    ],
)
def test_host_and_port_are_told_apart(text: str, address: Address, shown: str) -> None:
    assert parse_address(text) == address and str(address) == shown


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8080", "missing port"),
        ("", "missing port"),
        ("localhost:", "invalid port"),
        ("localhost:http", "invalid port"),
        (":65536", "invalid port"),
        (":-1", "invalid port"),
        (":٣", "invalid port"),
        (f":{'9' * 5000}", "invalid port"),
        ("::1:8080", "brackets"),
        ("fe80::1", "brackets"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("no.such.host.invalid", False),
    ],
)
def test_only_an_address_that_is_loopback_throughout_keeps_other_machines_out(
    host: str, is_loopback: bool
) -> None:
    assert Address(host, 80).is_loopback is is_loopback


def test_the_scheme_follows_the_certificate() -> None:
    address = Address("", 1)
    assert Options(None, None, address).scheme == "http"
    assert Options(None, None, address, certificate=Path("c"), key=Path("k")).scheme == "https"


def test_state_is_kept_where_the_desktop_specification_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "swapyard"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "swapyard"
