"""Profiles: listed, switched, and what is no choice of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import ProfileChanged

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

CONFIG = """
models: {base-7b: {cmd: '@MODEL@'}}
profiles:
  night: {description: small models only, pins: {assistant: base-7b, painter: ""}}
  day: {pins: {other: base-7b}}
"""
PUT = "PUT /api/profiles/active"


def test_profiles_are_listed_by_name_with_their_pins(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, _):
            assert json.loads((await ask(port, "GET /api/profiles"))[2]) == {
                "active": None,
                "profiles": [
                    {"id": "day", "description": "", "pins": {"other": "base-7b"}},
                    {
                        "id": "night",
                        "description": "small models only",
                        "pins": {"assistant": "base-7b", "painter": ""},
                    },
                ],
            }

    run(main())


@pytest.mark.parametrize(
    ("body", "active"),
    [
        ('{"name":"night"}', "night"),
        (' \n{"name":"night","more":1} trailing', "night"),
        ('{"name":null}', None),
        ('{"name":""}', None),
    ],
)
def test_a_profile_is_chosen_by_name_whatever_the_content_type(
    run: Run, yard: Yard, ask: Ask, body: str, active: str | None
) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            program.activate_profile("day")
            status, _, got = await ask(port, PUT, {"Content-Type": "text/plain"}, body)
            assert (status, json.loads(got)) == (200, {"active": active})
            assert json.loads((await ask(port, "GET /api/profiles"))[2])["active"] == active

    run(main())


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("", 400, "invalid profile request"),
        ("night", 400, "invalid profile request"),
        ('["night"]', 400, "invalid profile request"),
        ("[" * 60_000, 400, "invalid profile request"),
        (b"\xff{}", 400, "invalid profile request"),
        ("null", 400, "profile name is required"),
        ("{}", 400, "profile name is required"),
        ('{"name":3}', 400, "profile name must be a string or null"),
        ('{"name":"dusk"}', 404, 'profile "dusk" not found'),
        ('{"name":"\\ud800"}', 404, 'profile "?" not found'),
        ('{"name":"' + "x" * 70_000 + '"}', 413, "the body is too long to be a choice of profile"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_names_no_profile_is_refused_and_changes_nothing(
    run: Run, yard: Yard, ask: Ask, body: str | bytes, status: int, message: str
) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            program.activate_profile("day")
            got, _, answer = await ask(port, PUT, {}, body)
            assert (got, json.loads(answer)["error"]["message"]) == (status, message)
            assert program.data.profile == "day"

    run(main())


def test_only_a_change_is_told(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            with program.bus.subscribe(ProfileChanged) as changes:
                for name in ("night", "night", "day"):
                    await ask(port, PUT, {}, json.dumps({"name": name}))
                assert await changes.next() == ProfileChanged("night")
                assert await changes.next() == ProfileChanged("day")

    run(main())
