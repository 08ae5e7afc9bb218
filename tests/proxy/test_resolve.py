"""From what a request says to who answers it, for every place where the name may stand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from swapyard.config.load import load_text
from swapyard.errors import Fault, RequestError
from swapyard.proxy import resolve as resolving
from swapyard.proxy import routes
from swapyard.proxy.body import Body
from swapyard.proxy.generation import Generation, build
from swapyard.proxy.resolve import Asked, Target, resolve
from swapyard.proxy.routes import Route
from swapyard.proxy.slices import finished
from swapyard.types import ModelId, State

CONFIG = """
models:
  qwen:
    cmd: "x ${PORT}"
    aliases: [coder, "night:alias"]
    filters: {setParamsByID: {"qwen:think": {think: true}}}
  "org/m": {cmd: "x ${PORT}", useModelName: inner}
  "gemma:7b": {cmd: "x ${PORT}", filters: {stripParams: "top_k", setParams: {top_p: 1}}}
  mute: {cmd: "x ${PORT}", compat: {ignoreWebsockets: true}}
selectors:
  pool: {strategy: spillover, targets: [qwen, cloud/big, mute], settings: {spillover: 1}}
  "night:pool": {strategy: pin, targets: [qwen]}
  first: {strategy: pin, targets: [coder, qwen]}
  any: {strategy: warm, targets: [qwen, "gemma:7b"]}
routing: {router: {settings: {groups: {all: {swap: false, members: [qwen, "org/m", "gemma:7b", mute]}}}}}
profiles:
  day: {pins: {assistant: "org/m", qwen: "gemma:7b", off: ~, chosen: first, "night:pinned": qwen}}
  night: {pins: {assistant: qwen, far: cloud/big, off: ""}}
peers:
  cloud: {proxy: "http://127.0.0.1:1", models: [big, both]}
  other: {proxy: "http://127.0.0.1:1", models: [both, "deep/model"], filters: {setParams: {extra: 1}}}
