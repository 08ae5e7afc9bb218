"""How a load becomes ready, and every way in which it fails."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from swapyard.types import Exit, ModelId, State

if TYPE_CHECKING:
    from tests.processes.conftest import Yard

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
MODEL = ModelId("gemma")
STARTING, READY, STOPPING, STOPPED = State.STARTING, State.READY, State.STOPPING, State.STOPPED


def test_readiness_is_noticed_when_it_happens(run_once: Run, yard: Yard, free_port: int) -> None:
    async def main() -> None:
        async with yard.running(yard.spec("ready_after=0.5", port=free_port)):
            late: list[float] = []
            while len(late) < 5 and min(late, default=1.0) > 0.15:
                load = asyncio.create_task(yard.load())
                await yard.until(lambda: yard.output.count(b"listening") > len(late))
                begun = time.monotonic()
                assert await load is None
                late.append(time.monotonic() - begun - 0.5)
                assert (yard.fleet.status(MODEL).load_seconds or 0) >= 0.5
                await yard.stop()
            # Meant: within 25 ms.  The best of a few: the machine may do other work meanwhile.
            assert -0.05 < min(late) < 0.15

    run_once(main)


@pytest.mark.parametrize("answer", ["204", "302", "404", "503", "never"])
def test_a_server_that_never_passes_its_probe_is_ended_within_the_health_check_timeout(
    run_once: Run, yard: Yard, free_port: int, answer: str
) -> None:
    """P-13, P-14."""

    async def main() -> None:
        async with yard.running(yard.spec(f"answer={answer}", port=free_port, health_check_timeout=1)):
            begun = time.monotonic()
            error = await yard.load()
            assert error is not None
            assert error.startswith("health check timed out after 1s; last output:\n")
            assert time.monotonic() - begun >= 1
            assert yard.alive() == []
            assert yard.states() == [STARTING, STOPPING, STOPPED]

    run_once(main)


def test_the_check_endpoint_is_joined_to_the_path_of_the_proxy(
    run_once: Run, yard: Yard, free_port: int
) -> None:
    async def main() -> None:
        spec = yard.spec(port=free_port, proxy=f"http://localhost:{free_port}/base/", check_endpoint="up?x=1")
        async with yard.running(spec):
            await yard.load()
            await yard.printed("answered 200 /base/up?x=1")

    run_once(main)


def test_without_a_probe_a_model_is_ready_as_soon_as_it_runs(
    run_once: Run, yard: Yard, free_port: int
) -> None:
    """P-18."""

    async def main() -> None:
        spec = yard.spec("listen_after=60", port=free_port, check_endpoint=" none ")
        async with yard.running(spec):
            assert await yard.load() is None
            assert yard.state() is READY and b"listening" not in yard.output

    run_once(main)


def test_a_command_that_does_not_exist_fails_each_time_with_its_name(run_once: Run, yard: Yard) -> None:
    """P-16."""

    async def main() -> None:
        async with yard.running(yard.spec(command="no-such-server --port 1")):
            for _ in range(2):
                assert await yard.load() == "executable not found: no-such-server"
                assert yard.state() is STOPPED
            assert yard.fleet.check(MODEL) == "executable not found: no-such-server"

    run_once(main)


def test_the_check_says_why_a_model_cannot_be_started(run_once: Run, yard: Yard) -> None:
    """S-23: known before anything is evicted for it."""
    text = yard.folder / "readme.txt"
    text.write_text("not a program")

    async def main() -> None:
        for changes, reason in (
            ({"command": "# nothing\n"}, "empty command"),
            ({"command": ()}, "empty command"),
            ({"proxy": ""}, "upstream proxy missing"),
            ({"proxy": "localhost:80"}, "upstream proxy is not an http(s) address: 'localhost:80'"),
            ({"command": str(text)}, f"not executable: {text} (no permission to execute it)"),
            ({"command": f"{yard.folder}"}, f"not executable: {yard.folder} (is a directory)"),
            ({"command": "sh -c 'exit 0'"}, None),
        ):
            yard.fleet.apply({MODEL: yard.spec(**changes)})
            assert yard.fleet.check(MODEL) == reason

    run_once(main)


def test_a_file_that_cannot_be_executed_fails_the_load(run_once: Run, yard: Yard) -> None:
    program = yard.folder / "broken"
    program.write_bytes(b"\x7fELF no program")
    program.chmod(0o755)

    async def main() -> None:
        async with yard.running(yard.spec(command=str(program))):
            error = await yard.load()
            assert error is not None
            assert error.startswith(f"cannot execute {program}: ")

    run_once(main)


def test_an_exit_long_before_the_limit_fails_the_load_at_once(
    run_once: Run, yard: Yard, free_port: int
) -> None:
    """P-17."""

    async def main() -> None:
        spec = yard.spec("exit_after=0.3", "answer=503", port=free_port, health_check_timeout=120)
        async with yard.running(spec):
            error = await yard.load()
            assert error is not None
            assert error.startswith("upstream command exited prematurely (exit status 0)")

    run_once(main)


def test_a_load_is_refused_while_somebody_else_listens_on_the_port(
    run_once: Run, yard: Yard, free_port: int
) -> None:
    """P-31."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", free_port)):
            async with yard.running(yard.spec(port=free_port)):
                error = await yard.load()
                assert error is not None
                assert error.startswith(f"port {free_port} is already in use by another process")
                assert yard.fleet.status(MODEL).pid is None
                assert yard.states() == [STARTING, STOPPED]

    run_once(main)


