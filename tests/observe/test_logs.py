from __future__ import annotations

import asyncio
import errno
import io
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.notices import LogWritten
from swapyard.observe import stdout as stdout_module
from swapyard.observe.logging_handler import LoggingHandler
from swapyard.observe.logs import HISTORY_BYTES, Follower, Logs, Source, text
from swapyard.observe.stdout import StdoutWriter
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep

QWEN = ModelId("qwen")
GEMMA = ModelId("gemma")

MakeLogs = Callable[..., Logs]


def run(main: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await main

    asyncio.run(limited())


@pytest.fixture
def published() -> list[LogWritten]:
    return []


@pytest.fixture
def stdout() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def make(published: list[LogWritten], stdout: io.BytesIO) -> Iterator[MakeLogs]:
    made: list[Logs] = []

    def make(level: str = "info", time_format: str = "", to_stdout: str = "proxy", **more: Any) -> Logs:
        made.append(Logs(level, time_format, to_stdout, stdout, published.append, **more))
        return made[-1]

    yield make
    for logs in made:
        logs.close()


def test_a_line_below_the_level_is_not_written(make: MakeLogs, published: list[LogWritten]) -> None:
    logs = make(level="warn")
    logs.log(logging.INFO, "quiet")
    logs.log(logging.WARNING, "loud")
    assert logs.history(Source.PROXY) == b"[WARN] loud\n"
    assert published == [LogWritten("proxy", b"[WARN] loud\n")]


def test_a_reload_changes_level_and_time_format(make: MakeLogs) -> None:
    logs = make(clock_ns=lambda: 0)
    logs.configure("debug", "stampmicro")
    logs.log(logging.DEBUG, "now")
    assert logs.history(Source.PROXY).endswith(b":00.000000 [DEBUG] now\n")


@pytest.mark.parametrize(
    ("to_stdout", "combined"),
    [
        ("proxy", b"[INFO] ours\n"),
        ("upstream", b"theirs\n"),
        ("both", b"[INFO] ours\ntheirs\n"),
        ("none", b""),
    ],
)
def test_log_to_stdout_decides_what_is_combined_and_nothing_else(
    make: MakeLogs, stdout: io.BytesIO, to_stdout: str, combined: bytes
) -> None:
    logs = make(to_stdout=to_stdout)
    logs.log(logging.INFO, "ours")
    logs.output(QWEN, b"theirs\n")
    logs.close()
    assert stdout.getvalue() == combined
    assert logs.history(Source.COMBINED) == combined
    assert logs.history(Source.PROXY) == b"[INFO] ours\n"
    assert logs.history(Source.UPSTREAM) == b"theirs\n"
    assert logs.history(QWEN) == b"theirs\n"


def test_each_model_has_its_own_history(make: MakeLogs) -> None:
    logs = make()
    logs.output(QWEN, b"one\n")
    logs.output(GEMMA, b"two\n")
    assert logs.history(QWEN) == b"one\n"
    assert logs.history(GEMMA) == b"two\n"
    assert logs.history(Source.UPSTREAM) == b"one\ntwo\n"
    assert logs.history(ModelId("silent")) == b""


def test_a_model_named_proxy_does_not_write_into_the_proxy_log(make: MakeLogs) -> None:
    logs = make()
    logs.output(ModelId("proxy"), b"theirs\n")
    assert logs.history(Source.PROXY) == b""
    assert logs.history(ModelId("proxy")) == b"theirs\n"


def test_output_of_a_model_is_neither_stamped_nor_filtered(make: MakeLogs) -> None:
    logs = make(level="error", time_format="rfc3339")
    logs.output(QWEN, b"\x1b[31m[DEBUG] red\x1b[0m\r\n\xff\x00")
    assert logs.history(QWEN) == b"\x1b[31m[DEBUG] red\x1b[0m\r\n\xff\x00"


def test_a_history_keeps_the_last_100_kib(make: MakeLogs) -> None:
    logs = make()
    logs.output(QWEN, b"a" * HISTORY_BYTES)
    logs.output(QWEN, b"bc")
    assert HISTORY_BYTES == 102_400
    assert logs.history(QWEN) == b"a" * (HISTORY_BYTES - 2) + b"bc"


def test_a_full_history_begins_with_a_whole_character(make: MakeLogs) -> None:
    logs = make()
    logs.output(QWEN, "é".encode() * (HISTORY_BYTES // 2) + b"x")
    assert logs.history(QWEN) == "é".encode() * (HISTORY_BYTES // 2 - 1) + b"x"


def test_a_character_that_arrives_in_two_reads_is_passed_on_whole(
    make: MakeLogs, published: list[LogWritten]
) -> None:
    logs = make()
    smile = "🙂".encode()
    logs.output(QWEN, b"a" + smile[:3])
    logs.output(GEMMA, b"between")
    logs.output(QWEN, smile[3:] + b"z")
    assert [notice.data for notice in published] == [b"a", b"between", smile + b"z"]
    assert [text(notice.data) for notice in published] == ["a", "between", "🙂z"]


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.lists(st.integers(0, 40)))
def test_no_byte_is_lost_and_no_chunk_ends_inside_a_character(data: bytes, cuts: list[int]) -> None:
    published: list[LogWritten] = []
    logs = Logs("info", "", "none", io.BytesIO(), published.append)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        logs.output(QWEN, data[start:end])
    logs.output(QWEN, b"!")
    assert b"".join(notice.data for notice in published) == data + b"!"
    whole = (data + b"!").decode("utf-8", "replace")
    assert "".join(text(notice.data) for notice in published) == whole
    logs.close()


def test_history_and_live_bytes_join_without_gap_or_repeat(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        logs.output(QWEN, b"1")
        with logs.follow(QWEN) as follower:
            logs.output(QWEN, b"2")
            assert await follower.next() == b"12"
            logs.output(QWEN, b"3")
            assert await follower.next() == b"3"

    run(main())


def test_a_follower_may_leave_out_the_history(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        logs.log(logging.INFO, "before")
        with logs.follow(Source.COMBINED, history=False) as follower:
            logs.log(logging.INFO, "after")
            assert await follower.next() == b"[INFO] after\n"

    run(main())


def test_a_follower_that_waits_is_woken_by_the_next_line(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        with logs.follow(Source.PROXY) as follower:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(follower.next(), name="reading")
                await asyncio.sleep(0)
                logs.log(logging.INFO, "hello")
            assert reading.result() == b"[INFO] hello\n"

    run(main())


def test_a_stuck_follower_finds_a_mark_where_chunks_were_dropped(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        with logs.follow(QWEN) as stuck, logs.follow(QWEN) as other:
            for _ in range(1000):
                logs.output(QWEN, b"a")
            assert await other.next() == b"a" * 1000
            for _ in range(3000):
                logs.output(QWEN, b"a")
            assert await stuck.next() == b"a" * 1024
            assert await stuck.next() == "\n— 2976 bytes dropped —\n".encode()
            logs.output(QWEN, b"b")
            assert await stuck.next() == b"b"
            assert len(logs.history(QWEN)) == 4001

    run(main())


def test_writers_do_not_wait_for_the_only_follower_and_it_learns_what_it_missed(make: MakeLogs) -> None:
    """Vector B9."""

    async def main() -> None:
        logs = make()
        with logs.follow(QWEN) as stuck:
            for _ in range(4000):
                logs.output(QWEN, b"a")
            assert await stuck.next() == b"a" * 1024
            assert await stuck.next() == "\n— 2976 bytes dropped —\n".encode()
            assert logs.history(QWEN) == b"a" * 4000

    run(main())


def test_a_stuck_follower_holds_no_more_than_a_mebibyte(make: MakeLogs) -> None:
    async def main() -> None:
        follower = Follower(b"")
        follower.offer(b"a" * (1 << 20))
        follower.offer(b"b")
        assert await follower.next() == b"a" * (1 << 20)
        assert await follower.next() == "\n— 1 bytes dropped —\n".encode()

    run(main())


def test_streams_end_when_the_followers_are_closed(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        logs.log(logging.INFO, "last")
        with logs.follow(Source.PROXY) as early:
            logs.close_followers()
            with logs.follow(Source.PROXY) as late:
                assert [data async for data in early] == [b"[INFO] last\n"]
                assert [data async for data in late] == [b"[INFO] last\n"]

    run(main())


def test_the_log_of_a_removed_model_is_forgotten_and_its_streams_end(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        logs.output(QWEN, b"q")
        logs.output(GEMMA, b"g")
        with logs.follow(QWEN) as follower:
            logs.keep_models([GEMMA])
            assert [data async for data in follower] == [b"q"]
        assert logs.history(QWEN) == b""
        assert logs.history(GEMMA) == b"g"
        assert logs.history(Source.UPSTREAM) == b"qg"

    run(main())


def test_lines_of_python_logging_from_any_thread_reach_the_proxy_log(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make()
        logs.attach(asyncio.get_running_loop())
        logger = logging.Logger("library")
        logger.addHandler(LoggingHandler(logs))
        with logs.follow(Source.PROXY) as follower:
            await asyncio.to_thread(logger.warning, "from %s", "afar")
            assert await follower.next() == b"[WARN] from afar\n"

    run(main())


def test_a_traceback_is_logged_with_its_message(make: MakeLogs) -> None:
    logs = make()
    logger = logging.Logger("library")
    logger.addHandler(LoggingHandler(logs))
    try:
        raise ValueError("inner")
    except ValueError:
        logger.exception("outer")
    lines = logs.history(Source.PROXY).splitlines()
    assert lines[0] == b"[ERROR] outer"
    assert lines[-1] == b"ValueError: inner"


def test_a_stuck_standard_output_stops_nobody_and_is_told_what_it_missed() -> None:
    reader, writer = os.pipe()
    with open(writer, "wb") as stdout, open(reader, "rb", buffering=0) as pipe:
        out = StdoutWriter(stdout, limit_bytes=300_000)
        for _ in range(10):
            out.write(b"x" * 100_000)
        got = bytearray()
        done = threading.Event()

        def read() -> None:
            while "dropped —\n".encode() not in got:
                got.extend(pipe.read(65536))
            done.set()

        threading.Thread(target=read, daemon=True).start()
        assert done.wait(10)
        out.close(5)
    kept = got.count(b"x")
    assert 300_000 <= kept < 1_000_000
    assert got.endswith(f"\n— {1_000_000 - kept} bytes dropped —\n".encode())


def test_a_non_blocking_standard_output_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(writer, "wb") as stdout, open(reader, "rb", buffering=0) as pipe:
        out = StdoutWriter(stdout)
        out.write(b"y" * 500_000)
        got = bytearray()
        while len(got) < 500_000:
            got.extend(pipe.read(65536))
        out.close(5)
    assert got == b"y" * 500_000


def test_a_closed_standard_output_is_given_up_quietly(make: MakeLogs) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stdout:
        out = StdoutWriter(stdout)
        out.write(b"nobody reads this")
        out.close(5)
        out.write(b"nor this")


class FullDisk(io.RawIOBase):
    """A file on a disk that is full until somebody makes room."""

    def __init__(self) -> None:
        self.full = True
        self.refused = threading.Event()
        self.got = b""
        self.marked = threading.Event()

    def write(self, data: Any) -> int:
        if self.full:
            self.refused.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.got += bytes(data)
        if "dropped —".encode() in self.got:
            self.marked.set()
        return len(data)


def test_standard_output_on_a_full_disk_goes_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stdout_module, "RETRY_PERIOD", 0.01)
    upkeep = Upkeep()
    disk = FullDisk()
    out = StdoutWriter(cast(BinaryIO, disk), upkeep=upkeep)
    out.write(b"x" * 1000)
    assert disk.refused.wait(10)
    while not upkeep.down():
        time.sleep(0.001)
    disk.full = False
    assert disk.marked.wait(10)
    out.write(b"and on\n")
    out.close(5)
    assert disk.got == "\n— 1000 bytes dropped —\nand on\n".encode()
    assert [record.getMessage() for record in caplog.records] == [
        "standard output: No space left on device; lines are dropped, the histories have them",
        "standard output: works again",
    ]
    assert upkeep.errors() == {} == upkeep.down()


def test_gathered_lines_appear_in_order_before_anything_that_comes_later(make: MakeLogs) -> None:
    async def main() -> None:
        logs = make(to_stdout="both")
        logs.attach(asyncio.get_running_loop())
        with logs.follow(Source.COMBINED) as follower:
            logs.log_soon(logging.DEBUG, "not shown")
            logs.log_soon(logging.INFO, "1")
            logs.log_soon(logging.INFO, "2")
            logs.log(logging.WARNING, "3")
            logs.log_soon(logging.INFO, "4")
            logs.output(QWEN, b"5\n")
            logs.log_soon(logging.INFO, "6")
            assert logs.history(Source.PROXY) == b"[INFO] 1\n[INFO] 2\n[WARN] 3\n[INFO] 4\n[INFO] 6\n"
            logs.log_soon(logging.INFO, "7")
            seen = b""
            while b"7" not in seen:
                seen += await follower.next() or b""
            assert seen == b"[INFO] 1\n[INFO] 2\n[WARN] 3\n[INFO] 4\n5\n[INFO] 6\n[INFO] 7\n"

    run(main())
