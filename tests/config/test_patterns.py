"""Operators' expressions, searched by RE2."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swapyard.config.patterns import LONGEST_TEXT_BYTES, Pattern
from swapyard.config.schema import UpstreamConfig

Problems = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "pattern",
    "( a(?=b) a(?!b) (?<=a)b (?<!a)b (a)\\1 (?P<n>a)(?P=n) a*+ a++ (?>a) a\\Z [a x{1001} (?(1)a) "
    "\\p{Nonsense} (?L)a \\pL{1000}".split(),
)
def test_what_re2_refuses_is_refused(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"^(?!b')"):
        Pattern(pattern)
    # The engine has a log of its own, which is not ours.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"\.js$", "/a.js", "/a.js\n"),
        (r"\.js\z", "/a.js", "/a.jsx"),
        (r"[[:digit:]]+/[]x$]", "/12/$", "/ab/$"),
        (r"(?i)\.JS$", "/a.js", "/a.css"),
        (r"(?<name>a+)b", "aab", "ab"[::-1]),
        (r"(?P<name>a+)b", "aab", "ab"[::-1]),
        (r"(?im-s:^b.c)", "a\nBxc", "a\nb\nc"),
        (r"(?U)a+\.b", "aa.b", "aab"),
        (r"^\d$", "5", "٥"),
        (r"[(?=]", "/=", "/x"),
        (r"[a&&b]c", "&c", "xc"),
        (r"\x{41}", "A", "B"),
        (r"^\pL+$", "größe", "5"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        # One byte of a letter that has two: a match may end within a letter.
        (r"^/\C$", "/a", "/ö"),
        (r"^/\C", "/ö", "/"),
    ],
)
def test_what_re2_takes_means_the_same(pattern: str, matching: str, other: str) -> None:
    assert Pattern(pattern).is_in(matching)
    assert not Pattern(pattern).is_in(other)


def test_text_that_names_no_file_is_not_searched() -> None:
    assert Pattern("ö$").is_in("ö" * (LONGEST_TEXT_BYTES // 2))
    assert not Pattern("ö$").is_in("ö" * (LONGEST_TEXT_BYTES // 2 + 1))


def test_every_bad_expression_is_named_with_its_place(problems: Problems) -> None:
    assert problems("upstream:\n  ignorePaths:\n  - ok\n  - 'é('\n  - 'x{1001}'\n") == [
        'config.yaml:4: upstream.ignorePaths[1]: invalid regular expression "é(": missing ): é(',
        'config.yaml:5: upstream.ignorePaths[2]: invalid regular expression "x{1001}": '
        "invalid repetition size: {1001}",
    ]


def test_by_default_pages_assets_do_not_start_a_model() -> None:
    upstream = UpstreamConfig()
    assert upstream.ignores("/static/app.js")
    assert not upstream.ignores("/v1/chat/completions")
