"""What a configuration asks of the scheduler and of supervision."""

from __future__ import annotations

import pytest

from swapyard.app.translate import needs_no_eviction, policy_of, specs_of
from swapyard.config.load import load_text
from swapyard.config.schema import Config
from swapyard.scheduling.policy import ModelPolicy, OrderKind
from swapyard.types import ModelId

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
MODELS = """
models:
  a: {cmd: "x ${PORT}", ttl: 5, unloadTimeout: 7, concurrencyLimit: 3, cmdStop: "stop ${PID}", env: [K=V]}
  b: {cmd: "x ${PORT}"}
  c: {cmd: "x ${PORT}"}
"""
FIFO = "routing: {scheduler: {use: fifo, settings: {fifo: {priority: {a: 9}}}}}\n"
GROUPS = "groups: {pair: {swap: false, exclusive: false, members: [a, b]}}\n"
MATRIX = "matrix: {vars: {x: a, y: b, z: c}, sets: {one: 'x & y', two: z}}\n"


def config(text: str) -> Config:
    return load_text(text, {}).config


def test_limits_priorities_and_times_reach_the_scheduler() -> None:
    policy = policy_of(config(MODELS + FIFO))
    assert policy.models[A] == ModelPolicy(limit=3, priority=9, ttl=5, grace=7)
    assert policy.models[B] == ModelPolicy(limit=0, priority=0, ttl=0, grace=10)
    assert policy.order is OrderKind.FIFO
    assert policy_of(config(MODELS)).order is OrderKind.SERIAL


@pytest.mark.parametrize(
    ("routing", "target", "running", "evicted"),
    [
        (GROUPS, A, [B], ()),
        (GROUPS, C, [A, B], (A, B)),
        (MATRIX, A, [B], ()),
        (MATRIX, C, [A, B], (A, B)),
        (MATRIX, A, [C], (C,)),
        (FIFO, A, [B], (B,)),
    ],
)
def test_the_planner_is_the_configured_router(
    routing: str, target: ModelId, running: list[ModelId], evicted: tuple[ModelId, ...]
) -> None:
    assert policy_of(config(MODELS + routing)).planner(target, running).evict == evicted


def test_commands_reach_supervision_as_they_are_after_expansion() -> None:
    spec = specs_of(config("startPort: 5900\n" + MODELS))[A]
    assert (spec.command, spec.stop_command, spec.env) == ("x 5900", "stop ${PID}", ("K=V",))
    assert (spec.proxy, spec.check_endpoint) == ("http://localhost:5900", "/health")
    assert (spec.health_check_timeout, spec.connect_timeout) == (120, 30)


@pytest.mark.parametrize(
    ("routing", "model", "running", "fits"),
    [
        ("", A, [], True),
        ("", A, [A], True),
        ("", A, [B], False),
        (GROUPS, A, [B], True),
        (GROUPS, A, [C], True),
        (MATRIX, A, [B], True),
        (MATRIX, A, [C], False),
    ],
)
def test_whether_a_model_fits_beside_what_runs(
    routing: str, model: ModelId, running: list[ModelId], fits: bool
) -> None:
    assert needs_no_eviction(config(MODELS + routing), model, running) is fits


@pytest.mark.parametrize("routing", ["", FIFO, GROUPS, MATRIX])
def test_what_was_removed_from_the_configuration_may_still_be_running(routing: str) -> None:
    removed = ModelId("removed")
    evicted = policy_of(config(MODELS + routing)).planner(A, [removed]).evict
    assert needs_no_eviction(config(MODELS + routing), A, [removed]) is (not evicted and bool(routing))
