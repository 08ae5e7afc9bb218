"""The published vectors of what the tools print; what is 0 there for want of knowledge is None here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swapyard.observe.gpu.apple import parse_ioreg, parse_mactop
from swapyard.observe.gpu.lact import parse_stats
from swapyard.observe.gpu.nvidia_smi import driver_addresses, parse_line
from swapyard.observe.gpu.readings import Reading, pci_address
from swapyard.observe.gpu.rocm_smi import parse_table

MIB = 1 << 20


def facts(reading: Reading | None) -> dict[str, Any] | None:
    """What is known, in the vectors' short words."""
    if reading is None:
        return None
    values = {
        "id": reading.index,
        "name": reading.name,
        "uuid": reading.uuid or None,
        "temp": reading.temp_c,
        "vram_temp": reading.vram_temp_c,
        "util": reading.gpu_util_pct,
        "used": reading.mem_used_mb,
        "total": reading.mem_total_mb,
        "mem": reading.mem_util_pct,
        "fan": reading.fan_speed_pct,
        "power": reading.power_draw_w,
    }
    return {name: value for name, value in values.items() if value is not None}


def x(**known: Any) -> dict[str, Any]:
    return {"id": 0, "name": "X", "uuid": "GPU-e", **known}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            "0, NVIDIA H200, GPU-3c1d2e4f-0a1b-2c3d-4e5f-60718293a4b5, 31, 0, 4, 143771, [N/A], 76.32",
            {
                "id": 0,
                "name": "NVIDIA H200",
                "uuid": "GPU-3c1d2e4f-0a1b-2c3d-4e5f-60718293a4b5",
                "temp": 31,
                "util": 0,
                "used": 4,
                "total": 143771,
                "mem": 0.002782202252192723,
                "power": 76.32,
            },
            id="N1",
        ),
        pytest.param(
            "1, NVIDIA GeForce RTX 4090, GPU-aaaa, 54, 97, 22118, 24564, 41, 381.77",
            {
                "id": 1,
                "name": "NVIDIA GeForce RTX 4090",
                "uuid": "GPU-aaaa",
                "temp": 54,
                "util": 97,
                "used": 22118,
                "total": 24564,
                "mem": 90.04233838137111,
                "fan": 41,
                "power": 381.77,
            },
            id="N2",
        ),
        pytest.param(
            "0, NVIDIA GB10, GPU-bbbb, 44, 3, [N/A], [N/A], [N/A], 11.42",
            {"id": 0, "name": "NVIDIA GB10", "uuid": "GPU-bbbb", "temp": 44, "util": 3, "power": 11.42},
            id="N3",
        ),
        pytest.param(
            "0, Tesla P40, GPU-cccc, 28, 0, 0, 24576, [Not Supported], 9.62",
            {
                "id": 0,
                "name": "Tesla P40",
                "uuid": "GPU-cccc",
                "temp": 28,
                "util": 0,
                "used": 0,
                "total": 24576,
                "mem": 0,
                "power": 9.62,
            },
            id="N4",
        ),
        pytest.param(
            "2, Quadro K600, GPU-dddd, 51, [N/A], 210, 981, 29, [N/A]",
            {
                "id": 2,
                "name": "Quadro K600",
                "uuid": "GPU-dddd",
                "temp": 51,
                "used": 210,
                "total": 981,
                "mem": 21.406727828746178,
                "fan": 29,
            },
            id="N5",
        ),
        pytest.param(
            "0, X, GPU-e, 65.5, 12.5, 100.5, 1000, 33.3, 10",
            x(util=12.5, total=1000, fan=33.3, power=10),
            id="N6",
        ),
        pytest.param(
            "0, X, GPU-e, 65, 12, 500, 1000, 33, 10, extra",
            x(temp=65, util=12, used=500, total=1000, mem=50, fan=33, power=10),
            id="N7",
        ),
        pytest.param(
            "0, Foo, Inc. Bar, GPU-f, 60, 50, 100, 200, 30, 99.9",
            {
                "id": 0,
                "name": "Foo",
                "uuid": "Inc. Bar",
                "util": 60,
                "used": 50,
                "total": 100,
                "mem": 50,
                "fan": 200,
                "power": 30,
            },
            id="N8",
        ),
        pytest.param(
            "Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error", None, id="N9"
        ),
        pytest.param("0, NVIDIA GPU, GPU-123, 65, 80, 8192, 10240, 75", None, id="N10"),
        pytest.param(
            "0,X,GPU-e,65,12,500,1000,33,10",
            x(temp=65, util=12, used=500, total=1000, mem=50, fan=33, power=10),
            id="N11",
        ),
        pytest.param("0, X, GPU-e, 65, 12 %, 500 MiB, 1000 MiB, 33 %, 10.00 W", x(temp=65), id="N12"),
        pytest.param(
            "0, X, GPU-e, 65, 12, 500, 1000, 33, ERR!",
            x(temp=65, util=12, used=500, total=1000, mem=50, fan=33),
            id="N13",
        ),
        pytest.param("", None, id="N14"),
        pytest.param(
            "index, name, uuid, temperature.gpu, utilization.gpu [%], memory.used, memory.total, fan, power",
            None,
            id="a header is not a card",
        ),
    ],
)
def test_a_line_of_nvidia_smi_becomes_a_reading(line: str, expected: dict[str, Any] | None) -> None:
    assert facts(parse_line(line)) == expected


