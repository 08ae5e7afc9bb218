"""Ports over a reload, and what a new configuration means for running models."""

from __future__ import annotations

from collections.abc import Callable

from swapyard.config.changes import Changes, compare
from swapyard.config.load import Loaded, load_text
from swapyard.types import ModelId


def generation(text: str, before: Loaded | None = None) -> Loaded:
    return load_text(text, {}, ports=before.ports if before else None)


def models(**commands: str) -> str:
    return "models:\n" + "".join(f"  {name}: {{{rest}}}\n" for name, rest in commands.items())


PORT = "cmd: 's ${PORT}'"


def test_a_new_model_in_front_does_not_move_the_ports_of_the_others() -> None:
    old = generation(models(m=PORT, n=PORT))
    new = generation(models(a=PORT, m=PORT, n=PORT), old)
    assert new.ports == {"m": 5800, "n": 5801, "a": 5802}
    assert compare(old.config, new.config) == Changes(
        added=frozenset({ModelId("a")}), unchanged=frozenset({ModelId("m"), ModelId("n")})
    )


def test_the_port_of_a_removed_model_is_not_given_out_in_the_same_reload() -> None:
    old = generation(models(m=PORT, n=PORT))
    new = generation(models(n=PORT, x=PORT), old)
    assert new.ports == {"n": 5801, "x": 5802}
    assert generation(models(n=PORT, x=PORT, y=PORT), new).ports == {"n": 5801, "x": 5802, "y": 5800}


def test_a_changed_command_changes_the_model_and_nothing_else() -> None:
    old = generation(models(m=PORT, n=PORT))
    new = generation(models(m="cmd: 's -v ${PORT}'", n=PORT), old)
    assert compare(old.config, new.config) == Changes(
        changed=frozenset({ModelId("m")}), unchanged=frozenset({ModelId("n")})
    )


def test_settings_that_do_not_reach_the_process_leave_it_running() -> None:
    old = generation(models(m=PORT))
    new = generation(
        "healthCheckTimeout: 300\nunloadTimeout: 4\n"
        + models(m=PORT + ", ttl: 9, aliases: [x], name: y, filters: {stripParams: z}"),
        old,
    )
    assert compare(old.config, new.config).unchanged == {"m"}


def test_environment_address_and_stop_command_belong_to_the_process() -> None:
    old = generation(models(a=PORT, b=PORT, c=PORT))
    text = models(
        a=PORT + ", env: [A=1]", b=PORT + ", proxy: 'http://h:${PORT}'", c=PORT + ", cmdStop: 'k ${PID}'"
    )
    assert compare(old.config, generation(text, old).config).changed == {"a", "b", "c"}


def test_a_removed_model_is_removed() -> None:
    old = generation(models(m=PORT, n=PORT))
    assert compare(old.config, generation(models(n=PORT), old).config).removed == {"m"}


def test_running_out_of_ports_is_a_problem_not_a_number(problems: Callable[[str], list[str]]) -> None:
    loaded = generation("startPort: 65535\n" + models(m=PORT))
    assert loaded.ports == {"m": 65535}
    [problem] = problems("startPort: 65535\n" + models(m=PORT, n=PORT))
    assert "model n: no number up to 65535" in problem
