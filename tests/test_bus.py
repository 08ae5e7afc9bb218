"""The bus: order, kinds, watchers that fall behind, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from swapyard.bus import TEXT_LIMIT_BYTES, Bus, Gap, Subscription
from swapyard.notices import ActivityRecorded, LogWritten, Notice, ProfileChanged

Run = Callable[[Coroutine[Any, Any, None]], None]


async def everything(subscription: Subscription) -> list[Notice | int]:
    """What a subscription still gives until it ends; gaps as numbers."""
    found: list[Notice | int] = []
    while (notice := await subscription.next()) is not None:
        found.append(notice.lost if isinstance(notice, Gap) else notice)
    return found


def test_a_watcher_gets_what_is_published_while_it_watches_in_order(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        bus.publish(ActivityRecorded(1))
        assert not bus.is_watched()
        with bus.subscribe() as subscription:
            assert bus.is_watched()
            bus.publish(ActivityRecorded(2))
            bus.publish(ProfileChanged("x"))
            bus.close()
            assert await everything(subscription) == [ActivityRecorded(2), ProfileChanged("x")]
        assert not bus.is_watched()

    run(main())


def test_a_watcher_that_waits_is_woken(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        with bus.subscribe() as subscription:
            waiting = asyncio.create_task(subscription.next())
            await asyncio.sleep(0)
            bus.publish(ActivityRecorded(7))
            assert await waiting == ActivityRecorded(7)

    run(main())


def test_a_watcher_of_some_kinds_sees_no_others(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        with bus.subscribe(ProfileChanged) as subscription:
            bus.publish(ActivityRecorded(1))
            bus.publish(ProfileChanged(None))
            bus.close()
            assert await everything(subscription) == [ProfileChanged(None)]

    run(main())


def test_a_watcher_that_falls_behind_is_told_how_many_it_lost(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        with bus.subscribe(capacity=2) as slow, bus.subscribe() as quick:
            for number in range(5):
                bus.publish(ActivityRecorded(number))
            bus.close()
            assert await everything(slow) == [ActivityRecorded(0), ActivityRecorded(1), 3]
            assert await everything(quick) == [ActivityRecorded(number) for number in range(5)]

    run(main())


def test_a_watcher_that_stays_behind_is_told_once_for_each_time_it_has_caught_up(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        with bus.subscribe(capacity=2) as slow:
            got: list[Notice | int] = []
            for number in range(9):
                for _ in range(3):
                    bus.publish(ActivityRecorded(number))
                notice = await slow.next()
                assert notice is not None
                got.append(notice.lost if isinstance(notice, Gap) else notice)
            first, second, third = got[:3], got[3:6], got[6:]
            assert first == [ActivityRecorded(0), ActivityRecorded(0), 7]
            assert second == [ActivityRecorded(3), ActivityRecorded(3), 7]
            assert third == [ActivityRecorded(6), ActivityRecorded(6), 7]

    run(main())


def test_a_watcher_that_falls_behind_holds_a_bounded_amount_of_log_text(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        chunk = LogWritten("upstream", b"x" * 65536)
        fit = TEXT_LIMIT_BYTES // 65536
        with bus.subscribe() as slow, bus.subscribe() as quick:
            bus.publish(ActivityRecorded(1))
            for _ in range(fit + 3):
                bus.publish(chunk)
                await quick.next()
            bus.publish(ActivityRecorded(2))
            bus.close()
            assert await everything(slow) == [ActivityRecorded(1), *[chunk] * fit, 4]
            assert await everything(quick) == [chunk, ActivityRecorded(2)]

    run(main())


def test_a_closed_bus_ends_watchers_at_once_those_who_come_later_too(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        with bus.subscribe() as early:
            waiting = asyncio.create_task(early.next())
            await asyncio.sleep(0)
            bus.close()
            assert await waiting is None
        with bus.subscribe() as late:
            assert await late.next() is None

    run(main())


def test_watchers_may_leave_in_any_order(run: Run) -> None:
    async def main() -> None:
        bus = Bus()
        first = bus.subscribe()
        first.__enter__()
        with bus.subscribe() as second:
            first.__exit__(None, None, None)
            bus.publish(ActivityRecorded(1))
            assert await second.next() == ActivityRecorded(1)

    run(main())