def test_an_answer_on_the_port_does_not_count_when_the_child_is_dead(
    run_once: Run, yard: Yard, free_port: int
) -> None:
    """P-31, P-33: the wrapper ends, what it left behind answers the probe."""

    async def main() -> None:
        server = yard.spec(port=free_port).command
        assert not isinstance(server, str)
        line = " ".join(server)
        spec = yard.spec(port=free_port, command=("/bin/sh", "-c", f"{line} & exit 0"))
        async with yard.running(spec):
            error = await yard.load()
            assert error is not None
            assert error.startswith("upstream command exited prematurely (exit status 0)")
            assert "foreground" in error
            assert yard.alive() == []

    run_once(main)


def test_a_stop_while_starting_has_the_grace_of_the_caller(run_once: Run, yard: Yard, free_port: int) -> None:
    """P-35."""

    async def main() -> None:
        async with yard.running(yard.spec("sigterm=ignored", "answer=503", port=free_port)):
            yard.fleet.load(MODEL)
            await yard.printed("answered 503")
            begun = time.monotonic()
            stop = asyncio.create_task(yard.stop(grace=0.5))
            await yard.until(lambda: yard.count("loaded"))
            assert yard.state() is STOPPING
            await stop
            assert time.monotonic() - begun > 0.49

    run_once(main)


def test_the_environment_is_inherited_and_the_entries_of_the_model_win(
    run_once: Run, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-38."""
    monkeypatch.setenv("SWAPYARD_TEST_A", "inherited")
    monkeypatch.setenv("SWAPYARD_TEST_B", "inherited")

    async def main() -> None:
        entries = (f"SWAPYARD_TEST={yard.marker}", "SWAPYARD_TEST_B=own", "nonsense")
        script = "echo $SWAPYARD_TEST_A $SWAPYARD_TEST_B; exec sleep 1000"
        async with yard.running(yard.shell(script, env=entries)):
            await yard.load()
            await yard.printed("inherited own\n")

    run_once(main)


def test_a_command_text_is_split_like_a_shell_would(run_once: Run, yard: Yard) -> None:
    async def main() -> None:
        text = f"""# the server
            {sys.executable} -I -S -c "import sys; print(sys.argv[1:], flush=True); input()" \\
            'two words'
        """
        async with yard.running(yard.spec(command=text)):
            await yard.load()
            await yard.printed("['two words']")

    run_once(main)


def test_much_output_never_blocks_the_child_and_all_of_it_arrives(run: Run, yard: Yard) -> None:
    """P-39."""

    async def main() -> None:
        script = (
            "i=0; while [ $i -lt 20000 ]; do echo line $i of standard output; i=$((i+1)); done; echo end >&2"
        )
        async with yard.running(yard.shell(script)):
            await yard.load()
            await yard.until(lambda: yard.count("gone"))
            lines = yard.output.split(b"\n")
            assert lines[:20000] == [b"line %d of standard output" % n for n in range(20000)]
            assert lines[20000:] == [b"end", b""]

    run(main)


# Ends once its child has left the group for a session of its own.
ESCAPE = """
import os, signal
left, leaving = os.pipe()
if os.fork():
    os.close(leaving)
    os.read(left, 1)
    os._exit(0)
os.setsid()
os.close(leaving)
signal.pause()
"""


def test_an_exit_is_noticed_while_somebody_outside_the_group_holds_the_output(run: Run, yard: Yard) -> None:
    async def main() -> None:
        script = yard.folder / "escape.py"
        script.write_text(ESCAPE)
        async with yard.running(yard.shell(f"{sys.executable} -I -S {script}; echo bye")):
            await yard.load()
            await yard.until(lambda: yard.count("gone"))
            await yard.until(lambda: b"bye" in yard.output)
            (escaped,) = yard.alive()
            escaped.kill()
            await yard.until_alive(0)

    run(main)


def test_a_crash_of_one_model_leaves_the_others_alone(run_once: Run, yard: Yard) -> None:
    """P-44."""

    async def main() -> None:
        crashing = ModelId("crashing")
        async with yard.running(yard.spec("exit_after=0.3", "code=7", model=crashing), yard.spec()):
            await yard.load()
            pid = yard.pid()
            for _ in range(3):
                assert await yard.load(crashing) is None
                await yard.until(lambda: yard.state(crashing) is STOPPED)
            await yard.until(lambda: yard.count("gone", crashing, Exit(code=7)) == 3)
            assert yard.pid() == pid
            assert yard.state() is READY

    run_once(main)