R1 = """\
device,GPU ID,Temperature (Sensor edge) (C),Temperature (Sensor junction) (C),\
Temperature (Sensor memory) (C),Fan speed (level),Fan speed (%),Fan RPM,Average Graphics Package Power (W),\
GPU use (%),GPU memory use (%),Memory Activity,VRAM Total Memory (B),VRAM Total Used Memory (B),Card series,\
Card model,Card vendor,Card SKU
card1,0x744c,61.0,78.0,82.0,95,37,1510,214.0,96,40,N/A,25753026560,19327352832,Navi 31,0x744c,\
Advanced Micro Devices,D70401
"""

R2 = """\
device,Device Name,Device ID,GUID,Temperature (Sensor edge) (C),Temperature (Sensor memory) (C),\
Fan speed (%),Average Graphics Package Power (W),GPU use (%),VRAM Total Memory (B),\
VRAM Total Used Memory (B),Card Series,GFX Version
card0,AMD Radeon RX 7900 XTX,0x744c,41210,45.9,61.7,20.5,33.25,7,25753026560,536870912,\
Radeon RX 7900 XTX,gfx1100
"""

R3 = """\
device,Device Name,GUID,GPU use (%),VRAM Total Memory (B),VRAM Total Used Memory (B),Card Series,GFX Version
card2,AMD Instinct MI50,777,1,17163091968,11534336,N/A,gfx906
"""


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            R1,
            # The reference misses the small letter of `Card series` here and shows `card1`.
            {
                "id": 1,
                "name": "Navi 31 card1",
                "temp": 61,
                "vram_temp": 82,
                "util": 96,
                "used": 18432,
                "total": 24560,
                "mem": 75.04885993485343,
                "fan": 37,
                "power": 214,
            },
            id="R1",
        ),
        pytest.param(
            R2,
            {
                "id": 0,
                "name": "Radeon RX 7900 XTX card0 (gfx1100)",
                "uuid": "41210",
                "temp": 45,
                "vram_temp": 61,
                "util": 7,
                "used": 512,
                "total": 24560,
                "mem": 2.0846905537459284,
                "fan": 20.5,
                "power": 33.25,
            },
            id="R2",
        ),
        pytest.param(
            R3,
            {
                "id": 2,
                "name": "AMD Instinct MI50 card2 (gfx906)",
                "uuid": "777",
                "util": 1,
                "used": 11,
                "total": 16368,
                "mem": 0.06720430107526883,
            },
            id="R3",
        ),
        pytest.param(
            "device,Average Graphics Package Power (W),Current Socket Graphics Package Power (W),"
            "GPU use (%)\ncard0,15.0,41.0,3",
            {"id": 0, "name": "card0", "util": 3, "power": 41},
            id="R4",
        ),
        pytest.param(
            "device,Current Socket Graphics Package Power (W),Average Graphics Package Power (W),"
            "GPU use (%)\ncard0,41.0,N/A,3",
            # The reference takes the later column even when it holds no number, and shows 0.
            {"id": 0, "name": "card0", "util": 3, "power": 41},
            id="R5",
        ),
        pytest.param(
            "device,Temperature (Sensor edge) (C),GPU use (%),VRAM Total Memory (B),"
            "VRAM Total Used Memory (B)\ncard10,N/A,N/A,536870912,100663296",
            {"id": 10, "name": "card10", "used": 96, "total": 512, "mem": 18.75},
            id="R6",
        ),
        pytest.param("device,GPU use (%)\nsystem,5", None, id="R7"),
        pytest.param("device,GPU use (%)\n7,5", {"id": 7, "name": "7", "util": 5}, id="R8"),
        pytest.param(
            "device, GPU use (%),VRAM Total Memory (B)\ncard0,55,1073741824",
            {"id": 0, "name": "card0", "total": 1024},
            id="R9",
        ),
        pytest.param(
            "device,GPU use (%),Card Series,GFX Version\ncard0,5,Radeon Pro, Special,gfx1030", None, id="R10"
        ),
        pytest.param(
            "device,GPU use (%),VRAM Total Memory (B),VRAM Total Used Memory (B)\ncard0,5,-1,5",
            {"id": 0, "name": "card0", "util": 5, "used": 0},
            id="R11",
        ),
        pytest.param(
            "device,GPU use (%),Card Series\ncard0,5,Radeon VII",
            # The reference adds `()` for the architecture that is not told.
            {"id": 0, "name": "Radeon VII card0", "util": 5},
            id="R12",
        ),
        pytest.param("card0,5", None, id="data before a header"),
    ],
)
def test_a_table_of_rocm_smi_becomes_readings(table: str, expected: dict[str, Any] | None) -> None:
    readings = [facts(reading) for reading in parse_table(table)]
    assert readings == ([expected] if expected is not None else [])


