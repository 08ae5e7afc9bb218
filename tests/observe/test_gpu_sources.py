"""The sources against executables, a socket, files and a library that behave like the real ones."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swapyard.observe.gpu.amd_sysfs import AmdSysfs
from swapyard.observe.gpu.apple import Ioreg, Mactop
from swapyard.observe.gpu.lact import Lact
from swapyard.observe.gpu.nvidia_smi import NvidiaSmi
from swapyard.observe.gpu.nvml import Nvml
from swapyard.observe.gpu.readings import SourceFailedError, SourceMissingError
from swapyard.observe.gpu.rocm_smi import RocmSmi
from swapyard.observe.gpu.tool import Tool
from swapyard.observe.sampling import Sampling
from swapyard.observe.system import read_system

MakeTool = Callable[[str, str], Path]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTool:
    """Puts a shell script of this name on PATH; it finds its own folder in `$HERE`."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nHERE="{tmp_path}"\n{script}\n')
        path.chmod(0o755)
        return tmp_path

    return make


def test_all_cards_of_one_interval_come_in_one_snapshot(tool: MakeTool) -> None:
    here = tool(
        "nvidia-smi",
        'echo "$@" > "$HERE/arguments"\n'
        'for i in 0 1 2 3; do echo "$i, T4, GPU-$i, 40, 1, 2, 4, 30, 9.5"; done\nexec sleep 60',
    )
    source = NvidiaSmi(5.9, driver=here)
    try:
        readings = source.read()
    finally:
        source.close()
    assert [(r.index, r.uuid, r.power_draw_w) for r in readings] == [(i, f"GPU-{i}", 9.5) for i in range(4)]
    assert (here / "arguments").read_text().strip() == (
        "--query-gpu=index,name,uuid,temperature.gpu,utilization.gpu,memory.used,memory.total,fan.speed,"
        "power.draw --format=csv,noheader,nounits --loop 5"
    )


def test_an_nvidia_smi_that_dies_is_told_and_can_be_started_again(tool: MakeTool) -> None:
    here = tool("nvidia-smi", 'echo "0, T4, GPU-0, 40, 1, 2, 4, 30, 9.5"; echo x >> "$HERE/starts"; exit 9')
    source = NvidiaSmi(5, driver=here)
    assert len(source.read()) == 1
    with pytest.raises(SourceFailedError, match="status 9"):
        source.read()
    assert len(source.read()) == 1
    source.close()
    assert (here / "starts").read_text() == "x\nx\n"


def test_a_tool_that_is_not_on_the_path_is_missing(tool: MakeTool) -> None:
    with pytest.raises(SourceMissingError):
        Tool("no-such-tool-here").run(1)
    with pytest.raises(SourceMissingError):
        Tool("no-such-tool-here").lines(1, 0)


def test_an_interruption_ends_a_read_that_waits(tool: MakeTool) -> None:
    tool("slow", "exec sleep 60")
    slow = Tool("slow")
    errors: list[Exception] = []

    def read() -> None:
        try:
            slow.lines(60, 0)
        except SourceFailedError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while thread.is_alive():
        slow.interrupt()
        thread.join(0.05)
    slow.close()
    assert len(errors) == 1


def test_a_tool_that_hangs_is_stopped_with_all_it_has_started(tool: MakeTool) -> None:
    here = tool("slow", 'sleep 60 > "$HERE/held" & wait')
    os.mkfifo(here / "held")
    # Ends once nobody holds the other end any more.
    reading = threading.Thread(target=(here / "held").read_bytes, daemon=True)
    reading.start()
    with pytest.raises(SourceFailedError, match="longer than"):
        Tool("slow").run(0.5)
    reading.join(10)
    assert not reading.is_alive()


def test_a_tool_that_prints_nothing_has_failed(tool: MakeTool) -> None:
    tool("mute", "exec sleep 60")
    with pytest.raises(SourceFailedError, match="printed nothing"):
        Tool("mute").lines(0.2, 0)


def test_a_line_that_comes_in_pieces_is_read_whole(tool: MakeTool) -> None:
    tool("pieces", 'printf "one\\ntw"; sleep 0.1; printf "o\\n"; exec sleep 60')
    pieces = Tool("pieces")
    assert pieces.lines(10, 1) == ["one", "two"]
    pieces.close()


def test_rocm_smi_is_run_once_for_each_reading(tool: MakeTool) -> None:
    here = tool(
        "rocm-smi",
        'echo "$@" >> "$HERE/arguments"\n'
        'printf "\\n\\ndevice,GPU use (%%),PCI Bus\\ncard0,7,0000:03:00.0\\ncard1,N/A,0000:04:00.0\\n"',
    )
    source = RocmSmi()
    assert [(r.gpu_util_pct, r.pci) for r in source.read()] == [(7, "0000:03:00.0"), (None, "0000:04:00.0")]
    assert len(source.read()) == 2
    arguments = (here / "arguments").read_text().splitlines()
    assert (
        arguments == ["-i -P -t -f -u --showmemuse --showmeminfo vram --showproductname --showbus --csv"] * 2
    )


