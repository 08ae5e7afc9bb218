"""The recorder as the relay uses it: one row per request whatever its fate, and nothing ever waits."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from swapyard.bus import Bus
from swapyard.notices import ActivityRecorded, InflightChanged
from swapyard.observe.activity import ActivityRow, key_label
from swapyard.observe.activity_query import ActivityQuery
from swapyard.observe.captures import MEBIBYTE, Captures
from swapyard.observe.exchange import Exchange, Phase
from swapyard.observe.parts import Parts
from swapyard.observe.recorder import Recorder
from swapyard.observe.store import ActivityStore
from swapyard.observe.writer import BACKLOG_LIMIT_ITEMS

JSON = [(b"content-type", b"application/json")]
STREAM = [(b"content-type", b"text/event-stream")]
STREAM_END = b'\ndata: {"usage":{"prompt_tokens":3}}\n\n'


class Bench:
    """A running recorder over a log in memory, with a clock that is moved by hand."""

    def __init__(self, recorder: Recorder, told: list[ActivityRecorded | InflightChanged]) -> None:
        self.recorder = recorder
        self.told = told
        self.now = 50.0

    def begin(self, **facts: Any) -> Exchange:
        members: dict[str, Any] = {"method": "POST", "path": "/v1/chat/completions", "model": "m"}
        return self.recorder.begin(**{**members, **facts})

    async def rows(self) -> list[dict[str, Any]]:
        await self.recorder.flushed()
        query = ActivityQuery(descending=False, limit=999)
        rows: list[dict[str, Any]] = self.recorder.store.page(query, self.recorder.captures.has)["data"]
        return rows

    async def row(self) -> dict[str, Any]:
        (row,) = await self.rows()
        return row


@asynccontextmanager
async def running(
    *,
    captures: Captures | None = None,
    store: ActivityStore | None = None,
    recorded: Callable[[Any], None] | None = None,
    redact: tuple[str, ...] = (),
) -> AsyncIterator[Bench]:
    told: list[ActivityRecorded | InflightChanged] = []
    store = store or ActivityStore.open(None)
    bench: Bench
    recorder = Recorder(
        store,
        captures or Captures(),
        publish=told.append,
        recorded=recorded,
        redact=redact,
        clock=lambda: bench.now,
        wall_clock=lambda: 1_700_000_000 + bench.now,
    )
    bench = Bench(recorder, told)
    recorder.start()
    try:
        yield bench
    finally:
        await recorder.close()
        recorder.store.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def test_a_whole_reply_becomes_a_row_a_capture_and_a_notice() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin(
                headers=[(b"content-type", b"application/json"), (b"authorization", b"Bearer secret")],
                requested="alias",
                key=key_label("secret"),
            )
            exchange.metadata["selector"] = "best"
            exchange.asked(b'{"model":"m"}')
            exchange.answered(200, JSON)
            exchange.body(b'{"usage":{"prompt_tokens":31,')
            exchange.body(b'"completion_tokens":9}}')
            bench.now += 2
            bench.recorder.end(exchange)
            row = await bench.row()
            assert row["tokens"]["input_tokens"] == 31
            assert (row["resp_status_code"], row["duration_ms"], row["has_capture"]) == (200, 2000, True)
            assert row["metadata"] == {"selector": "best"}
            assert row["details"]["requested_model"] == "alias"
            assert row["details"]["request_id"] == exchange.request_id
            assert row["details"]["key"] == key_label("secret") and "secret" not in json.dumps(row)
            assert bench.recorder.captures.get(1) == {
                "id": 1,
                "req_path": "/v1/chat/completions",
                "req_headers": {"Content-Type": "application/json", "Authorization": "[REDACTED]"},
                "req_body": "eyJtb2RlbCI6Im0ifQ==",
                "resp_headers": {"Content-Type": "application/json"},
                "resp_body": "eyJ1c2FnZSI6eyJwcm9tcHRfdG9rZW5zIjozMSwiY29tcGxldGlvbl90b2tlbnMiOjl9fQ==",
            }
            assert bench.told[-1] == ActivityRecorded(1)

    run(test)


def test_an_encoded_reply_is_captured_decoded() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.answered(200, [*JSON, (b"content-encoding", b"gzip")])
            exchange.body(gzip.compress(b'{"usage":{"prompt_tokens":3}}'))
            bench.recorder.end(exchange)
            row = await bench.row()
            capture = bench.recorder.captures.get(1)
            assert row["tokens"]["input_tokens"] == 3
            assert capture is not None and capture["resp_headers"] == {"Content-Type": "application/json"}
            assert capture["resp_body"] == "eyJ1c2FnZSI6eyJwcm9tcHRfdG9rZW5zIjozfX0="

    run(test)


def test_times_and_speeds_of_a_stream_are_measured_here() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.wait_reason = "waiting for gemma: 2 in flight"
            bench.now += 1
            exchange.load_started = bench.now
            bench.now += 4
            exchange.granted = bench.now
            exchange.asked(b"{}")
            exchange.answered(200, STREAM)
            exchange.inserted(b'data: {"choices":[{"delta":{"reasoning_content":"loading"}}]}\n\n')
            bench.now += 0.25
            exchange.body(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')
            bench.now += 0.25
            exchange.body(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n')
            bench.now += 2
            exchange.body(b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":21}}\n\n')
            bench.recorder.end(exchange)
            row = await bench.row()
            details = row["details"]
            assert (details["queue_ms"], details["load_ms"], details["relay_ms"]) == (1000, 4000, 2500)
            assert (details["first_byte_ms"], details["first_token_ms"]) == (5250, 5500)
            assert details["wait_reason"] == "waiting for gemma: 2 in flight"
            assert details["measured_prompt_per_second"] == 200
            assert details["measured_tokens_per_second"] == 10
            # What an engine did not report stays unreported in the fields that are the engine's.
            assert row["tokens"]["tokens_per_second"] == row["tokens"]["prompt_per_second"] == -1

    run(test)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"text":"hi"}]}',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}',
        b'data: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}',
        b'data: {"type":"response.output_text.delta","delta":"hi"}',
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{\\"a"}}]}}]}',
        b'data: {"content" : "hi","stop":false}',
    ],
)
def test_the_first_token_is_recognised_in_every_dialect(event: bytes) -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.answered(200, STREAM)
            exchange.body(b'data: {"type":"message_start","message":{"content":[],"role":"assistant"}}\n\n')
            exchange.body(
                b'data: {"type":"content_block_start","content_block":{"type":"text","text":""}}\n\n'
            )
            assert exchange.first_token is None
            exchange.body(event + b"\n\n")
            assert exchange.first_token == bench.now
            bench.recorder.end(exchange)

    run(test)


def test_speeds_that_the_engine_reports_are_not_measured_again() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.asked()
            exchange.answered(200, JSON)
            bench.now += 1
            exchange.body(
                b'{"timings":{"prompt_n":4,"predicted_n":8,"prompt_per_second":5,"predicted_per_second":6}}'
            )
            bench.recorder.end(exchange)
            details = (await bench.row())["details"]
            assert details["measured_prompt_per_second"] is None
            assert details["measured_tokens_per_second"] is None

    run(test)


def test_a_reply_in_one_piece_gives_a_lower_bound_of_the_generation_speed() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.asked()
            bench.now += 2
            exchange.answered(200, JSON)
            exchange.body(b'{"usage":{"prompt_tokens":4,"completion_tokens":8}}')
            bench.recorder.end(exchange)
            details = (await bench.row())["details"]
            assert details["measured_prompt_per_second"] is None
            assert details["measured_tokens_per_second"] == 4

    run(test)


def test_a_refusal_is_recorded_with_its_words() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.answered(429, JSON)
            exchange.inserted(b'{"error":{"message":"Too many requests"}}')
            bench.recorder.end(exchange)
            row = await bench.row()
            assert (row["resp_status_code"], row["error_msg"]) == (429, "Too many requests")
            assert row["details"]["queue_ms"] is None
            capture = bench.recorder.captures.get(1)
            assert capture is not None and capture["resp_body"] is None and capture["req_headers"] == {}

    run(test)


def test_a_caller_that_left_the_queue_is_recorded() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.waiting(lambda: (Phase.QUEUED, "waiting for gemma"))
            bench.now += 3
            bench.recorder.end(exchange, error="the caller left while waiting for gemma")
            row = await bench.row()
            assert (row["resp_status_code"], row["resp_content_type"]) == (499, "")
            assert row["error_msg"] == "the caller left while waiting for gemma"
            assert (row["details"]["queue_ms"], row["details"]["wait_reason"]) == (3000, "waiting for gemma")

    run(test)


def test_a_broken_stream_keeps_the_usage_and_the_body_that_came() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin(path="/v1/messages")
            exchange.answered(200, STREAM)
            exchange.body(
                b'data: {"type":"message_start","message":{"usage":{"input_tokens":60}}}\n\ndata: {"ty'
            )
            bench.recorder.end(exchange, status=499, error="the caller left")
            row = await bench.row()
            assert (row["resp_status_code"], row["tokens"]["input_tokens"]) == (499, 60)
            assert row["error_msg"] == "the caller left"
            assert row["has_capture"]

    run(test)


def test_an_encoded_stream_that_is_cut_keeps_its_own_reason() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.answered(200, [*STREAM, (b"content-encoding", b"gzip")])
            exchange.body(gzip.compress(b'data: {"usage":{"prompt_tokens":3}}\n\n' * 50)[:-8])
            bench.recorder.end(exchange, error="upstream broke off")
            row = await bench.row()
            assert (row["error_msg"], row["tokens"]["input_tokens"]) == ("upstream broke off", 3)

    run(test)


def test_what_cannot_be_decoded_is_not_captured() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.answered(200, [*JSON, (b"content-encoding", b"gzip")])
            exchange.body(b"plain")
            bench.recorder.end(exchange)
            row = await bench.row()
            assert row["error_msg"].startswith("response decompression failed: ")
            assert not row["has_capture"]

    run(test)


def test_an_empty_answer_is_not_captured() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            exchange.answered(200, JSON)
            bench.recorder.end(exchange)
            row = await bench.row()
            assert not row["has_capture"]
            assert row["tokens"]["cache_tokens"] == 0

    run(test)


def test_sounds_are_recorded_and_not_kept() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin(path="/v1/audio/speech", parts=Parts.ALL & ~Parts.RESPONSE_BODY)
            exchange.asked(b'{"input":"hello"}')
            exchange.answered(200, [(b"content-type", b"audio/mpeg")])
            exchange.body(b"\xff\xfb" * 50_000)
            bench.recorder.end(exchange)
            row = await bench.row()
            capture = bench.recorder.captures.get(1)
            assert row["details"]["resp_bytes"] == 100_000
            assert capture is not None and capture["resp_body"] is None
            assert capture["req_body"] == "eyJpbnB1dCI6ImhlbGxvIn0="

    run(test)


def test_a_get_is_listed_while_it_lasts_and_not_recorded() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin(method="GET", path="/props")
            assert len(bench.recorder.inflight.entries()) == 1
            exchange.answered(200, JSON)
            exchange.body(b"{}")
            bench.recorder.end(exchange)
            assert await bench.rows() == []
            assert bench.recorder.inflight.entries() == []

    run(test)


def test_a_request_that_ends_twice_is_one_row() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin()
            bench.recorder.end(exchange, status=502, error="first")
            bench.recorder.end(exchange, status=200)
            assert (await bench.row())["error_msg"] == "first"

    run(test)


def test_a_cancelled_request_is_told_once() -> None:
    async def test() -> None:
        async with running() as bench:
            cancelled: list[bool] = []
            exchange = bench.begin(cancel=lambda: cancelled.append(True))
            assert bench.recorder.cancel(str(exchange.id))
            bench.recorder.end(exchange, status=499, error="cancelled by an operator")
            assert not bench.recorder.cancel(str(exchange.id))
            assert cancelled == [True]

    run(test)


def test_secrets_named_in_the_configuration_are_blanked_out() -> None:
    async def test() -> None:
        async with running(redact=("X-Tenant-Token",)) as bench:
            headers = [(b"x-tenant-token", b"s3cret"), (b"x-api-key", b"s3cret"), (b"cookie", b"s3cret")]
            exchange = bench.begin(headers=headers)
            exchange.answered(200, [*JSON, (b"set-cookie", b"s3cret")])
            exchange.body(b"{}")
            bench.recorder.end(exchange)
            await bench.row()
            assert "s3cret" not in json.dumps(bench.recorder.captures.get(1))
            assert "s3cret" not in repr(bench.told)

    run(test)


def test_broken_text_costs_no_row() -> None:
    async def test() -> None:
        async with running() as bench:
            exchange = bench.begin(path="/v1/\udc80", model="\ud800")
            exchange.metadata["selector"] = "\udfff"
            bench.recorder.end(exchange, error="\ud800")
            bench.recorder.end(bench.begin())
            assert [row["model"] for row in await bench.rows()] == ["?", "m"]

    run(test)


def test_counters_get_every_committed_row() -> None:
    async def test() -> None:
        counted: list[ActivityRow] = []
        async with running(recorded=counted.extend) as bench:
            for _ in range(300):
                bench.recorder.end(bench.begin())
            await bench.rows()
            await asyncio.sleep(0)
            assert [row.id for row in counted] == list(range(1, 301))
            assert bench.told[-1] == ActivityRecorded(300)

    run(test)


def test_another_store_takes_over_between_two_rows(tmp_path: Path) -> None:
    async def test() -> None:
        async with running() as bench:
            bench.recorder.end(bench.begin(model="before"))
            before = await bench.recorder.use_store(ActivityStore.open(tmp_path / "new.db"))
            bench.recorder.end(bench.begin(model="after"))
            assert [row["model"] for row in await bench.rows()] == ["after"]
            assert before.statistics()["total_requests"] == 1
            before.close()

    run(test)


def test_closing_commits_what_has_ended(tmp_path: Path) -> None:
    async def test() -> None:
        store = ActivityStore.open(tmp_path / "a.db")
        recorder = Recorder(store, Captures(), publish=lambda _: None)
        recorder.start()
        for _ in range(5000):
            recorder.end(recorder.begin(method="POST", path="/infill", model="m"))
        await recorder.close()
        assert store.statistics()["total_requests"] == 5000
        store.close()

    run(test)


def test_a_log_that_cannot_be_written_delays_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "a.db"
        async with running(store=ActivityStore.open(path)) as bench:
            lock = sqlite3.connect(path, isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            longest = 0.0
            for _ in range(200):
                began = time.perf_counter()
                exchange = bench.begin()
                exchange.answered(200, JSON)
                exchange.body(b"{}")
                bench.recorder.end(exchange)
                longest = max(longest, time.perf_counter() - began)
                await asyncio.sleep(0.001)
            # Whoever waited for the lock would wait for seconds.
            assert longest < 2
            lock.execute("ROLLBACK")
            lock.close()
            assert len(await bench.rows()) == 200

    run(test)


def test_a_reader_that_breaks_costs_one_row_only(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running() as bench:
            broken = bench.begin()
            broken.answered(200, JSON)
            broken.chunks.append("not bytes")  # type: ignore[arg-type]
            bench.recorder.end(broken)
            bench.recorder.end(bench.begin(model="next"))
            assert [row["model"] for row in await bench.rows()] == ["next"]
            assert "could not be observed" in caplog.text

    run(test)


def test_a_watcher_that_never_reads_costs_no_memory() -> None:
    async def test() -> None:
        bus = Bus()
        recorder = Recorder(ActivityStore.open(None), Captures(256 * 1024), publish=bus.publish)
        recorder.start()

        async def requests(count: int) -> None:
            for number in range(count):
                exchange = recorder.begin(method="POST", path="/v1/chat/completions", model="m")
                exchange.asked(b'{"model":"m","messages":[]}')
                exchange.answered(200, STREAM)
                exchange.body(b'data: {"usage":{"prompt_tokens":1}}\n\n')
                recorder.end(exchange)
                if number % 50 == 0:
                    await asyncio.sleep(0.001)
            await recorder.flushed()

        with bus.subscribe():
            await requests(3000)
            tracemalloc.start()
            await requests(1000)
            before, _ = tracemalloc.get_traced_memory()
            await requests(9000)
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        await recorder.close()
        recorder.store.close()
        assert after - before < MEBIBYTE

    run(test)


@pytest.mark.parametrize(
    "content_type", [b"application/octet-stream", b"text/event-stream", b"application/json"]
)
def test_a_reply_of_two_hundred_megabytes_adds_bounded_memory(content_type: bytes) -> None:
    async def test() -> None:
        async with running() as bench:
            await bench.rows()
            rss_before = peak_rss_bytes()
            exchange = bench.begin()
            exchange.answered(200, [(b"content-type", content_type)])
            for number in range(3200):
                exchange.body(bytes([number % 251]) * 65_536)
                if number % 16 == 0:
                    await asyncio.sleep(0)
            exchange.body(STREAM_END)
            bench.recorder.end(exchange)
            row = await bench.row()
            assert row["details"]["resp_bytes"] > 209_000_000
            assert peak_rss_bytes() - rss_before < 100 * MEBIBYTE
            if content_type == b"text/event-stream":
                assert row["tokens"]["input_tokens"] == 3

    run(test)


@pytest.mark.parametrize(
    ("facts", "input_tokens"),
    [(STREAM, 3), (JSON, 3), ([*STREAM, (b"content-encoding", b"br")], 0)],
    ids=["stream", "json", "encoded"],
)
def test_what_passes_faster_than_it_can_be_observed_costs_the_capture_first(
    facts: list[tuple[bytes, bytes]], input_tokens: int
) -> None:
    async def test() -> None:
        recorder = Recorder(ActivityStore.open(None), Captures(), publish=lambda _: None)
        exchange = recorder.begin(method="POST", path="/v1/chat/completions", model="m")
        exchange.answered(200, facts)
        exchange.body(b'{"data":"' if facts is JSON else b"data: {}\n")
        for _ in range(1000):
            exchange.body(b"x" * 65_536)
        exchange.body(b'","usage":{"prompt_tokens":3}}' if facts is JSON else STREAM_END)
        recorder.end(exchange)
        assert 0 < recorder.lost().body_bytes < 1001 * 65_536
        recorder.start()
        await recorder.flushed()
        page = recorder.store.page(ActivityQuery(), recorder.captures.has)
        (row,) = page["data"]
        assert row["tokens"]["input_tokens"] == input_tokens
        assert not row["has_capture"]
        await recorder.close()
        recorder.store.close()

    run(test)


def test_rows_beyond_what_may_wait_are_counted_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        recorder = Recorder(ActivityStore.open(None), Captures(0), publish=lambda _: None)
        for _ in range(BACKLOG_LIMIT_ITEMS + 5):
            recorder.end(recorder.begin(method="POST", path="/infill", model="m"))
        assert recorder.lost().rows == 5
        assert caplog.text.count("rows are lost") == 1
        recorder.start()
        await recorder.close(timeout=30)
        recorder.store.close()

    run(test)


def peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def test_an_upload_too_large_to_hold_is_not_captured() -> None:
    async def test() -> None:
        async with running(captures=Captures(MEBIBYTE)) as bench:
            exchange = bench.begin()
            exchange.asked(bytes(10 * MEBIBYTE))
            assert exchange.request_body is None
            exchange.answered(200, JSON)
            exchange.body(b"{}")
            bench.recorder.end(exchange)
            assert not (await bench.row())["has_capture"]

    run(test)


def test_request_ids_differ_and_a_callers_own_is_kept() -> None:
    async def test() -> None:
        async with running() as bench:
            first, second, own = bench.begin(), bench.begin(), bench.begin(request_id="mine")
            assert len({first.request_id, second.request_id}) == 2
            assert own.request_id == "mine"
            for exchange in (first, second, own):
                bench.recorder.end(exchange)

    run(test)


def test_bodies_held_for_captures_share_one_bound_and_all_is_given_back() -> None:
    async def test() -> None:
        async with running() as bench:
            under_way = bench.recorder.captures.under_way
            exchanges = [bench.begin() for _ in range(8)]
            for exchange in exchanges:
                exchange.asked(bytes(6 * MEBIBYTE))
                exchange.answered(200, JSON)
                exchange.body(b"{}")
            kept = [exchange for exchange in exchanges if exchange.request_body is not None]
            assert len(kept) * 6 * MEBIBYTE == under_way.held_bytes <= under_way.limit_bytes
            for exchange in exchanges:
                bench.recorder.end(exchange)
            rows = await bench.rows()
            assert len(rows) == 8
            assert under_way.held_bytes == 0
            assert bench.recorder.lost().captures >= len(exchanges) - len(kept)

    run(test)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_readers_hold_is_given_back_however_a_reply_ends(coding: str) -> None:
    packed = gzip.compress(bytes(100_000)) if coding == "gzip" else zstandard.compress(bytes(100_000))

    async def test() -> None:
        async with running() as bench:
            for data in (packed, packed[:40], b"neither"):
                exchange = bench.begin()
                exchange.answered(200, [*JSON, (b"content-encoding", coding.encode())])
                exchange.body(data)
                bench.recorder.end(exchange)
            assert len(await bench.rows()) == 3
            assert bench.recorder.captures.under_way.held_bytes == 0
            assert bench.recorder._writer._decoders.held_bytes == 0

    run(test)
