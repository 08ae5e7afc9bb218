"""Names at the start of a path."""

from __future__ import annotations

from swapyard.config.load import load_text
from swapyard.config.names import Leading, LocalModel, Names, PeerModel, leading_entry
from swapyard.types import ModelId

NAMES = Names(
    load_text(
        "models:\n"
        "  org/m: {cmd: s, proxy: 'http://h', aliases: [org/m/fast]}\n"
        "  proxy: {cmd: s, proxy: 'http://h'}\n"
        "peers: {far: {proxy: 'http://r', models: [org/q, org]}}\n",
        {},
    ).config
)
ORG_M = LocalModel(ModelId("org/m"))


def test_the_longest_leading_name_wins() -> None:
    assert NAMES.leading("org/m/fast/v1/x") == Leading("org/m/fast", ORG_M, "/v1/x")
    assert NAMES.leading("org/m/v1") == Leading("org/m", ORG_M, "/v1")
    assert NAMES.leading("org/x") == Leading("org", PeerModel("far", "org"), "/x")


def test_a_name_ends_at_a_slash() -> None:
    assert NAMES.leading("proxyx/v1") is None
    assert NAMES.leading("proxy") == Leading("proxy", LocalModel(ModelId("proxy")), "")
    assert NAMES.leading("proxy/") == Leading("proxy", LocalModel(ModelId("proxy")), "/")


def test_peers_are_found_by_both_of_their_names() -> None:
    q = PeerModel("far", "org/q")
    assert NAMES.leading("far/org/q/x") == Leading("far/org/q", q, "/x")
    assert NAMES.leading("org/q") == Leading("org/q", q, "")
    assert q.qualified == "far/org/q"


def test_logs_know_local_models_only() -> None:
    assert NAMES.leading_local("org/m/fast/ignored/rest") == "org/m"
    assert NAMES.leading_local("far/org/q") is None


def test_a_name_is_looked_for_in_as_much_of_a_path_as_a_name_may_have() -> None:
    names = Names(
        load_text("models: {" + "/".join(["a"] * 256) + ": {cmd: s, proxy: 'http://h'}}", {}).config
    )
    assert names.leading_local("a/" * 100_000) == "/".join(["a"] * 256)
    assert names.leading_local("a/" * 250) is None


def test_the_longest_pin_wins_even_when_it_disables_the_name() -> None:
    pins = {"a": "x", "a/b": ""}
    assert leading_entry("a/b/c", pins.get) == ("a/b", "", "/c")
    assert leading_entry("a/c", pins.get) == ("a", "x", "/c")
    assert leading_entry("ab", pins.get) is None
