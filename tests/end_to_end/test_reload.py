"""Edits of the configuration while it is in use: nothing that is being said is interrupted."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

STREAMS = 8
RELOADED = "configuration reloaded: "
REFUSED = "failed to reload config: "

GOOD = "${server}.well_behaved ${PORT}"


def config(more: str = "", *, first: str = "", third: str | None = GOOD) -> str:
    """Three models that may run together, or two when there is no `third` command.

    `first` is further settings of that model, `more` is put before everything.
    """
    members = ["first", "second", *(["third"] if third else [])]
    return f"""
{more}
models:
  first: {{cmd: "{GOOD}", {first}}}
  second: {{cmd: "{GOOD}"}}
  {f'third: {{cmd: "{third}"}}' if third else ""}
groups:
  together: {{swap: false, exclusive: false, members: [{", ".join(members)}]}}
"""


EDITS = [
    config("# a comment"),
    config(first="ttl: 600") + "selectors: {any: {strategy: warm, targets: [first, second]}}\n",
    config(first="description: the first one, aliases: [uno]"),
    "models: [this is not a configuration\n",
    config(first="ttl: 5, concurrencyLimit: 100"),
    config(third=f"{GOOD} 0"),
    config(third=None),
    config("logLevel: debug"),
    config("metricsMaxInMemory: 50\ncaptureBuffer: 1"),
    config(),
]
"""In order: a comment; a new selector; description and alias; nonsense; limits; another model's command; that
model goes; it comes back, and the log talks more; settings of the recorder; back to the beginning."""


def test_eight_streams_run_through_ten_edits(yard: StartYard, tmp_path: Path) -> None:
    assert len(EDITS) == 10
    swapyard = yard(config())
    pids = {model: swapyard.pid_of(model) for model in ("first", "second", "third")}
    end = tmp_path / "end"
    with ExitStack() as open_streams:
        streams = [
            open_streams.enter_context(swapyard.stream(model, until=str(end)))
            for model in ("first", "second") * (STREAMS // 2)
        ]
        for edit in EDITS:
            reload(swapyard, edit)
        end.touch()
        for stream in streams:
            said = stream.words()
            assert said == [str(number) for number in range(len(said))]
    assert swapyard.log().count(REFUSED) == 1
    assert {model: swapyard.pid_of(model) for model in ("first", "second")} == {
        model: pids[model] for model in ("first", "second")
    }
    assert swapyard.pid_of("third") != pids["third"]


def outcomes(swapyard: Yard) -> int:
    log = swapyard.log()
    return log.count(RELOADED) + log.count(REFUSED)


def reload(swapyard: Yard, config: str) -> None:
    before = outcomes(swapyard)
    swapyard.write_config(config)
    swapyard.signal(signal.SIGHUP)
    swapyard.until(lambda: outcomes(swapyard) > before, "the configuration is reloaded")


def test_a_changed_model_finishes_what_it_says_and_then_changes(yard: StartYard, tmp_path: Path) -> None:
    swapyard = yard(config())
    pid = swapyard.pid_of("first")
    end = tmp_path / "end"
    with swapyard.stream("first", until=str(end)) as stream:
        reload(swapyard, config(first="env: [VERSION=2]"))
        with swapyard.leave_after_asking({"model": "first"}) as client:
            swapyard.until(
                lambda: len(swapyard.in_flight()) == 2, "the next request waits for the new version"
            )
            end.touch()
            said = stream.words()
            answer = client.recv(65536)
            while b"pid" not in answer:
                answer += client.recv(65536)
    assert said == [str(number) for number in range(len(said))]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["pid"] != pid


def test_a_removed_model_finishes_what_it_says_and_is_unknown_at_once(
    yard: StartYard, tmp_path: Path
) -> None:
    swapyard = yard(config())
    end = tmp_path / "end"
    with swapyard.stream("third", until=str(end)) as stream:
        reload(swapyard, config(third=None))
        assert swapyard.chat("third").status == 404
        end.touch()
        said = stream.words()
    assert said == [str(number) for number in range(len(said))]
    swapyard.until(lambda: swapyard.states() == {}, "its process is stopped")


def test_a_file_that_cannot_be_used_changes_nothing_and_says_why(yard: StartYard) -> None:
    swapyard = yard(config())
    pid = swapyard.pid_of("first")
    reload(swapyard, config(first="ttl: -5"))
    log = swapyard.log()
    assert REFUSED in log and "config.yaml:" in log and "models.first.ttl" in log
    assert swapyard.pid_of("first") == pid


def test_a_watched_file_is_loaded_again_when_it_changes(yard: StartYard) -> None:
    swapyard = yard(config(third=None), "-watch-config")
    assert swapyard.chat("third").status == 404
    swapyard.write_config(config())
    swapyard.log_says(RELOADED)
    assert swapyard.chat("third").status == 200


@pytest.mark.timeout(40)
def test_watchers_of_events_stay(yard: StartYard) -> None:
    swapyard = yard(config())
    with swapyard.watch("/api/events") as watching:
        events = watching.events()
        next(events)
        reload(swapyard, config(third=None))
        reload(swapyard, config())
        assert swapyard.chat("third").status == 200
        assert any("third" in event and "ready" in event for event in events)
