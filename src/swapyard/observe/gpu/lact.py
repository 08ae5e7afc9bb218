"""Cards of any vendor through the socket of the LACT daemon, one connection per reading.

Source of the protocol: LACT, `docs/API.md`: a JSON object per line in each direction.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swapyard.observe.gpu.readings import (
    Reading,
    SourceFailedError,
    SourceMissingError,
    mebibytes,
    pci_address,
    whole,
)

_CONNECT_TIMEOUT = 2.0
_ROUND_TIMEOUT = 5.0
_ANSWER_LIMIT_BYTES = 4 << 20


class Lact:
    name = "LACT"
    streams = False

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def read(self) -> list[Reading]:
        """Every device that has memory of its own and answers; the others keep their numbers."""
        path = socket_path(self._environment)
        if path is None:
            raise SourceMissingError("no LACT socket")
        try:
            with _Conversation(path) as daemon:
                devices = daemon.ask({"command": "list_devices"})
                if not isinstance(devices, list) or not devices:
                    raise SourceFailedError("LACT names no device")
                readings = [_read_device(daemon, index, device) for index, device in enumerate(devices)]
        except OSError as error:
            raise SourceFailedError(f"LACT does not answer: {error}") from error
        return [reading for reading in readings if reading is not None and reading.mem_total_mb]

    def interrupt(self) -> None:
        """A reading ends by itself within seconds."""

    def close(self) -> None:
        """Nothing is held between readings."""


def socket_path(environment: Mapping[str, str]) -> Path | None:
    """The daemon's socket: named by the environment, the system's, or the user's."""
    named = environment.get("LACT_DAEMON_SOCKET_PATH")
    candidates = [Path(named)] if named else []
    candidates += [Path("/run/lactd.sock"), Path(f"/run/user/{os.getuid()}/lactd.sock")]
    return next((path for path in candidates if _is_socket(path)), None)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


class _Conversation:
    """One connection: a request, its answer, the next request."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unread = b""

    def __enter__(self) -> _Conversation:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CONNECT_TIMEOUT)
        try:
            self._socket.connect(str(self._path))
        except OSError:
            self._socket.close()
            raise
        self._deadline = time.monotonic() + _ROUND_TIMEOUT
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: dict[str, Any]) -> Any:
        """The `data` of the answer; SourceFailedError when the daemon refuses or answers in another shape."""
        self._limit()
        self._socket.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        try:
            answer = json.loads(self._line())
        except ValueError as error:
            raise SourceFailedError("LACT answered something that is not JSON") from error
        if not isinstance(answer, dict) or answer.get("status") != "ok" or "data" not in answer:
            raise SourceFailedError(f"LACT refused: {str(answer)[:200]}")
        return answer["data"]

    def _line(self) -> bytes:
        while b"\n" not in self._unread:
            self._limit()
            data = self._socket.recv(65536)
            if not data or len(self._unread) > _ANSWER_LIMIT_BYTES:
                raise SourceFailedError("LACT broke off")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SourceFailedError(f"LACT took longer than {_ROUND_TIMEOUT:g} s")
        self._socket.settimeout(left)


def _read_device(daemon: _Conversation, index: int, device: Any) -> Reading | None:
    """One device; None when its own request fails, so that the others are still read."""
    if not isinstance(device, dict) or not isinstance(identity := device.get("id"), str):
        return None
    try:
        stats = daemon.ask({"command": "device_stats", "args": {"id": identity}})
        return parse_stats(index, identity, device.get("name"), stats)
    except (SourceFailedError, _WrongTypeError):
        return None


class _WrongTypeError(Exception):
    """A number outside the range that the protocol gives it: nothing else of this device can be trusted."""


def parse_stats(index: int, identity: str, name: Any, stats: Any) -> Reading | None:
    """A reading from the data of `device_stats`; None when a value has a type the protocol does not allow.

    Ids look like `1002:744C-1DA2:E471-0000:03:00.0`: the part after the last dash is the PCI address.
    """
    facts = stats if isinstance(stats, dict) else {}
    try:
        vram, fan, power = (_part(facts, key) for key in ("vram", "fan", "power"))
        temps = {
            sensor: value
            for sensor, entry in _part(facts, "temps").items()
            if (value := _number(_part({"entry": entry}, "entry"), "current")) is not None
        }
        pwm = _integer(fan, "pwm_current", 255)
        return Reading(
            index=index,
            name=name if isinstance(name, str) else "",
            uuid=identity,
            pci=pci_address(identity.rpartition("-")[2]),
            temp_c=whole(_temperature(temps)),
            vram_temp_c=whole(next((temps[key] for key in ("mem", "VRAM") if temps.get(key, 0) > 0), None)),
            gpu_util_pct=_integer(facts, "busy_percent", 255),
            mem_used_mb=mebibytes(_integer(vram, "used", 2**64 - 1)),
            mem_total_mb=mebibytes(_integer(vram, "total", 2**64 - 1)),
            fan_speed_pct=None if pwm is None else pwm / 255 * 100,
            power_draw_w=_power(power),
        )
    except _WrongTypeError:
        return None


def _temperature(temps: dict[str, float]) -> float | None:
    for sensor in ("edge", "junction"):
        if sensor in temps:
            return temps[sensor]
    return next(iter(temps.values()), None)


def _power(power: dict[str, Any]) -> float | None:
    average = _number(power, "average")
    return average if average is not None and average > 0 else _number(power, "current")


def _part(facts: dict[str, Any], key: str) -> dict[str, Any]:
    part = facts.get(key)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise _WrongTypeError(key)
    return part


def _number(facts: dict[str, Any], key: str) -> float | None:
    value = facts.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongTypeError(key)
    return float(value)


def _integer(facts: dict[str, Any], key: str, largest: int) -> int | None:
    value = facts.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise _WrongTypeError(key)
    return value
