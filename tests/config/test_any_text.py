"""Whatever stands in a configuration, it loads or every problem is told, and every listing can be written."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swapyard.api import listing
from swapyard.app.translate import policy_of, specs_of
from swapyard.config.describe import resolved
from swapyard.config.load import Loaded, load_text
from swapyard.config.names import LONGEST_NAME_BYTES, Names
from swapyard.errors import ConfigError
from swapyard.proxy import generation
from swapyard.types import State

ENVIRON = {"HOST": "h", "MACRO": "${m}", "NESTED": "${env.HOST}", "BYTES": "a\udcffb", "LINES": "a\nb"}

VALID = """\
%YAML 1.2
---
logLevel: debug
globalTTL: 60
startPort: 6000
healthCheckTimeout: 30
includeAliasesInList: true
captureBuffer: 1
performance: {every: 5s}
macros: &m {bin: "/bin/server --host ${env.HOST}", ctx: 4096, ratio: 0.5, flag: true}
apiKeys: [one, "two"]
upstream: {ignorePaths: ['\\.js$', "^/a"]}
models:
  "org/one": &one
    cmd: |
      ${bin} --port ${PORT}
      # a comment
      --ctx ${ctx}
    cmdStop: kill ${PID}
    aliases: [first, "a b", '${MODEL_ID}-x']
    env: ["A=1", "B=${ratio}"]
    name: One
    description: >-
      folded
      text
    metadata: {n: 1, f: 1.5, d: 2020-01-01, list: [1, {a: ~}], on: yes}
    capabilities: {in: [text, image], out: [text], context: 1000}
    filters: {stripParams: "a, b", setParams: {x: {y: [1]}}, setParamsByID: {"${MODEL_ID}:low": {e: low}}}
    timeouts: {connect: 3}
  two: {<<: *one, aliases: [], filters: ~, ttl: 5, concurrencyLimit: 2, proxy: "http://${env.HOST}:${PORT}/p"}
