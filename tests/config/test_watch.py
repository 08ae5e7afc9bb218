"""Watching: which differences are news, and that a real change is noticed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from swapyard.config.watch import FileWatch, Snapshot, look_at_directory, look_at_file

ONE = Snapshot({"a.yaml": (1, 10)})


def refuse(error: OSError) -> None:
    raise AssertionError(error)


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (ONE, ONE, False),
        (ONE, Snapshot({"a.yaml": (2, 10)}), True),
        (ONE, Snapshot({"a.yaml": (1, 11)}), True),
        (ONE, Snapshot(), False),
        (Snapshot(), ONE, True),
        (Snapshot(), Snapshot(), False),
        (ONE, Snapshot({"a.yaml": (1, 10), "b.yml": (1, 1)}), True),
        (Snapshot({"a.yaml": (1, 10), "b.yml": (1, 1)}), ONE, True),
    ],
)
def test_something_new_is_news_and_disappearing_is_not(before: Snapshot, after: Snapshot, news: bool) -> None:
    assert after.is_news(before) is news


def test_only_yaml_files_right_in_the_directory_count(tmp_path: Path) -> None:
    for name in ("a.yaml", ".b.yml", "c.txt", "d.YAML"):
        (tmp_path / name).write_text("x")
    (tmp_path / "e.yaml").mkdir()
    assert sorted(look_at_directory(tmp_path, refuse).files) == [".b.yml", "a.yaml"]


def test_a_link_is_followed_and_its_swap_is_news(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("one")
    (tmp_path / "new").write_text("three")
    link = tmp_path / "config.yaml"
    link.symlink_to("old")
    before = look_at_file(link, refuse)
    (tmp_path / "next").symlink_to("new")
    os.replace(tmp_path / "next", link)
    assert look_at_file(link, refuse).is_news(before)


def test_what_is_missing_is_empty(tmp_path: Path) -> None:
    assert look_at_file(tmp_path / "nope", refuse) == Snapshot()
    assert look_at_directory(tmp_path / "nope", refuse) == Snapshot()


def test_an_error_is_told_and_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[OSError] = []
    assert look_at_file(tmp_path / "file" / "below", told.append) == Snapshot()
    assert look_at_directory(tmp_path / "file", told.append) == Snapshot()
    assert len(told) == 2


def test_after_an_error_it_can_be_asked_again_and_has_missed_nothing(tmp_path: Path) -> None:
    main, blocked = tmp_path / "main.yaml", tmp_path / "more"
    main.write_text("a: 1")
    blocked.mkdir()

    async def scenario() -> None:
        changes = FileWatch(main, blocked, 0.005, refuse)
        blocked.rmdir()
        blocked.write_text("")  # no directory any more: `refuse` raises
        main.write_text("a: 12345")
        with pytest.raises(AssertionError):
            await anext(changes)
        blocked.unlink()
        await anext(changes)

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_a_change_of_the_file_or_of_the_directory_is_noticed(tmp_path: Path) -> None:
    main, directory = tmp_path / "main.yaml", tmp_path / "more"
    directory.mkdir()
    main.write_text("a: 1")

    async def scenario() -> None:
        changes = FileWatch(main, directory, interval=0.005)
        for path in (main, directory / "x.yml"):
            path.write_text("a: 12345")
            await anext(changes)

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())