def test_a_header_in_the_middle_of_a_table_names_the_columns_after_it() -> None:
    table = "device,GPU use (%)\ncard0,5\ndevice,GUID,GPU use (%)\ncard1,77,6\ncard2,7\n"
    assert [facts(reading) for reading in parse_table(table)] == [
        {"id": 0, "name": "card0", "util": 5},
        {"id": 1, "name": "card1", "uuid": "77", "util": 6},
    ]


def test_the_bus_column_of_rocm_smi_is_the_address() -> None:
    assert [r.pci for r in parse_table("device,PCI Bus\ncard0,0000:0A:00.0\ncard1,N/A")] == [
        "0000:0a:00.0",
        "",
    ]


L1: dict[str, Any] = {
    "fan": {"control_enabled": False, "pwm_current": 77, "speed_current": 1500},
    "vram": {"total": 25753026560, "used": 12884901888},
    "power": {"average": 212.0, "current": 220.5, "cap_current": 339.0},
    "temps": {
        "edge": {"current": 58.0, "crit": 100.0},
        "junction": {"current": 73.0},
        "mem": {"current": 78.0},
    },
    "busy_percent": 93,
}


def lact(stats: Any) -> dict[str, Any] | None:
    found = facts(parse_stats(1, "A", "AMD Radeon RX 7900 XTX", stats))
    if found is not None:
        assert (found.pop("id"), found.pop("name"), found.pop("uuid")) == (1, "AMD Radeon RX 7900 XTX", "A")
    return found


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        pytest.param(
            L1,
            {
                "temp": 58,
                "vram_temp": 78,
                "util": 93,
                "used": 12288,
                "total": 24560,
                "mem": 50.03257328990228,
                "fan": 30.19607843137255,
                "power": 212,
            },
            id="L1",
        ),
        pytest.param(
            {
                "fan": {"pwm_current": 255},
                "vram": {"total": 25769803776, "used": 1048576},
                "power": {"average": 0, "current": 35.1},
                "temps": {"GPU": {"current": 44.9}, "VRAM": {"current": 52.0}},
                "busy_percent": 2,
            },
            {
                "temp": 44,
                "vram_temp": 52,
                "util": 2,
                "used": 1,
                "total": 24576,
                "mem": 0.004069010416666666,
                "fan": 100,
                "power": 35.1,
            },
            id="L2",
        ),
        pytest.param(
            {
                "fan": {"pwm_current": None},
                "vram": {"total": None, "used": None},
                "power": {"average": None, "current": None},
                "temps": {},
                "busy_percent": None,
            },
            {},
            id="L3",
        ),
        pytest.param(
            {
                "fan": {},
                "vram": {"total": 1073741824},
                "power": {"current": 5},
                "temps": {"junction": {"current": 66.7}, "mem": {"current": 0}, "VRAM": {"current": 40}},
            },
            {"temp": 66, "vram_temp": 40, "total": 1024, "power": 5},
            id="L4",
        ),
        pytest.param(
            {
                "fan": {"pwm_current": 128},
                "vram": {"total": 1073741824, "used": 1},
                "power": {"average": -1, "current": 7},
                "temps": {"edge": {"current": None}, "junction": {"current": 61}},
                "busy_percent": 50,
            },
            {
                "temp": 61,
                "util": 50,
                "used": 0,
                "total": 1024,
                "mem": 0,
                "fan": 50.19607843137255,
                "power": 7,
            },
            id="L5",
        ),
        pytest.param({**L1, "fan": {"pwm_current": 300}}, None, id="L6"),
        pytest.param({**L1, "busy_percent": 12.0}, None, id="L7"),
        pytest.param({**L1, "vram": {"total": 1073741824.0}}, None, id="L8"),
        pytest.param(None, {}, id="L11"),
    ],
)
def test_the_statistics_of_lact_become_a_reading(stats: Any, expected: dict[str, Any] | None) -> None:
    assert lact(stats) == expected


