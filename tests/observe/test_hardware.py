from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swapyard.observe.gpu.readings import SourceFailedError
from swapyard.observe.hardware import Tools, amd, apple, detect, drm, host, nvidia
from swapyard.observe.hardware.accelerators import Accelerator, merged
from swapyard.observe.hardware.snapshot import snapshot

GIB = 1 << 30

MakeTool = Callable[[str, str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTool:
    """Puts a shell script of this name on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()

    def make(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def files(root: Path, **contents: str) -> None:
    """Writes files below a folder; `__` stands for a slash in their names."""
    for name, text in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_this_machine_is_described_in_the_published_shape() -> None:
    found = detect("v9")
    assert found is not None
    assert list(found) == [
        "schema_version",
        "captured_at",
        "capture",
        "architecture",
        "operating_system",
        "environment",
        "cpu",
        "memory",
        "accelerators",
    ]
    assert found["schema_version"] == 1
    assert found["captured_at"].endswith("Z")
    assert found["capture"] == {
        "scope": "inference_host",
        "method": "detected",
        "detector": {"name": "swapyard", "version": "v9"},
    }
    assert found["cpu"]["logical_thread_count"] >= (found["cpu"]["physical_core_count"] or 1)
    assert found["memory"]["capacity_bytes"] > 100 << 20


def test_detection_that_takes_too_long_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = threading.Event()
    before = set(threading.enumerate())

    def hang(root: Path, memory_bytes: int, tools: Tools) -> list[Accelerator]:
        released.wait()
        return []

    assert detect("v9", budget=0.1, probe=hang) is None
    assert "longer than 0.1 s" in caplog.text
    released.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)


def test_tools_that_hang_cost_what_they_would_have_told_and_nothing_else(tool: MakeTool) -> None:
    for name in ("nvidia-smi", "rocm-smi"):
        tool(name, "exec sleep 600")
    found = detect("v9", budget=0.3)
    assert found is not None
    assert found["memory"]["capacity_bytes"] > 0


def test_the_end_of_the_program_ends_a_tool_with_what_it_has_started(tool: MakeTool, tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    tool("nvidia-smi", f"sleep 600 > '{held}' & wait")
    tools = Tools()
    failures: list[Exception] = []

    def look() -> None:
        try:
            tools.run("nvidia-smi")
        except SourceFailedError as failure:
            failures.append(failure)

    thread = threading.Thread(target=look)
    thread.start()
    with held.open("rb") as stream:
        tools.stop()
        assert stream.read() == b""  # nobody holds the other end any more
    thread.join(10)
    assert not thread.is_alive() and len(failures) == 1
    with pytest.raises(SourceFailedError, match="no time is left"):
        tools.run("nvidia-smi")


def test_a_machine_without_a_readable_memory_size_has_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="meminfo"):
        snapshot("v9", tmp_path)
    files(tmp_path, proc__meminfo="MemFree: 5 kB\n")
    with pytest.raises(ValueError, match="memory"):
        snapshot("v9", tmp_path)


ZONES = """\
Node 0, zone   Normal
  pages free     3
        present  10
Node 1, zone  Movable
        present  5
Node 1, zone   Device
        present  100
"""


def test_the_memory_of_all_zones_but_devices_counts() -> None:
    """Vector H8."""
    assert host.zone_bytes(ZONES, 4096) == 61440
    assert host.zone_bytes(ZONES.replace("10\n", "ten\n"), 4096) == 0


@pytest.mark.parametrize(
    ("limits", "total"),
    [
        (["9223372036854771712\n"], 100),
        (["0"], 100),
        (["50"], 50),
        (["50\n", "40\n"], 40),
        (["abc"], 100),
        (["max\n", ""], 100),
        ([], 100),
    ],
)
def test_the_smallest_limit_of_the_control_group_counts(limits: list[str], total: int) -> None:
    """Vector H9."""
    assert host.limited(100, limits) == total


def test_the_capacity_is_that_of_the_zones_within_the_limit(tmp_path: Path) -> None:
    files(tmp_path, proc__meminfo="MemTotal:       4 kB\n", proc__zoneinfo=ZONES)
    assert host.memory_bytes(tmp_path) == 15 * os.sysconf("SC_PAGE_SIZE")
    files(tmp_path / "sys/fs/cgroup", **{"memory.max": "5000"})
    assert host.memory_bytes(tmp_path) == 5000


@pytest.mark.parametrize(
    ("contents", "name", "role"),
    [
        ({}, "", ""),
        ({"proc__modules": "kvm_amd 1 0\nkvm 2 1 kvm_amd\n"}, "kvm", "host"),
        ({"proc__modules": "vboxguest 1 0\n"}, "vbox", "guest"),
        ({"proc__cpuinfo": "model name : QEMU Virtual CPU version 2.5\n"}, "kvm", "guest"),
        ({"proc__bus__pci__devices": "0010 1af41000 b virtio-pci\n"}, "", "guest"),
        ({"proc__xen__capabilities": "control_d\n"}, "xen", "host"),
        ({"proc__1__environ": "a=b\0container=lxc\0"}, "lxc", "guest"),
        ({"proc__self__cgroup": "1:cpu:/docker/abc\n", "proc__modules": "kvm 1 0\n"}, "docker", "guest"),
        ({".dockerenv": ""}, "docker", "guest"),
    ],
)
def test_the_files_of_the_system_show_who_runs_us(
    tmp_path: Path, contents: dict[str, str], name: str, role: str
) -> None:
    files(tmp_path, **contents)
    assert host.virtualization(tmp_path) == (name, role)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo kvm", {"kind": "virtual_machine", "name": "KVM", "version": None}),
        ("echo podman", {"kind": "container", "name": "podman", "version": None}),
        ("echo none; exit 1", {"kind": "native", "name": None, "version": None}),
        ("exit 7", {"kind": "unknown", "name": None, "version": None}),
    ],
)
def test_systemd_is_asked_when_no_file_shows_anything(
    tool: MakeTool, tmp_path: Path, script: str, expected: dict[str, Any]
) -> None:
    tool("systemd-detect-virt", script)
    assert host.environment(tmp_path) == expected


def test_processors_are_named_by_the_kernel(tmp_path: Path) -> None:
    text = "vendor_id\t: AuthenticAMD\nmodel name\t: EPYC\nphysical id\t: 0\n\nphysical id\t: 1\n"
    files(tmp_path, proc__cpuinfo=text)
    found = host.cpu(tmp_path)
    assert (found["vendor"], found["model"], found["socket_count"]) == ("AuthenticAMD", "EPYC", 2)
    files(tmp_path, proc__cpuinfo="CPU implementer\t: 0x41\n")
    found = host.cpu(tmp_path)
    assert (found["vendor"], found["model"], found["socket_count"]) == ("ARM", None, None)


def test_debian_tells_its_point_release(tmp_path: Path) -> None:
    files(tmp_path, etc__os_release="")
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    assert host.operating_system(tmp_path)["version"] == "12"
    files(tmp_path, etc__debian_version="12.11\n")
    found = host.operating_system(tmp_path)
    assert (found["family"], found["name"], found["version"]) == ("linux", "debian", "12.11")


def test_a_row_of_nvidia_smi_becomes_an_accelerator() -> None:
    """Vector H1."""
    row = "0, NVIDIA H200, GPU-x, 00000000:5D:00.0, 143771, 570.124.06, 700.00\n"
    assert nvidia.parse_cards(row)[0] == Accelerator(
        identity="0000:5d:00.0",
        vendor="NVIDIA",
        model="NVIDIA H200",
        memory_kind="dedicated",
        capacity_bytes=150754820096,
        driver_name="NVIDIA",
        driver_version="570.124.06",
        power_limit_watts=700,
    )


def test_what_nvidia_smi_does_not_know_is_unknown() -> None:
    """Vector H2."""
    row = "0, NVIDIA GB10, GPU-x, 0000000F:01:00.0, [N/A], 580.95.05, [N/A]"
    found = nvidia.parse_cards(row)[0]
    assert (found.identity, found.capacity_bytes, found.power_limit_watts) == ("000f:01:00.0", None, None)
    assert nvidia.parse_cards("0, a, GPU-x, N/A, 1, d, 2")[0].identity == "GPU-x"


@pytest.mark.parametrize("text", ["0, a, b, c, 1, d", "No devices were found", "x, a, b, c, 1, d, 2", ""])
def test_an_answer_that_is_not_the_table_is_dropped_as_a_whole(text: str) -> None:
    """Vector H3."""
    assert nvidia.parse_cards(text) == {}
    assert not text or nvidia.parse_cards(f"1, a, b, c, 1, d, 2\n{text}") == {}


def test_a_quoted_name_may_hold_a_comma() -> None:
    """Vector H4."""
    found = nvidia.parse_cards('0, "Foo, Bar", GPU-x, 00000000:01:00.0, 100, 1, 2')
    assert found[0].model == "Foo, Bar"


@pytest.mark.parametrize(
    ("capability", "name"),
    [("6.1", "Pascal"), ("8.6", "Ampere"), ("9.0", "Hopper"), ("12.1", "Blackwell"), ("13.0", None)],
)
def test_the_compute_capability_names_the_architecture(capability: str, name: str | None) -> None:
    """Vector H6."""
    assert nvidia.architecture(capability) == name


def test_nvidia_smi_is_asked_for_the_architecture_as_far_as_it_knows_it(tool: MakeTool) -> None:
    tool(
        "nvidia-smi",
        'case "$1" in\n'
        "*memory.total*) printf '0, A, G0, N/A, 1, d, 2\\n1, B, G1, N/A, 1, d, 2\\n';;\n"
        "*architecture*) printf '0, Turing\\n1, [N/A]\\n';;\n"
        "*compute_cap*) printf '0, 9.0\\n1, 8.9\\n';;\n"
        "esac",
    )
    assert [found.architecture for found in nvidia.from_nvidia_smi(Tools())] == ["Turing", "Ada Lovelace"]


ROCM = """\

device,GUID,VRAM Total Memory (B),VRAM Total Used Memory (B),Card Series,Card Model,GFX Version,\
Driver version,PCI Bus,Max Graphics Package Power (W)
card0,123,25753026560,1,N/A,0x744c,gfx1100,6.12.12,0000:03:00.0,303.0
card1,124,17163091968,1,"Radeon, Pro",0x66a1,N/A,6.12.12,N/A,N/A
system,,,,,,,6.12.12,,
"""


def test_the_table_of_rocm_smi_becomes_accelerators_and_the_system_is_none() -> None:
    """Vector H10, without the empty device that the reference makes of the row `system`."""
    first, second = amd.parse_cards(ROCM)
    assert first == Accelerator(
        identity="0000:03:00.0",
        vendor="AMD",
        model="0x744c",
        architecture="gfx1100",
        memory_kind="dedicated",
        capacity_bytes=25753026560,
        driver_name="amdgpu",
        driver_version="6.12.12",
        power_limit_watts=303,
    )
    assert (second.identity, second.model, second.architecture) == ("124", "Radeon, Pro", None)
    assert second.power_limit_watts is None


def test_an_old_rocm_smi_is_asked_for_less(tool: MakeTool) -> None:
    tool(
        "rocm-smi",
        'case "$*" in *--showmaxpower*) exit 2;; esac\nprintf "device,GUID\\ncard0,7\\n"',
    )
    assert [found.identity for found in amd.from_rocm_smi(Tools())] == ["7"]


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (0, None),
        (9999, None),
        (60003, "gfx603"),
        (90010, "gfx90a"),
        (90016, None),
        (90402, "gfx942"),
        (100302, "gfx1032"),
        (110000, "gfx1100"),
        (110003, "gfx1103"),
        (110501, "gfx1151"),
        (120001, "gfx1201"),
        (91003, None),
    ],
)
def test_the_target_number_names_the_architecture(version: int, name: str | None) -> None:
    """Vector H7."""
    assert drm.gfx_name(version) == name


@pytest.fixture
def drm_root(tmp_path: Path) -> Path:
    """An AMD card at 0000:03:00.0 and an Intel one at 0000:00:02.0, as the kernel shows them."""
    for name, vendor, number, minor in (
        ("0000:00:02.0", "0x8086", 0, 128),
        ("0000:03:00.0", "0x1002", 1, 129),
    ):
        device = tmp_path / "sys/devices" / name
        (device / f"drm/renderD{minor}").mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        for link in (f"card{number}", f"renderD{minor}"):
            (tmp_path / "sys/class/drm" / link).mkdir(parents=True)
            (tmp_path / "sys/class/drm" / link / "device").symlink_to(device)
        files(tmp_path, **{f"dev__dri__renderD{minor}": ""})
    amd_device = tmp_path / "sys/devices/0000:03:00.0"
    files(
        amd_device,
        mem_info_vram_total="25753026560\n",
        product_name="Radeon RX 7900 XTX\n",
        hwmon__hwmon2__power1_cap="303000000\n",
    )
    files(tmp_path, sys__module__amdgpu__version="6.12.12\n")
    (amd_device / "driver").symlink_to(tmp_path / "sys/module/amdgpu")
    return tmp_path


def test_the_files_of_the_kernel_show_cards_of_several_vendors(drm_root: Path) -> None:
    intel, radeon = drm.from_drm(drm_root)
    assert intel == Accelerator("0000:00:02.0", vendor="Intel", memory_kind="shared_system")
    assert radeon == Accelerator(
        "0000:03:00.0",
        vendor="AMD",
        model="Radeon RX 7900 XTX",
        memory_kind="dedicated",
        capacity_bytes=25753026560,
        driver_name="amdgpu",
        driver_version="6.12.12",
        power_limit_watts=303,
    )


def test_a_card_that_this_container_may_not_use_is_not_shown(drm_root: Path) -> None:
    (drm_root / "dev/dri/renderD128").unlink()
    assert [found.vendor for found in drm.from_drm(drm_root)] == ["AMD"]


def test_the_compute_node_adds_the_architecture_to_the_card(drm_root: Path) -> None:
    nodes = drm_root / "sys/class/kfd/kfd/topology/nodes"
    files(nodes, **{"0__properties": "cpu_cores_count 16\ngfx_target_version 0\ndrm_render_minor 0\n"})
    files(nodes, **{"1__properties": "gfx_target_version 110000\ndrm_render_minor 129\n"})
    found = merged([*drm.from_kfd(drm_root), *drm.from_drm(drm_root)])
    assert [(each.vendor, each.architecture, each.memory_kind) for each in found] == [
        ("Intel", None, "shared_system"),
        ("AMD", "gfx1100", "dedicated"),
    ]


def test_the_same_device_from_two_probes_is_one_with_what_either_knows() -> None:
    found = merged(
        [
            Accelerator("0000:01:00.0", vendor="NVIDIA", capacity_bytes=5, memory_kind="unknown"),
            Accelerator("", vendor="AMD"),
            Accelerator("0000:01:00.0", vendor="other", model="RTX 4090", memory_kind="dedicated"),
            Accelerator("", vendor="AMD"),
        ]
    )
    assert [(each.identity, each.vendor) for each in found] == [
        ("", "AMD"),
        ("", "AMD"),
        ("0000:01:00.0", "NVIDIA"),
    ]
    assert (found[2].model, found[2].capacity_bytes, found[2].memory_kind) == ("RTX 4090", 5, "dedicated")


def test_two_records_of_one_device_are_shown_as_one() -> None:
    """Vector H11."""
    records = [Accelerator("GPU-0", vendor="NVIDIA"), Accelerator("GPU-0", model="RTX 4090")]
    found = detect("v9", probe=lambda root, memory_bytes, tools: records)
    assert found is not None
    (shown,) = found["accelerators"]
    assert (shown["index"], shown["model"]) == (0, "RTX 4090")
    assert "GPU-0" not in str(shown)


def test_the_identity_of_an_accelerator_is_not_shown(tool: MakeTool) -> None:
    tool("nvidia-smi", 'case "$1" in *memory.total*) echo "0, A, GPU-0, 01:00.0, 1, d, 2";; esac')
    found = detect("v9", probe=lambda root, memory_bytes, tools: nvidia.from_nvidia_smi(tools))
    assert found is not None
    assert found["accelerators"] == [
        {
            "index": 0,
            "kind": "gpu",
            "vendor": "NVIDIA",
            "model": "A",
            "architecture": None,
            "memory": {"kind": "dedicated", "capacity_bytes": 1 << 20},
            "driver": {"name": "NVIDIA", "version": "d"},
            "power_limit_watts": 2.0,
        }
    ]


def test_the_displays_of_a_mac_become_accelerators() -> None:
    report = {
        "SPDisplaysDataType": [
            {
                "_name": "Apple M4 Max",
                "sppci_model": "Apple M4 Max",
                "spdisplays_mtlgpufamilysupport": "metal3",
            },
            {
                "sppci_model": "AMD Radeon Pro 5500M",
                "spdisplays_vendor": "sppci_vendor_amd (0x1002)",
                "spdisplays_vram": "8 GB",
            },
            {
                "sppci_model": "UHD 630",
                "spdisplays_vendor": "Intel",
                "spdisplays_vram_shared": "1536 MB",
            },
        ]
    }
    first, second, third = apple.parse_displays(report, 64 * GIB)
    assert (first.vendor, first.architecture, first.memory_kind) == ("Apple", "Apple M4", "unified")
    assert first.capacity_bytes == 64 * GIB
    assert (second.vendor, second.memory_kind, second.capacity_bytes) == ("AMD", "dedicated", 8 * GIB)
    assert (third.vendor, third.memory_kind, third.capacity_bytes) == ("Intel", "shared_system", 1536 << 20)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24 GB", 24 * GIB), ("512", 512 << 20), ("1.5 gb", 3 * GIB // 2), ("some", None), (None, None)],
)
def test_sizes_are_read_with_their_units(text: str | None, size: int | None) -> None:
    assert apple.size_bytes(text) == size
