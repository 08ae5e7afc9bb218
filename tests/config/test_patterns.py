"""RE2-style expressions."""

from __future__ import annotations

import pytest

from swapyard.config.patterns import compile_pattern
from swapyard.config.schema import UpstreamConfig


@pytest.mark.parametrize(
    "pattern",
    ["(", "a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?P<n>a)(?P=n)", "a*+", "(?>a)", r"\pL", "[a"],
)
def test_what_re2_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"\.js$", "/a.js", "/a.js\n"),
        (r"\.js\z", "/a.js", "/a.jsx"),
        (r"[[:digit:]]+/[]x$]", "/12/$", "/ab/$"),
        (r"(?i)\.JS$", "/a.js", "/a.css"),
        (r"(?<name>a+)b", "aab", "ab"[::-1]),
        (r"^\d$", "5", "٥"),
        (r"[(?=]", "/=", "/x"),
        (r"[a&&b]c", "&c", "xc"),
        (r"\x{41}", "A", "B"),
    ],
)
def test_what_re2_takes_means_the_same(pattern: str, matching: str, other: str) -> None:
    assert compile_pattern(pattern).search(matching)
    assert not compile_pattern(pattern).search(other)


def test_by_default_pages_assets_do_not_start_a_model() -> None:
    upstream = UpstreamConfig()
    assert upstream.ignores("/static/app.js")
    assert not upstream.ignores("/v1/chat/completions")
