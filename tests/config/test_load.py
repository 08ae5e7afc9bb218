"""Loading: all problems at once with file, line and path; warnings; defaults that follow from the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from swapyard.config.load import load, load_text
from swapyard.errors import ConfigError
from swapyard.types import ModelId

Problems = Callable[[str], list[str]]

MODEL = "{cmd: s, proxy: 'http://h'}"


def test_problems_of_every_kind_are_reported_together(problems: Problems) -> None:
    found = problems(
        "startPort: '6000'\n"
        "globalTTL: -1\n"
        "macros: {bad.name: 1}\n"
        "models:\n"
        "  m:\n"
        "    cmd: run ${nope}\n"
        "    proxy: http://h\n"
        "    ttl: -5\n"
        "    unlisted: 3\n"
        "  n: {cmd: x, proxy: 'http://h', name: '${env.UNSET}'}\n"
        "groups: {g: {members: [ghost]}}\n"
        "apiKeys: ['a b']\n"
    )
    places = [problem.partition(": ")[0] + ": " + problem.split(": ")[1] for problem in found]
    assert sorted(places) == sorted(
        [
            "config.yaml:1: startPort",
            "config.yaml:2: globalTTL",
            "config.yaml:3: macros.bad.name",
            "config.yaml:6: models.m.cmd",
            "config.yaml:8: models.m.ttl",
            "config.yaml:9: models.m.unlisted",
            "config.yaml:10: models.n.name",
            "config.yaml:11: groups.g.members[0]",
            "config.yaml:12: apiKeys[0]",
        ]
    )


def test_a_problem_reads_as_file_line_path_and_rule(problems: Problems) -> None:
    assert problems(f"models:\n  m:\n    cmd: s\n    proxy: http://h\n    ttl: -2\n  n: {MODEL}\n") == [
        "config.yaml:5: models.m.ttl: model m: TTL must be -1 or more, got -2"
    ]


def test_a_value_that_was_reported_is_not_reported_again(problems: Problems) -> None:
    assert len(problems("models: {m: {cmd: s, proxy: 'http://${env.UNSET}', ttl: '${x}'}}\n")) == 2
    assert len(problems("models: {m: {cmd: 's ${env.UNSET}'}}\n")) == 1
    assert len(problems("apiKeys: [ok, []]\n")) == 1
    assert len(problems("models: {m: ~}\n")) == 1


def test_broken_definitions_do_not_make_every_use_of_them_an_error(problems: Problems) -> None:
    found = problems("models: [a]\nselectors: {s: {strategy: pin, targets: [a]}}\nhooks: {on_startup: 1}\n")
    assert [problem.split(": ")[1] for problem in found] == ["models", "hooks.on_startup"]


def test_all_merge_conflicts_are_reported_with_their_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"globalTTL: 1\nstartPort: 6000\nmodels:\n  m: {MODEL}\n")
    (tmp_path / "b.yaml").write_text(f"globalTTL: 2\nstartPort: [1]\nmodels:\n  m: {MODEL}\n")
    with pytest.raises(ConfigError) as caught:
        load(None, tmp_path, {})
    assert {(Path(problem.file).name, problem.line, problem.path) for problem in caught.value.problems} == {
        ("b.yaml", 1, "globalTTL"),
        ("b.yaml", 2, "startPort"),
        ("b.yaml", 4, "models.m"),
    }


def test_problems_of_several_files_that_do_not_parse_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: [\n")
    (tmp_path / "b.yaml").write_bytes(b"ok: 1\nx: \xff\n")
    (tmp_path / "c.yaml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError) as caught:
        load(None, tmp_path, {})
    a, b, c = caught.value.problems
    assert "failed to parse config" in a.rule
    assert (b.line, b.rule.startswith("failed to parse config: not UTF-8")) == (2, True)
    assert c.rule == "failed to read config: no such file or directory"


def test_semantic_problems_name_the_file_the_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"models:\n  a: {MODEL}\n")
    (tmp_path / "b.yaml").write_text(f"\nmodels:\n  b: {MODEL.replace('s,', 's, ttl: -9,')}\n")
    with pytest.raises(ConfigError) as caught:
        load(None, tmp_path, {})
    [problem] = caught.value.problems
    assert (Path(problem.file).name, problem.line) == ("b.yaml", 3)


def test_sources_are_listed_in_the_order_they_were_read(tmp_path: Path) -> None:
    main, extra = tmp_path / "z.yaml", tmp_path / "more"
    extra.mkdir()
    main.write_text("")
    (extra / "b.yml").write_text("logLevel: warn\n")
    (extra / ".a.yaml").write_text("")
    loaded = load(main, extra, {})
    assert loaded.sources == (main, extra / ".a.yaml", extra / "b.yml")
    assert loaded.config.log_level == "warn"


@pytest.mark.parametrize("name", ["main", "directory"])
def test_a_missing_source_says_what_the_system_says(name: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "nope"
    with pytest.raises(ConfigError, match=r"nope.*: no such file or directory"):
        load(nowhere if name == "main" else None, nowhere if name == "directory" else None, {})


def test_unknown_keys_warn_with_their_place_and_a_guess(warnings: Problems) -> None:
    assert warnings(
        "listen: 8081\n"
        "healthchecktimeout: 30\n"
        "models:\n"
        "  m:\n"
        "    cmd: s ${PORT}\n"
        "    stripParams: a\n"
        "    allias: [x]\n"
        "    filters: {strip_params: a}\n"
        "groups: {g: {member: [m]}}\n"
        "performance: {enable: true}\n"
    ) == [
        'config.yaml:1: listen: unknown key "listen" is ignored',
        'config.yaml:2: healthchecktimeout: unknown key "healthchecktimeout" is ignored; '
        'did you mean "healthCheckTimeout"?',
        'config.yaml:6: models.m.stripParams: unknown key "stripParams" is ignored; '
        'did you mean "filters.stripParams"?',
        'config.yaml:7: models.m.allias: unknown key "allias" is ignored; did you mean "aliases"?',
        'config.yaml:9: groups.g.member: unknown key "member" is ignored; did you mean "members"?',
    ]


def test_top_level_keys_that_hold_anchors_do_not_warn(warnings: Problems) -> None:
    assert warnings("defs: {a: &a {ttl: 1}}\nx-notes: hello\nmodels: {m: {<<: *a, cmd: 's ${PORT}'}}\n") == []


def test_an_unknown_key_in_a_shared_block_warns_once(warnings: Problems) -> None:
    text = "defs: {a: &a {cmd: 's ${PORT}', oops: 1}}\nmodels: {m: {<<: *a}, n: {<<: *a}}\n"
    assert len(warnings(text)) == 1


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("models: {m: {proxy: 'http://h'}}\n", "has no cmd"),
        ("models: {m: {cmd: s, proxy: 'localhost:80'}}\n", "no http:// address"),
        (f"models: {{a: {MODEL}, b: {{cmd: s, proxy: 'http://h', aliases: [a]}}}}\n", "always wins"),
        ("hooks: {on_startup: {preload: [ghost]}}\n", '"ghost" is no local model'),
        (
            f"models: {{a: {MODEL}}}\nrouting: {{router: {{settings: {{matrix: {{sets: {{s: a}}}}}}}}}}\n",
            "set routing.router.use to matrix",
        ),
        (
            f"models: {{a: {MODEL}}}\ngroups: {{g: {{members: [a]}}}}\n"
            "routing: {scheduler: {use: serial}}\n",
            "not used by the serial scheduler",
        ),
        (
            f"models: {{a: {MODEL}, b: {MODEL}}}\nhooks: {{on_startup: {{preload: [a, b]}}}}\n",
            "only the last one will stay loaded",
        ),
    ],
)
def test_what_has_no_effect_warns(text: str, fragment: str, warnings: Problems) -> None:
    assert fragment in "\n".join(warnings(text))


@pytest.mark.parametrize("keys", ["", "~", "[]", "[~]", "[~, k]", "['']", "[ ${env.EMPTY} ]"])
def test_authentication_is_never_switched_off_by_an_empty_key(keys: str) -> None:
    with pytest.raises(ConfigError, match="apiKeys"):
        load_text(f"apiKeys: {keys}\n", {"EMPTY": ""})


def test_without_api_keys_there_is_no_authentication() -> None:
    assert load_text("", {}).config.api_keys is None


def test_values_of_the_wrong_kind_show_what_was_found(problems: Problems) -> None:
    [problem] = problems(f"models: {{m: {MODEL}}}\nmetricsMaxInMemory: '{'9' * 60}'\n")
    assert problem == (
        f'config.yaml:2: metricsMaxInMemory: expected an integer, got text "{"9" * 37}..." '
        "(cannot unmarshal it into int)"
    )


def test_numbers_that_json_does_not_know_are_refused_in_parameters(problems: Problems) -> None:
    [problem] = problems("models: {m: {cmd: s, proxy: 'http://h', filters: {setParams: {a: [1, .inf]}}}}\n")
    assert "JSON knows no such number" in problem


def test_a_first_port_that_no_port_can_have_is_refused(problems: Problems) -> None:
    assert problems("startPort: 70000\nmodels: {m: {cmd: 's ${PORT}'}}\n") == [
        "config.yaml:1: startPort: startPort must be between 1 and 65535, got 70000"
    ]


def test_an_endpoint_that_cannot_be_part_of_a_url_is_refused(problems: Problems) -> None:
    [problem] = problems("models: {m: {cmd: s, proxy: 'http://h', checkEndpoint: '/%zz'}}\n")
    assert "models.m.checkEndpoint" in problem


def test_a_model_inherits_unless_it_says_otherwise() -> None:
    config = load_text(
        "healthCheckTimeout: 60\nsendHeartbeats: true\nmodels:\n"
        "  a: {cmd: s, proxy: 'http://h', healthCheckTimeout: ~}\n"
        "  b: {cmd: s, proxy: 'http://h', healthCheckTimeout: 3, sendHeartbeats: false}\n",
        {},
    ).config
    a, b = config.models[ModelId("a")], config.models[ModelId("b")]
    assert (a.health_check_timeout, a.send_heartbeats) == (60, True)
    assert (b.health_check_timeout, b.send_heartbeats) == (15, False)


def test_own_keys_have_their_defaults() -> None:
    config = load_text("store: {path: x.db}\n", {}).config
    scheduler = config.routing.scheduler.settings
    assert (scheduler.max_wait, scheduler.queue_timeout) == (60, 0)
    assert "Authorization" in config.capture_redact
    assert config.store is not None
    assert (config.store.max_rows, config.store.max_age_days) == (0, 0)


def test_five_hundred_models_and_a_wide_matrix_load_quickly() -> None:
    models = "".join(
        f"  model-{i}:\n    cmd: |\n      server --port ${{PORT}} ${{opts}}\n      -m {i}.gguf\n"
        f"    aliases: [a{i}]\n    filters: {{setParams: {{a: 1}}}}\n"
        for i in range(500)
    )
    wide = " & ".join("(" + " | ".join(f"model-{i * 12 + j}" for j in range(12)) + ")" for i in range(40))
    began = time.thread_time()
    config = load_text(
        f"macros: {{opts: '--fast'}}\nmodels:\n{models}matrix: {{sets: {{wide: '{wide}'}}}}\n", {}
    )
    assert len(config.config.models) == 500
    # Well under a second of computing; the bound only catches growth that is not linear.
    assert time.thread_time() - began < 20
