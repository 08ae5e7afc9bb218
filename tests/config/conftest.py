"""What the tests of this room share: loading text, and the problems of text that does not load."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swapyard.config.load import load_text
from swapyard.errors import ConfigError

Problems = Callable[[str], list[str]]


@pytest.fixture
def problems() -> Problems:
    """Load text that must not load; returns its problems as the operator reads them."""

    def load_and_fail(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, {})
        return [str(problem) for problem in caught.value.problems]

    return load_and_fail


@pytest.fixture
def warnings() -> Problems:
    """Load text that must load; returns its warnings as the operator reads them."""
    return lambda text: [str(warning) for warning in load_text(text, {}).warnings]
