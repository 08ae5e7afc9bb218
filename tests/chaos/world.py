"""The program under chaos: how it is started, what befalls it, and what may be left of it at the end."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from tests.chaos.oracle import Befallen
from tests.chaos.schedule import BYSTANDER, CALM, PEER, SOMETIMES, VICTIMS, Blow, Event, Policy
from tests.chaos.wall_clock import WallClock
from tests.end_to_end.conftest import MARKER, ROOT, Yard

SMALLEST_FILE_BYTES = 64 * 1024
"""What a file may grow to while the disk is full."""

AT_REST = 30.0
"""Seconds within which everything has come to rest after the last deed."""

SPARE_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Threads that an event loop's executor starts as it needs them, and keeps."""

SPARE_DESCRIPTORS = 2


class World(Yard):
    """A yard whose output passes through us, so that a limit on its files does not silence it."""

    def __init__(self, folder: Path, port: int, policy: Policy, peer_port: int) -> None:
        self.policy = policy
        self.befallen = Befallen()
        self.moods = folder / "moods"
        self.moods.mkdir()
        self.clock = WallClock(folder)
        self._peer_port = peer_port
        self._reader: threading.Thread
        super().__init__(folder, port, self.configuration(), (), folder / "state")

    def start(self, *, ready: bool = True) -> None:
        command = [sys.executable, "-m", "swapyard", "-config", str(self.config_file)]
        command += ["-listen", f"127.0.0.1:{self.port}"]
        environment = {
            **os.environ,
            MARKER: self.marker,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.state),
            **self.clock.environment,
        }
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), name="output")
        self._reader.start()
        if ready:
            self.until(self._answers, "it answers")

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with self.log_file.open("ab") as log, process.stdout as output:
            for line in output:
                log.write(line)
                log.flush()

    def configuration(self, *, has_sometimes: bool = True, version: int = 0) -> str:
        """Of this policy; `version` changes a victim, whose process a reload then ends."""
        command = f'"{sys.executable}" -S -m tests.chaos.moody_model ${{PORT}} ${{MODEL_ID}} "{self.moods}"'
        pool = [BYSTANDER, *VICTIMS, *([SOMETIMES] if has_sometimes else [])]
        has_calm = self.policy in (Policy.GROUPS, Policy.MATRIX)
        lines = ["captureBuffer: 2", "store: {path: activity.db}", "models:"]
        for name in [*pool, *([CALM] if has_calm else [])]:
            environment = f"VERSION={version if name == VICTIMS[0] else 0}"
            lines.append(f"  {name}: {{cmd: '{command}', unloadTimeout: 3, env: [{environment}]}}")
        lines += ["peers:", f'  cloud: {{proxy: "http://127.0.0.1:{self._peer_port}", models: [{PEER}]}}']
        return "\n".join(lines) + "\n" + self._routing(pool)

    def _routing(self, pool: list[str]) -> str:
        match self.policy:
            case Policy.SERIAL:
                return "routing: {scheduler: {use: serial}}\n"
            case Policy.FIFO:
                return "routing: {scheduler: {use: fifo}}\n"
            case Policy.GROUPS:
                still = f"still: {{swap: false, exclusive: false, persistent: true, members: [{CALM}]}}"
                taking_turns = f"pool: {{swap: true, exclusive: false, members: [{', '.join(pool)}]}}"
                return f"routing: {{router: {{settings: {{groups: {{{still}, {taking_turns}}}}}}}}}\n"
            case Policy.MATRIX:
                pair = f"{CALM} & {BYSTANDER} & {VICTIMS[0]}"
                sets = f'one: "{CALM} & ({" | ".join(pool)})", pair: "{pair}"'
                return f"routing: {{router: {{use: matrix, settings: {{matrix: {{sets: {{{sets}}}}}}}}}}}\n"

    # Blows

    def strike(self, event: Event) -> Callable[[], None] | None:
        """Let it befall the program; what comes back ends it, `event.seconds` later."""
        if event.blow in (Blow.KILL, Blow.STOP, Blow.HANG_IN_LOAD, Blow.DIE_IN_LOAD, Blow.UNLOAD):
            self.befallen.befell(event.victim, time.monotonic())
        match event.blow:
            case Blow.KILL:
                self._signal(event.victim, signal.SIGKILL)
            case Blow.STOP:
                stopped = self._signal(event.victim, signal.SIGSTOP)
                return lambda: _go_on(stopped)
            case Blow.HANG_IN_LOAD:
                return self._mood(event.victim, "hangs")
            case Blow.DIE_IN_LOAD:
                return self._mood(event.victim, "dies")
            case Blow.UNLOAD:
                assert self.request("POST", f"/api/models/unload/{event.victim}").status == 200
            case Blow.CANCEL:
                self._cancel(event)
            case Blow.RELOAD:
                self._reload(event)
            case Blow.FULL_DISK:
                return self._full_disk()
            case Blow.CLOCK_JUMP:
                self.clock.jump(3600 * (event.choice - 50))
        return None

    def _signal(self, model: str, number: signal.Signals) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.cmdline()[-2:-1] == [model]:
                    process.send_signal(number)
                    found.append(process)
        return found

    def _mood(self, model: str, mood: str) -> Callable[[], None]:
        file = self.moods / f"{model}.{mood}"
        file.touch()
        return lambda: file.unlink(missing_ok=True)

    def _cancel(self, event: Event) -> None:
        for asked in self.in_flight():
            if asked["model"] in VICTIMS:
                self.befallen.befell(asked["model"], time.monotonic())
                self.request("POST", f"/api/inflight/{asked['id']}/cancel")
                return

    def _reload(self, event: Event) -> None:
        # A model that is changed or taken away is unloaded.
        for model in (VICTIMS[0], SOMETIMES):
            self.befallen.befell(model, time.monotonic())
        text = self.configuration(has_sometimes=event.choice % 2 == 0, version=event.choice % 3)
        self.write_config(text)
        if event.choice % 5:
            assert self.request("POST", "/api/config/reload").status == 200
        else:
            self.signal(signal.SIGHUP)

    def _full_disk(self) -> Callable[[], None]:
        since = time.monotonic()
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (SMALLEST_FILE_BYTES, hard))
        self.befallen.full_disk.append((since, float("inf")))

        def empty() -> None:
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))
            self.befallen.full_disk.remove((since, float("inf")))
            self.befallen.full_disk.append((since, time.monotonic()))

        return empty

    # What is left

    def gauges(self) -> dict[str, int]:
        """What has to come back to where it was."""
        process = psutil.Process(self.pid)
        page = self.get("/metrics").text
        tasks = re.search(r"^swapyard_tasks (\d+)$", page, re.MULTILINE)
        assert tasks is not None
        return {
            "tasks": int(tasks[1]),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "processes": len(self.processes()),
            "in flight": len(self.in_flight()),
            "leases and queued requests": sum(
                int(value)
                for value in re.findall(r"^swapyard_(?:in_flight|waiting)\{.*\} (\d+)$", page, re.MULTILINE)
            ),
        }

    def warm_up(self) -> None:
        """Have everything that stays for good: every model was loaded once."""
        models = [BYSTANDER, *VICTIMS, SOMETIMES, PEER]
        for model in [*models, *([CALM] if self.policy in (Policy.GROUPS, Policy.MATRIX) else [])]:
            assert self.chat(model).status == 200

    def rest(self) -> dict[str, int]:
        """The gauges once nothing is loaded and nothing is kept open."""
        assert self.request("POST", "/api/models/unload").status == 200
        self.until(lambda: self.states() == {}, "everything is unloaded", AT_REST)
        return self.gauges()

    def comes_to_rest(self, before: dict[str, int]) -> list[str]:
        """What has not come back to where it was."""
        allowed = {**before}
        allowed["descriptors"] += SPARE_DESCRIPTORS
        allowed["threads"] += SPARE_THREADS
        deadline = time.monotonic() + AT_REST
        while True:
            now = self.rest()
            left = [f"{name}: {now[name]}, were {before[name]}" for name in now if now[name] > allowed[name]]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.2)

    def end(self) -> list[str]:
        """End the program; what was wrong with its end."""
        wrong = []
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(AT_REST)
            except subprocess.TimeoutExpired:
                wrong.append("it did not end")
        status = self.process.poll()
        if status:
            wrong.append(f"it ended with status {status}")
        wrong += [f"left: {' '.join(process.cmdline())}" for process in self.processes()]
        self.clear_away()
        self._reader.join()
        if (at := self.log().find("Traceback")) >= 0:
            wrong.append(f"a traceback in the log:\n{self.log()[at - 500 : at + 3000]}")
        return wrong


def _go_on(stopped: list[psutil.Process]) -> None:
    for process in stopped:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)