@pytest.mark.parametrize("script", ["exit 2", "echo no cards"])
def test_an_rocm_smi_without_a_table_has_failed(tool: MakeTool, script: str) -> None:
    tool("rocm-smi", script)
    with pytest.raises(SourceFailedError):
        RocmSmi().read()


class LactDaemon:
    """Answers as told and remembers every byte it was asked."""

    def __init__(self, path: Path, answers: dict[str, str]) -> None:
        self.asked: list[bytes] = []
        daemon = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    daemon.asked.append(line)
                    request = json.loads(line)
                    key = request.get("args", {}).get("id", request["command"])
                    self.wfile.write(answers[key].encode() + b"\n")

        self.server = socketserver.UnixStreamServer(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


MakeLact = Callable[[dict[str, str]], tuple[Lact, LactDaemon]]


@pytest.fixture
def lact(tmp_path: Path) -> Iterator[MakeLact]:
    daemons: list[LactDaemon] = []

    def make(answers: dict[str, str]) -> tuple[Lact, LactDaemon]:
        path = tmp_path / f"lact{len(daemons)}"
        daemons.append(LactDaemon(path, answers))
        return Lact({"LACT_DAEMON_SOCKET_PATH": str(path)}), daemons[-1]

    yield make
    for daemon in daemons:
        daemon.close()


STATS = '{"status":"ok","data":{"vram":{"total":1073741824,"used":1048576},"busy_percent":3}}'


def test_lact_devices_keep_their_place_when_others_are_left_out(lact: MakeLact) -> None:
    """Vectors L9, L12, L14."""
    source, daemon = lact(
        {
            "list_devices": '{"status":"ok","data":[{"id":"igpu","name":"iGPU"},{"id":"A","name":"AMD"},'
            '{"id":"bad","name":null}]}',
            "igpu": '{"status":"ok","data":{"vram":{"total":0}}}',
            "A": STATS,
            "bad": '{"status":"error","data":"device not found"}',
        }
    )
    assert [(r.index, r.name, r.uuid, r.gpu_util_pct) for r in source.read()] == [(1, "AMD", "A", 3)]
    assert daemon.asked == [
        b'{"command":"list_devices"}\n',
        b'{"command":"device_stats","args":{"id":"igpu"}}\n',
        b'{"command":"device_stats","args":{"id":"A"}}\n',
        b'{"command":"device_stats","args":{"id":"bad"}}\n',
    ]


@pytest.mark.parametrize(
    "answer", ['{"status":"ok"}', '{"status":"ok","data":null}', '{"status":"error","data":"x"}', "[]", "x"]
)
def test_a_lact_device_without_usable_statistics_is_left_out(lact: MakeLact, answer: str) -> None:
    """Vectors L9, L10, L11."""
    devices = '{"status":"ok","data":[{"id":"bad","name":"B"},{"id":"A","name":"AMD"}]}'
    source, _ = lact({"list_devices": devices, "bad": answer, "A": STATS})
    assert [r.name for r in source.read()] == ["AMD"]


def test_a_lact_without_devices_has_failed(lact: MakeLact) -> None:
    """Vector L13: the other sources are tried as well."""
    source, _ = lact({"list_devices": '{"status":"ok","data":[]}'})
    with pytest.raises(SourceFailedError, match="no device"):
        source.read()


def test_a_lact_that_is_gone_is_missing_and_found_again(lact: MakeLact, tmp_path: Path) -> None:
    source = Lact({"LACT_DAEMON_SOCKET_PATH": str(tmp_path / "lact0")})
    with pytest.raises(SourceMissingError):
        source.read()
    lact({"list_devices": '{"status":"ok","data":[{"id":"A","name":"AMD"}]}', "A": STATS})
    assert len(source.read()) == 1


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def test_sysfs_shows_amd_cards_only(tmp_path: Path) -> None:
    drm, devices = tmp_path / "drm", tmp_path / "devices"
    amd, intel = devices / "0000:0A:00.0", devices / "0000:00:02.0"
    write(
        amd,
        vendor="0x1002",
        device="0x744c",
        product_name="Radeon RX 7900 XTX",
        unique_id="abc",
        gpu_busy_percent="42",
        mem_info_vram_total="25753026560",
        mem_info_vram_used="536870912",
    )
    write(
        amd / "hwmon/hwmon3",
        temp1_label="edge",
        temp1_input="45900",
        temp2_label="junction",
        temp2_input="60000",
        temp3_label="mem",
        temp3_input="61700",
        power1_average="33250000",
        pwm1="51",
        pwm1_max="255",
    )
    write(intel, vendor="0x8086", mem_info_vram_total="1")
    for name, device in (("card0", intel), ("card1", amd)):
        (drm / name).mkdir(parents=True)
        (drm / name / "device").symlink_to(device)
    (drm / "card1-DP-1").mkdir()
    (reading,) = AmdSysfs(drm).read()
    assert (reading.index, reading.name, reading.uuid) == (1, "Radeon RX 7900 XTX", "abc")
    assert (reading.pci, reading.temp_c, reading.vram_temp_c) == ("0000:0a:00.0", 45, 61)
    assert (reading.gpu_util_pct, reading.fan_speed_pct, reading.power_draw_w) == (42, 20, 33.25)
    assert (reading.mem_used_mb, reading.mem_total_mb) == (512, 24560)


def test_sysfs_tells_only_what_the_card_tells(tmp_path: Path) -> None:
    device = tmp_path / "devices/0000:0b:00.0"
    write(device, vendor="0x1002", device="0x66a1", mem_info_vram_total="1073741824")
    write(device / "hwmon/hwmon0", temp1_input="40000", power1_input="5000000")
    (tmp_path / "drm/card0").mkdir(parents=True)
    (tmp_path / "drm/card0/device").symlink_to(device)
    (reading,) = AmdSysfs(tmp_path / "drm").read()
    assert (reading.name, reading.temp_c, reading.power_draw_w) == ("AMD 0x66a1", 40, 5)
    unknown = (reading.vram_temp_c, reading.gpu_util_pct, reading.mem_used_mb, reading.fan_speed_pct)
    assert unknown == (None, None, None, None)


def test_sysfs_without_an_amd_card_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        AmdSysfs(tmp_path).read()


class NvmlError(Exception):
    pass


class NvmlWithTwoCards:
    """Behaves like the nvidia-ml-py module on a machine with an H200 and a GeForce that knows little."""

    NVMLError = NvmlError
    NVML_SUCCESS = 0
    NVML_TEMPERATURE_GPU = 0
    NVML_FI_DEV_MEMORY_TEMP = 82
    nvmlMemory_v2 = 2  # noqa: N815

    def __init__(self) -> None:
        self.opened = 0
        self.driver_is_gone = False

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        if self.driver_is_gone:
            raise NvmlError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return ("NVIDIA H200", b"NVIDIA GeForce GT 710")[handle]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return ("GPU-h", "GPU-g")[handle]

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        return SimpleNamespace(busId=(b"00000000:5D:00.0", "00000000:5E:00.0")[handle])

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 31 + handle

    def _only_the_first(self, handle: int, value: Any) -> Any:
        if handle:
            raise NvmlError("Not Supported")
        return value

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return self._only_the_first(handle, SimpleNamespace(gpu=0, memory=3))

    def nvmlDeviceGetMemoryInfo(self, handle: int, version: int | None = None) -> Any:
        if version:
            return self._only_the_first(handle, SimpleNamespace(used=4 << 20, total=143771 << 20))
        return SimpleNamespace(used=1 << 20, total=2048 << 20)

    def nvmlDeviceGetFanSpeed(self, handle: int) -> int:
        raise NvmlError("Not Supported")

    def nvmlDeviceGetPowerUsage(self, handle: int) -> Any:
        return self._only_the_first(handle, 76320)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.124.06"

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> Any:
        return self._only_the_first(handle, (9, 0))

    def nvmlDeviceGetPowerManagementLimit(self, handle: int) -> Any:
        return self._only_the_first(handle, 700000)

    def nvmlDeviceGetFieldValues(self, handle: int, fields: list[int]) -> Any:
        return [SimpleNamespace(nvmlReturn=3 if handle else 0, value=SimpleNamespace(uiVal=38))]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> Any:
        return [
            SimpleNamespace(pid=100, usedGpuMemory=1000 + handle),
            SimpleNamespace(pid=101, usedGpuMemory=None),
        ]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> Any:
        return self._only_the_first(
            handle,
            [SimpleNamespace(pid=100, usedGpuMemory=1000), SimpleNamespace(pid=7, usedGpuMemory=5)],
        )


def test_nvml_tells_what_each_card_supports() -> None:
    source = Nvml(NvmlWithTwoCards())
    h200, geforce = source.read()
    assert (h200.name, h200.uuid, h200.pci) == ("NVIDIA H200", "GPU-h", "0000:5d:00.0")
    assert (h200.temp_c, h200.vram_temp_c, h200.gpu_util_pct, h200.power_draw_w) == (31, 38, 0, 76.32)
    assert (h200.mem_used_mb, h200.mem_total_mb, h200.fan_speed_pct) == (4, 143771, None)
    assert (geforce.index, geforce.name, geforce.pci) == (1, "NVIDIA GeForce GT 710", "0000:5e:00.0")
    assert (geforce.temp_c, geforce.mem_used_mb, geforce.mem_total_mb) == (32, 1, 2048)
    assert (geforce.vram_temp_c, geforce.gpu_util_pct, geforce.power_draw_w) == (None, None, None)
    source.close()


def test_nvml_tells_what_does_not_change() -> None:
    source = Nvml(NvmlWithTwoCards())
    h200, geforce = source.facts()
    assert (h200.pci, h200.driver, h200.capability) == ("0000:5d:00.0", "570.124.06", "9.0")
    assert (h200.memory_bytes, h200.power_limit_w) == (143771 << 20, 700)
    assert (geforce.uuid, geforce.capability, geforce.power_limit_w) == ("GPU-g", "", None)
    source.close()


def test_nvml_is_opened_once_and_opened_again_after_a_failure() -> None:
    library = NvmlWithTwoCards()
    source = Nvml(library)
    source.read()
    source.read()
    assert library.opened == 1
    library.driver_is_gone = True
    with pytest.raises(SourceFailedError, match="GPU is lost"):
        source.read()
    assert library.opened == 0
    assert source.process_memory() == {}
    library.driver_is_gone = False
    assert len(source.read()) == 2
    source.close()
    assert library.opened == 0


def test_nvml_tells_the_memory_of_each_process_on_each_card() -> None:
    source = Nvml(NvmlWithTwoCards())
    assert source.process_memory() == {100: {"GPU-h": 1000, "GPU-g": 1001}, 7: {"GPU-h": 5}}
    source.close()


class NvmlWithoutADriver(NvmlWithTwoCards):
    def nvmlInit(self) -> None:
        raise NvmlError("Driver Not Loaded")


def test_nvml_without_a_driver_is_missing_and_no_process_holds_anything() -> None:
    source = Nvml(NvmlWithoutADriver())
    with pytest.raises(SourceMissingError, match="Driver Not Loaded"):
        source.read()
    assert source.process_memory() == {}


def test_the_real_binding_offers_what_is_asked_of_it() -> None:
    import pynvml

    for name in dir(NvmlWithTwoCards):
        if name.lower().startswith("nvml"):
            assert hasattr(pynvml, name), name


def test_a_mac_shows_the_share_of_memory_that_its_gpu_uses(tool: MakeTool) -> None:
    tool(
        "mactop",
        """echo '{"gpu_usage":88.5,"memory":{"total":68719476736,"used":34359738368},'"""
        """'"system_info":{"name":"Apple M4 Max"}}'; exec sleep 60""",
    )
    source = Mactop(5, Ioreg(lambda: 16 << 30))
    (alone,) = source.read()
    source.close()
    assert (alone.name, alone.mem_used_mb, alone.mem_total_mb) == ("Apple M4 Max", 32768, 65536)
    tool("ioreg", """echo '"In use system memory"=4294967296,"Device Utilization %"=7'""")
    (both,) = source.read()
    source.close()
    assert (both.gpu_util_pct, both.mem_used_mb, both.mem_total_mb) == (88.5, 4096, 16384)
    assert [r.gpu_util_pct for r in Ioreg(lambda: 16 << 30).read()] == [7]


def test_all_sources_together_show_every_card_once(tool: MakeTool, lact: MakeLact, tmp_path: Path) -> None:
    here = tool(
        "nvidia-smi",
        'for i in 0 1; do echo "$i, T4, GPU-$i, 40, 1, 2, 4, 30, 9.5"; done\nexec sleep 60',
    )
    tool(
        "rocm-smi",
        'printf "device,PCI Bus,Card Series\\ncard0,0000:03:00.0,seen by LACT\\ncard1,0000:04:00.0,MI50\\n"',
    )
    daemon, _ = lact(
        {
            "list_devices": '{"status":"ok","data":[{"id":"1002:1-1:1-0000:03:00.0","name":"Radeon"}]}',
            "1002:1-1:1-0000:03:00.0": STATS,
        }
    )
    settled = threading.Event()
    sampling = Sampling(
        5,
        [Nvml(NvmlWithoutADriver()), daemon, NvidiaSmi(5, here), RocmSmi(), AmdSysfs(tmp_path)],
        read_system,
        lambda level, text: None,
        lambda sample: settled.set(),
    )
    sampling.start()
    try:
        assert settled.wait(10)
        shown = [(gpu.id, gpu.name) for gpu in sampling.newest_gpus()]
    finally:
        sampling.stop()
        sampling.join(10)
    assert shown == [(0, "Radeon"), (1, "T4"), (2, "T4"), (3, "MI50 card1")]
