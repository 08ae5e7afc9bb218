"""Router and scheduler: which one is active, why, and what the groups are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swapyard.config.load import load_text
from swapyard.config.schema import Config
from swapyard.types import ModelId

Problems = Callable[[str], list[str]]

MODELS = "models: {a: {cmd: s, proxy: 'http://h', aliases: [z]}, b: {cmd: s, proxy: 'http://h'}}\n"


def loaded(text: str) -> Config:
    return load_text(MODELS + text, {}).config


@pytest.mark.parametrize(
    ("text", "use", "reason"),
    [
        ("", "serial", "the default"),
        ("groups: {}\n", "serial", "the default"),
        ("routing: {scheduler: {settings: {maxWait: 5}}}\n", "serial", "the default"),
        ("routing: {scheduler: {use: ''}}\n", "serial", "the default"),
        ("groups: {g: {members: [a]}}\n", "fifo", "declares groups"),
        ("matrix: {sets: {s: a}}\n", "fifo", "declares a matrix"),
        ("routing: {router: {use: group}}\n", "fifo", "declares routing.router"),
        ("routing: {router: {settings: {groups: {g: {}}}}}\n", "fifo", "declares routing.router"),
        ("routing: {scheduler: {settings: {fifo: {priority: {a: 1}}}}}\n", "fifo", "declares fifo settings"),
        ("groups: {g: {members: [a]}}\nrouting: {scheduler: {use: serial}}\n", "serial", "says so"),
        ("routing: {scheduler: {use: fifo}}\n", "fifo", "says so"),
    ],
)
def test_the_scheduler_in_force_says_why(text: str, use: str, reason: str) -> None:
    scheduler = loaded(text).routing.scheduler
    assert scheduler.use == use
    assert reason in scheduler.reason


def test_an_unknown_scheduler_is_refused_with_the_valid_words(problems: Problems) -> None:
    [problem] = problems("routing: {scheduler: {use: lifo}}\n")
    assert 'unknown scheduler "lifo"; valid are serial, fifo' in problem


def test_group_members_may_be_aliases() -> None:
    groups = loaded("groups: {g: {members: [z]}}\n").routing.router.settings.groups
    assert groups["g"].members == ("a",)
    assert groups["(default)"].members == ("b",)


def test_a_model_under_its_alias_and_its_id_is_a_duplicate_member(problems: Problems) -> None:
    [problem] = problems(MODELS + "groups: {g: {members: [z, a]}}\n")
    assert "duplicate model member a" in problem


def test_a_priority_counts_for_the_model_behind_an_alias() -> None:
    config = loaded("routing: {scheduler: {settings: {fifo: {priority: {z: 7}}}}}\n")
    assert config.priority(ModelId("a")) == 7
    assert config.priority(ModelId("b")) == 0


def test_a_priority_under_the_id_beats_one_under_an_alias() -> None:
    config = loaded("routing: {scheduler: {settings: {fifo: {priority: {z: 7, a: -2}}}}}\n")
    assert config.priority(ModelId("a")) == -2


def test_a_cost_under_the_id_beats_one_under_a_var() -> None:
    text = "matrix: {vars: {v: a}, evict_costs: {a: 3, v: 9}, sets: {s: v}}\n"
    matrix = loaded(text).routing.router.settings.matrix
    assert matrix is not None
    assert matrix.evict_costs == {"a": 3}


def test_a_matrix_is_ranked_and_remembers_the_order_of_definition() -> None:
    matrix = loaded("matrix: {sets: {big: +small & b, small: a}}\n").routing.router.settings.matrix
    assert matrix is not None
    assert [named.name for named in matrix.sets] == ["small", "big"]
    assert matrix.set_order == ("big", "small")


def test_every_mistake_of_a_matrix_is_reported(problems: Problems) -> None:
    found = problems(
        MODELS
        + "matrix:\n  vars: {v_1: a, w: ghost}\n  evict_costs: {a: 0, nope: 1}\n"
        + "  sets:\n    s: a &\n    t: w & zz\n"
    )
    assert [problem.split(": ")[0] for problem in found] == [
        f"config.yaml:{line}" for line in (3, 3, 4, 4, 6, 7)
    ]