def test_the_id_of_lact_holds_the_address() -> None:
    reading = parse_stats(0, "1002:744C-1DA2:E471-0000:03:00.0", None, L1)
    assert reading is not None
    assert (reading.pci, reading.name) == ("0000:03:00.0", "")


M1 = """{"soc_metrics":{"gpu_power":12.75,"gpu_freq_mhz":1398,"gpu_temp":57.6},
"memory":{"total":68719476736,"used":34359738368},"gpu_usage":88.5,
"system_info":{"name":"Apple M4 Max","gpu_core_count":40},
"fans":[{"rpm":2500,"min_rpm":1000,"max_rpm":5000},{"rpm":900,"min_rpm":1000,"max_rpm":5000}],
"temperatures":[{"group":"CPU","avg_celsius":60},{"group":"memory","avg_celsius":48.5}]}"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            M1,
            {
                "id": 0,
                "name": "Apple M4 Max (40-core GPU)",
                "temp": 58,
                "vram_temp": 49,
                "util": 88.5,
                "used": 32768,
                "total": 65536,
                "mem": 50,
                "fan": 18.75,
                "power": 12.75,
            },
            id="M1",
        ),
        pytest.param(
            '{"soc_metrics":{},"memory":{"total":0,"used":0},"gpu_usage":1}',
            {"id": 0, "name": "Apple GPU", "util": 1},
            id="M2",
        ),
        pytest.param(
            '{"gpu_usage":1,"fans":[{"rpm":100,"min_rpm":0,"max_rpm":0}],"system_info":{"gpu_core_count":10}}',
            {"id": 0, "name": "Apple GPU (10-core GPU)", "util": 1},
            id="M3",
        ),
        pytest.param('[{"gpu_usage":1}]', None, id="M4 list"),
        pytest.param("not json", None, id="M4 text"),
        pytest.param("  ", None, id="M4 blanks"),
    ],
)
def test_a_line_of_mactop_becomes_a_reading(line: str, expected: dict[str, Any] | None) -> None:
    assert facts(parse_mactop(line)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            '"Device Utilization %"=7', {"id": 0, "name": "Apple GPU", "util": 7, "total": 16384}, id="I1"
        ),
        pytest.param('"In use system memory (driver)"=5,"x"=1', None, id="I2"),
        pytest.param(
            '"In use system memory"=3145727,"gpu-core-count" = 0',
            {"id": 0, "name": "Apple GPU", "used": 2, "total": 16384, "mem": 0.01220703125},
            id="I3",
        ),
        pytest.param(
            '"model" = "Apple M3"\n"gpu-core-count" = 10\n'
            '"PerformanceStatistics" = {"Device Utilization %"=100,"In use system memory"=4294967296}',
            {
                "id": 0,
                "name": "Apple M3 (10-core GPU)",
                "util": 100,
                "used": 4096,
                "total": 16384,
                "mem": 25,
            },
            id="I4",
        ),
        pytest.param('"Device Utilization %" = 7', None, id="I5"),
    ],
)
def test_the_text_of_ioreg_becomes_a_reading(text: str, expected: dict[str, Any] | None) -> None:
    assert facts(parse_ioreg(text, 16384 * MIB)) == expected


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000001:41:00.0", "0001:41:00.0"),
        ("01:00.0", "0000:01:00.0"),
        ("  0000:0A:00.0 ", "0000:0a:00.0"),
        ("00000000:5D:00.0", "0000:5d:00.0"),
        ("N/A", ""),
        ("extra", ""),
        ("", ""),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    """Vector H5."""
    assert pci_address(text) == address


def test_the_driver_tells_the_address_that_belongs_to_a_uuid(tmp_path: Path) -> None:
    card = tmp_path / "0000:5d:00.0"
    card.mkdir()
    (card / "information").write_text(
        "Model: \t NVIDIA H200\nGPU UUID: \t GPU-1\nBus Location: \t 0000:5D:00.0\n"
    )
    (tmp_path / "0000:5e:00.0").mkdir()
    assert driver_addresses(tmp_path) == {"GPU-1": "0000:5d:00.0"}
