"""Fifty models in one file: all at once in fifty groups, and two by two under a matrix."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

COUNT = 50
MODELS = [f"m{number:02}" for number in range(COUNT)]
PAIRS = list(zip(MODELS[::2], MODELS[1::2], strict=True))


def config(use: str) -> str:
    """Groups and a matrix stand side by side; `use` says which one counts."""
    models = "".join(f'  {model}: {{cmd: "${{server}}.well_behaved ${{PORT}}"}}\n' for model in MODELS)
    groups = "".join(
        f"        g{model}: {{swap: true, exclusive: false, members: [{model}]}}\n" for model in MODELS
    )
    sets = "".join(f"          p{first}: {first} & {second}\n" for first, second in PAIRS)
    return f"""
models:
{models}
routing:
  router:
    use: {use}
    settings:
      groups:
{groups}
      matrix:
        sets:
{sets}
"""


def test_fifty_models_run_at_once_and_then_take_turns_in_pairs(yard: StartYard) -> None:
    swapyard = yard(config("group"))
    with ThreadPoolExecutor(COUNT) as clients:
        replies = list(clients.map(lambda model: swapyard.chat(model, timeout=60), MODELS))
    assert [reply.text for reply in replies if reply.status != 200] == []
    assert len({reply.json()["pid"] for reply in replies}) == COUNT
    assert swapyard.states() == dict.fromkeys(MODELS, "ready")

    swapyard.write_config(config("matrix"))
    swapyard.signal(signal.SIGHUP)
    swapyard.log_says("configuration reloaded: ")
    # A model that runs is served as it is, whatever the matrix thinks of its company.
    assert swapyard.request("POST", "/api/models/unload").status == 200
    for first, second in PAIRS:
        for model in (second, first):
            reply = swapyard.chat(model)
            assert (reply.status, reply.json()["choices"][0]["message"]["content"]) == (
                200,
                f"{model} heard you",
            )
        assert swapyard.states() == {first: "ready", second: "ready"}
