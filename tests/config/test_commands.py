"""Command lines: what the vectors do not cover."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.config.commands import split_posix, split_windows


@given(st.lists(st.text(alphabet="ab '\"\\$#`*", min_size=1), min_size=1))
def test_what_a_shell_would_quote_comes_back_as_it_was(arguments: list[str]) -> None:
    assert split_posix("run " + shlex.join(arguments)) == ["run", *arguments]


def test_a_carriage_return_separates_on_windows_only() -> None:
    assert split_posix("a\r\nb") == ["a\r", "b"]
    assert split_windows("a\r\nb") == ["a", "b"]


def test_a_directory_may_end_in_a_backslash_on_windows() -> None:
    assert split_windows("run C:\\models\\\n--b \\\n--c") == ["run", "C:\\models\\", "--b", "--c"]


@pytest.mark.parametrize("text", ["", " \n\t", "\\", "# all\n # comment"])
def test_no_argument_is_an_empty_command(text: str) -> None:
    for split in (split_posix, split_windows):
        with pytest.raises(ValueError, match="empty command"):
            split(text)