profiles: {night: {description: d, pins: {first: two, off: ""}}}
selectors: {pool: {strategy: spillover, targets: [two, far/x], settings: {spillover: 2}, metadata: {a: b}}}
peers: {far: {proxy: "https://h/api", models: [x, "y/z"], apiKey: "${env.HOST}"}}
hooks: {on_startup: {preload: [two]}}
routing: {router: {settings: {groups: {g: {swap: false, members: [two, "org/one"]}}}}}
"""

SINGLE = """{}[]:,-?&*!|>%@`'"#\\~<=\t\n \0\a\x7f\x85\u2028\ufeff\ufffd\ue000😀"""
MANY = [
    *(
        "\\ud83d",
        "\\ude00",
        "\\ud83d\\ude00",
        "\\U00110000",
        "\\UFFFFFFFF",
        "\\0",
        "\\x85",
        '"\\udc24{env.HOST}"',
    ),
    *(
        "${env.HOST}",
        "${env.MACRO}",
        "${env.NESTED}",
        "${env.BYTES}",
        "${env.LINES}",
        "${env.NO}",
        "${m}",
        "${",
    ),
    *(
        "<<: *m",
        "*one",
        "&one",
        "!!binary gA==",
        "!!int x",
        "!!str 1",
        "!!timestamp",
        "!x%ED%A0%80",
        "!<%ff>",
    ),
    *("\n---\n", "\n...\n", "%YAML 3.7\n", "%TAG ! x\n", "? x", "- - -", "? [a]: b", "a" * 600, "ö" * 300),
    *("1e999", ".nan", "-.inf", "9" * 5000, "0x" + "f" * 300, "9999-99-99", "0001-01-01T00:00:00+23:59"),
]
FRAGMENTS = st.one_of(st.sampled_from([*SINGLE, *MANY]), st.text(max_size=5))

CHANGES = st.lists(
    st.tuples(st.integers(0, len(VALID)), st.integers(0, 20), FRAGMENTS), min_size=1, max_size=6
)


def changed(changes: list[tuple[int, int, str]]) -> str:
    text = VALID
    for at, length, fragment in changes:
        text = text[:at] + fragment + text[at + length :]
    return text


def everything(text: str) -> Loaded | None:
    """Load, list and describe; None when it was refused, in words that can be printed."""
    try:
        loaded = load_text(text, ENVIRON)
    except ConfigError as refusal:
        told = refusal.problems
    else:
        listings_of(loaded)
        return loaded
    assert told and all(problem.rule for problem in told)
    assert all(str(problem).encode() and "\n" not in str(problem) for problem in told)
    return None


def listings_of(loaded: Loaded) -> None:
    """Make everything that shows or uses a configuration, as far as it needs no running program."""
    config = loaded.config
    for warning in loaded.warnings:
        assert str(warning).encode()
    assert json.dumps(resolved(config), ensure_ascii=False).encode()
    for profile in (None, *config.profiles):
        rows = listing.records(config, Names(config), profile, lambda _: State.READY, created=0)
        assert json.dumps(rows, ensure_ascii=False, allow_nan=False).encode()
    assert generation.build(config, {}).names.models == set(config.models)
    assert set(policy_of(config).models) == set(specs_of(config)) == set(config.models)


def test_the_text_that_is_changed_is_valid() -> None:
    loaded = everything(VALID)
    assert loaded is not None and list(loaded.config.models) == ["org/one", "two"]


@settings(max_examples=150, deadline=None)
@given(st.one_of(CHANGES.map(changed), st.lists(FRAGMENTS, max_size=30).map("".join), st.text()))
def test_any_text_loads_or_is_refused(text: str) -> None:
    everything(text)


NAMES = st.one_of(
    st.text(min_size=1, max_size=8), st.text(st.characters(categories=["Cs", "Cc"]), min_size=1, max_size=3)
)


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES, NAMES, st.booleans())
def test_any_name_can_be_listed_or_is_refused(model: str, alias: str, other: str, escapes: bool) -> None:
    entry = {
        "cmd": "s ${PORT}",
        "name": other,
        "description": alias,
        "aliases": [alias],
        "metadata": {other: alias},
    }
    document = {
        "includeAliasesInList": True,
        "models": {model: entry},
        "peers": {other: {"proxy": "http://h", "models": [model, alias]}},
        "selectors": {other: {"strategy": "pin", "targets": [model]}},
        "profiles": {alias: {"pins": {other: model, alias: ""}}},
    }
    loaded = everything(json.dumps(document, ensure_ascii=escapes))
    if loaded is not None:
        assert list(loaded.config.models) == [model.encode("utf-16", "surrogatepass").decode("utf-16")]


@pytest.mark.parametrize("written", ['"\\ud83d\\ude00"', '"\\U0001F600"', "😀"])
def test_an_emoji_is_one_however_it_is_written(written: str) -> None:
    loaded = everything(
        f"models: {{{written}: {{cmd: 's ${{PORT}}', name: {written}, aliases: [{written}]}}}}"
    )
    assert loaded is not None
    (model,) = loaded.config.models.items()
    assert (model[0], model[1].name, model[1].aliases) == ("😀", "😀", ("😀",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('\nmodels: {"a\\ud83d": {cmd: s}}', "c.yaml:2: models.a\ufffd: \\ud83d is half of a character"),
        ('models:\n  a:\n    name: "\\ude00"', "c.yaml:3: models.a.name: \\ude00 is half of a character"),
        ('macros:\n  a: "\\ud83d"\n', "c.yaml:2: macros.a: \\ud83d is half of a character"),
        ('x:\n- a\n- "\\udc24{env.HOST}"\n', "c.yaml:3: x[1]: \\udc24 is half of a character"),
        ('\nx: "\\U00110000"', "c.yaml:2: failed to parse config: found an escape beyond the last character"),
        ("\nx: ${env.BYTES}", "c.yaml:2: x: environment variable 'BYTES' is not UTF-8"),
    ],
)
def test_what_is_no_character_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, ENVIRON, "c.yaml")
    assert any(str(found).startswith(problem) for found in caught.value.problems)


MODEL = '{cmd: s, proxy: "http://h"}'
NAMED: Mapping[str, str] = {
    "models.N": 'models: {"N": M}',
    "models.m.aliases[0]": 'models: {m: {cmd: s, proxy: "http://h", aliases: ["N"]}}',
    "models.m.filters.setParamsByID.N": (
        'models: {m: {cmd: s, proxy: "http://h", filters: {setParamsByID: {"N": {}}}}}'
    ),
    "selectors.N": 'models: {m: M}\nselectors: {"N": {strategy: pin, targets: [m]}}',
    "profiles.N": 'models: {m: M}\nprofiles: {"N": {pins: {a: m}}}',
    "profiles.p.pins.N": 'models: {m: M}\nprofiles: {p: {pins: {"N": m}}}',
    "peers.N": 'peers: {"N": {proxy: "http://h", models: [m]}}',
    "peers.p.models[0]": 'peers: {p: {proxy: "http://h", models: ["N"]}}',
    "groups.N": 'models: {m: M}\ngroups: {"N": {members: [m]}}',
}


@pytest.mark.parametrize("path", NAMED)
def test_names_that_are_too_long_or_hold_controls_are_refused(path: str) -> None:
    def problems(name: str) -> list[str]:
        text = NAMED[path].replace("M", MODEL).replace("N", name)
        try:
            load_text(text, {})
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    fits = (LONGEST_NAME_BYTES - (2 if path.startswith("peers") else 0)) // 2
    assert problems("ö" * fits) == []
    assert any("at most 512 are possible" in problem for problem in problems("ö" * (fits + 1)))
    for control in ("\\x07", "\\x7f", "\\x9b"):
        place = path.replace("N", f"a{control}")
        assert any(
            f": {place}: " in found and f'a{control}" has control characters' in found
            for found in problems(f"a{control}")
        )