"""


def generation(text: str = CONFIG) -> Generation:
    async def made() -> Generation:
        return build(load_text(text, {}).config, {})

    return asyncio.run(made())


GENERATION = generation()


def route(method: str, path: str) -> Route:
    row = routes.find(method, path)
    assert isinstance(row, Route)
    return row


CHAT = route("POST", "/v1/chat/completions")


def stopped(_: ModelId) -> State:
    return State.STOPPED


def resolved(*asked: Any, **more: Any) -> Target:
    return finished(resolve(*asked, **more))


def ask_json(body: dict[str, Any], profile: str | None = None, made: Generation = GENERATION) -> Target:
    asked = Asked("POST", "application/json", b"", Body(json.dumps(body).encode()))
    return resolved(CHAT, asked, made, profile, stopped)


def ask(name: str, profile: str | None = None) -> Target:
    return ask_json({"model": name}, profile)


def told(target: Target) -> Any:
    """The model that the upstream is told in a JSON body."""
    return json.loads(bytes(target.body.view()))["model"]


@pytest.mark.parametrize(
    ("name", "local", "said"),
    [
        ("qwen", "qwen", "qwen"),
        ("coder", "qwen", "coder"),
        ("qwen:think", "qwen", "qwen:think"),
        ("gemma:7b", "gemma:7b", "gemma:7b"),
        ("org/m", "org/m", "inner"),
    ],
)
def test_a_model_is_found_by_id_and_alias_and_told_the_name_it_goes_by(
    name: str, local: str, said: str
) -> None:
    target = ask(name)
    assert (target.local, target.model, target.requested) == (local, local, name)
    assert told(target) == said and target.refusal is None


@pytest.mark.parametrize(
    ("name", "peer", "said"),
    [("cloud/big", "cloud", "big"), ("big", "cloud", "big"), ("other/deep/model", "other", "deep/model")],
)
def test_e21_a_peer_is_told_its_own_name_for_the_model(name: str, peer: str, said: str) -> None:
    target = ask(name)
    assert target.peer is not None and target.peer.id == peer
    assert target.model == name and told(target) == said


@pytest.mark.parametrize("name", ["nobody", "both", "cloud/nobody", "QWEN", " qwen"])
def test_a_name_that_nobody_has_is_refused_later_so_that_it_is_recorded(name: str) -> None:
    target = ask(name)
    assert target.refusal is not None and target.refusal.fault is Fault.UNKNOWN_MODEL
    assert target.refusal.message == "no router for requested model" and target.model == name


def test_e20_a_bare_name_that_two_peers_offer_is_nobodys_and_the_full_names_work() -> None:
    refused = ask("both")
    assert refused.refusal is not None and refused.refusal.fault is Fault.UNKNOWN_MODEL
    for name, peer in (("cloud/both", "cloud"), ("other/both", "other")):
        target = ask(name)
        assert target.peer is not None and target.peer.id == peer and target.refusal is None


def test_e24_a_local_model_comes_before_a_peers_of_the_same_name() -> None:
    made = generation(
        "models: {big: {cmd: 'x ${PORT}'}}\npeers: {cloud: {proxy: 'http://127.0.0.1:1', models: [big]}}\n"
    )
    target = ask_json({"model": "big"}, made=made)
    assert (target.local, target.peer) == ("big", None)
    peer = ask_json({"model": "cloud/big"}, made=made).peer
    assert peer is not None and peer.id == "cloud"


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}, {"other": {"model": "qwen"}}])
def test_a_request_without_a_model_is_refused_at_once(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refused:
        ask_json(body)
    assert refused.value.fault is Fault.NO_MODEL
    assert refused.value.message == "no model id could be identified"


# Profiles


@pytest.mark.parametrize(
    ("name", "requested", "local"),
    [
        ("assistant", "org/m", "org/m"),
        ("qwen", "gemma:7b", "gemma:7b"),
        ("chosen", "coder", "qwen"),
        ("coder", "coder", "qwen"),
    ],
)
def test_the_active_profile_pins_names_once_and_before_everything_else(
    name: str, requested: str, local: str
) -> None:
    target = ask(name, "day")
    assert (target.requested, target.local) == (requested, local)


def test_a_profile_that_is_not_active_means_nothing() -> None:
    assert ask("assistant").refusal is not None
    assert ask("qwen").local == "qwen"


@pytest.mark.parametrize("name", ["off", "day:off", "night:off", "night:"])
def test_e19_a_name_that_a_profile_switches_off_is_no_name(name: str) -> None:
    with pytest.raises(RequestError) as refused:
        ask(name, "day")
    assert refused.value.fault is Fault.NO_MODEL


@pytest.mark.parametrize("active", [None, "day"])
@pytest.mark.parametrize(
    ("name", "requested", "model", "said"),
    [
        # Pinned by the profile before the colon, whichever is active
        ("night:assistant", "qwen", "qwen", "qwen"),
        ("day:assistant", "org/m", "org/m", "inner"),
        ("day:chosen", "coder", "qwen", "coder"),
        ("night:far", "cloud/big", "cloud/big", "big"),
        # Not pinned by it: the name behind the colon as it is
        ("night:qwen", "qwen", "qwen", "qwen"),
        ("night:gemma:7b", "gemma:7b", "gemma:7b", "gemma:7b"),
        ("night:first", "coder", "qwen", "coder"),
        ("night:cloud/big", "cloud/big", "cloud/big", "big"),
        # Names that somebody has come first
        ("night:alias", "night:alias", "qwen", "night:alias"),
        ("night:pool", "qwen", "qwen", "qwen"),
        ("gemma:7b", "gemma:7b", "gemma:7b", "gemma:7b"),
    ],
)
def test_profile_colon_model_applies_that_profile_to_this_request_issue_3(
    active: str | None, name: str, requested: str, model: str, said: str
) -> None:
    target = ask(name, active)
    assert (target.requested, target.model) == (requested, model)
    assert told(target) == said


def test_a_pin_of_the_active_profile_comes_before_the_form_with_a_colon_issue_3() -> None:
    assert ask("night:pinned", "day").local == "qwen"
    assert ask("night:pinned").refusal is not None


def test_the_form_with_a_colon_is_no_chain_of_profiles_issue_3() -> None:
    target = ask("night:day:assistant")
    assert target.refusal is not None and target.requested == "day:assistant"


@pytest.mark.parametrize("name", ["dusk:qwen", ":qwen", "qwen:", "Night:qwen"])
def test_a_prefix_that_is_no_profile_belongs_to_the_name_issue_3(name: str) -> None:
    target = ask(name)
    assert target.refusal is not None and target.requested == name


def test_the_form_with_a_colon_works_in_queries_issue_3() -> None:
    row = route("GET", "/props")
    asked = Asked("GET", "", b"x=1&model=night%3Aassistant", Body())
    target = resolved(row, asked, GENERATION, None, stopped)
    assert target.local == "qwen" and b"model=qwen" in target.query and b"night" not in target.query


def test_the_form_with_a_colon_works_in_forms_issue_3() -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nnight:assistant\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="night:x"\r\n\r\nbytes\r\n--b--\r\n'
    )
    row = route("POST", "/v1/audio/transcriptions")
    asked = Asked("POST", "multipart/form-data; boundary=b", b"", Body(form))
    target = resolved(row, asked, GENERATION, None, stopped)
    assert target.local == "qwen"
    assert bytes(target.body.view()) == form.replace(b"\r\nnight:assistant\r\n", b"\r\nqwen\r\n")


def test_the_form_with_a_colon_changes_no_other_byte_issue_3() -> None:
    body = b'{ "temperature": 0.70,\n "model" : "night:assistant" , "x": [1e400, "\\u00e9"]}'
    asked = Asked("POST", "application/json; charset=utf-8", b"", Body(body))
    target = resolved(CHAT, asked, GENERATION, None, stopped)
    assert bytes(target.body.view()) == body.replace(b"night:assistant", b"qwen")


# Selectors


def test_a_selector_is_replaced_by_its_target_and_noted() -> None:
    target = ask("first")
    assert (target.requested, target.local, target.selector) == ("coder", "qwen", "first")
    assert target.metadata == {"selector": "first"} and told(target) == "coder"


def test_a_warm_selector_looks_at_the_states_of_its_targets() -> None:
    states = {ModelId("gemma:7b"): State.READY}
    asked = Asked("POST", "application/json", b"", Body(b'{"model":"any"}'))
    target = resolved(CHAT, asked, GENERATION, None, lambda model: states.get(model, State.STOPPED))
    assert target.local == "gemma:7b"


def test_a_spillover_target_is_held_until_the_request_is_released_once() -> None:
    made = generation()
    first = ask_json({"model": "pool"}, made=made)
    second = ask_json({"model": "pool"}, made=made)
    assert (first.requested, second.requested) == ("qwen", "cloud/big")
    second.release()
    second.release()
    third = ask_json({"model": "pool"}, made=made)
    assert third.requested == "cloud/big"


def test_a_request_that_is_given_up_while_it_is_changed_holds_nothing_issue_11() -> None:
    made = generation(
        "models: {a: {cmd: 'x ${PORT}', filters: {setParams: {p: 1}}}, b: {cmd: 'x ${PORT}'}}\n"
        "selectors: {pool: {strategy: spillover, targets: [a, b]}}\n"
        "routing: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}\n"
    )
    body = json.dumps({"model": "pool", "x": [[]] * 50_000}).encode()
    asked = Asked("POST", "application/json", b"", Body(body))
    work = resolve(CHAT, asked, made, None, stopped)
    next(work)
    work.close()
    assert ask_json({"model": "pool"}, made=made).requested == "a"


def test_an_ignored_websocket_holds_nothing() -> None:
    made = generation(
        "models: {mute: {cmd: 'x ${PORT}', compat: {ignoreWebsockets: true}}, b: {cmd: 'x ${PORT}'}}\n"
        "selectors: {pool: {strategy: spillover, targets: [mute, b]}}\n"
        "routing: {router: {settings: {groups: {all: {swap: false, members: [mute, b]}}}}}\n"
    )
    row = route("GET", "/props")
    for websocket, expected in ((True, "mute"), (True, "mute"), (False, "mute"), (False, "b")):
        asked = Asked("GET", "", b"model=pool", Body())
        target = resolved(row, asked, made, None, stopped, websocket=websocket)
        assert target.requested == expected


def test_a_selector_without_an_available_target_refuses() -> None:
    asked = Asked("POST", "application/json", b"", Body(b'{"model":"pool"}'))
    made = generation(
        "models: {a: {cmd: 'x ${PORT}'}}\nselectors: {pool: {strategy: spillover, targets: [a]}}\n"
        "routing: {router: {settings: {groups: {all: {swap: false, members: [a]}}}}}\n"
    )
    target = resolved(CHAT, asked, made, None, lambda _: State.STOPPING)
    assert target.refusal is not None and target.refusal.fault is Fault.NO_TARGET


# Filters


def test_e18_pin_then_selector_then_the_filters_of_the_generated_alias() -> None:
    made = generation(
        "models: {qwen: {cmd: 'x ${PORT}', filters: {setParamsByID: {'qwen:think': {think: true}}}}}\n"
        "selectors: {deep: {strategy: pin, targets: ['qwen:think']}}\n"
        "profiles: {day: {pins: {helper: deep}}}\n"
    )
    target = ask_json({"model": "helper"}, "day", made)
    assert (target.requested, target.local, target.selector) == ("qwen:think", "qwen", "deep")
    assert json.loads(bytes(target.body.view())) == {"model": "qwen:think", "think": True}


def test_filters_of_the_requested_name_apply_after_profile_and_selector() -> None:
    target = ask_json({"model": "qwen:think", "x": 1})
    assert json.loads(bytes(target.body.view())) == {"model": "qwen:think", "x": 1, "think": True}
    target = ask_json({"model": "gemma:7b", "top_k": 3})
    assert json.loads(bytes(target.body.view())) == {"model": "gemma:7b", "top_p": 1}
    target = ask_json({"model": "other/deep/model"})
    assert json.loads(bytes(target.body.view())) == {"model": "deep/model", "extra": 1}


def test_a_body_that_cannot_be_filtered_is_refused_and_what_was_held_can_be_released() -> None:
    made = generation(
        "models: {a: {cmd: 'x ${PORT}', filters: {setParams: {p: 1}}}, b: {cmd: 'x ${PORT}'}}\n"
        "selectors: {pool: {strategy: spillover, targets: [a, b]}}\n"
        "routing: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}\n"
    )
    asked = Asked("POST", "application/json", b"", Body(b'{"model":"pool","x":'))
    target = resolved(CHAT, asked, made, None, stopped)
    assert target.refusal is not None and target.refusal.fault is Fault.BAD_REQUEST
    target.release()
    assert ask_json({"model": "pool"}, made=made).requested == "a"


def test_what_nothing_changes_goes_on_as_the_very_body_that_came() -> None:
    body = Body(b'{"model":"qwen"}')
    target = resolved(CHAT, Asked("POST", "application/json", b"q=1", body), GENERATION, None, stopped)
    assert target.body is body and target.query == b"q=1"


def test_versionless_paths_reach_the_upstream_without_their_prefix() -> None:
    row = route("POST", "/v/chat/completions")
    asked = Asked("POST", "application/json", b"", Body(b'{"model":"qwen","stream":true}'))
    target = resolved(row, asked, GENERATION, None, stopped)
    assert target.path == b"/chat/completions" and target.stream and not target.shows_loading


def test_a_bare_name_is_only_known_for_names_that_a_peer_knows_otherwise() -> None:
    assert resolving.bare_name(ask("cloud/big"), GENERATION) == "big"
    assert resolving.bare_name(ask("big"), GENERATION) is None
    assert resolving.bare_name(ask("qwen"), GENERATION) is None
