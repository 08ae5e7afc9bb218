from __future__ import annotations

from array import array

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swapyard.observe.exposition import Exposition, Histogram, number
from swapyard.observe.gpu.cards import Sample
from swapyard.observe.model_memory import ModelMemory
from swapyard.observe.prometheus import Lost, Metrics
from swapyard.observe.system import Interface, SystemSample
from swapyard.types import ModelId

QWEN, GEMMA = ModelId("qwen"), ModelId("gemma")

SYSTEM = SystemSample(
    at=0,
    cpu_util_per_core=array("d", [10.5, 20]),
    mem_total_mb=8192,
    mem_used_mb=4096,
    mem_free_mb=1024,
    swap_total_mb=0,
    swap_used_mb=0,
    load_avg=(0.7, 1, 33.333333333333336),
    net_io=(Interface("eth0", 10, 20), Interface('we"ird\\0', 2**64 - 1, 0)),
)


def gpu(id: int = 0, name: str = "NVIDIA RTX 4090", uuid: str = "GPU-1234", **known: float) -> Sample:
    unknown = dict.fromkeys(
        (
            "temp_c",
            "vram_temp_c",
            "gpu_util_pct",
            "mem_util_pct",
            "mem_used_mb",
            "mem_total_mb",
            "fan_speed_pct",
            "power_draw_w",
        )
    )
    return Sample(0, id, name, uuid, **{**unknown, **known})  # type: ignore[arg-type]


def lines(metrics: Metrics) -> list[str]:
    return metrics.render().decode().splitlines()


def parsed(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by sample name and label values, as Prometheus' own parser reads them."""
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            values.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return values


def test_without_samples_and_requests_the_page_is_empty() -> None:
    assert Metrics().render() == b""


def test_the_machine_is_shown_under_the_published_names_in_their_order() -> None:
    shown = lines(Metrics(system=lambda: SYSTEM))
    assert [line for line in shown if not line.startswith("# HELP")] == [
        "# TYPE llamaswap_cpu_util_percent gauge",
        'llamaswap_cpu_util_percent{core="0"} 10.5',
        'llamaswap_cpu_util_percent{core="1"} 20',
        "# TYPE llamaswap_memory_total_bytes gauge",
        "llamaswap_memory_total_bytes 8589934592",
        "# TYPE llamaswap_memory_used_bytes gauge",
        "llamaswap_memory_used_bytes 4294967296",
        "# TYPE llamaswap_memory_free_bytes gauge",
        "llamaswap_memory_free_bytes 1073741824",
        "# TYPE llamaswap_swap_total_bytes gauge",
        "llamaswap_swap_total_bytes 0",
        "# TYPE llamaswap_swap_used_bytes gauge",
        "llamaswap_swap_used_bytes 0",
        "# TYPE llamaswap_load_average gauge",
        'llamaswap_load_average{interval="1m"} 0.7',
        'llamaswap_load_average{interval="5m"} 1',
        'llamaswap_load_average{interval="15m"} 33.333333333333336',
        "# TYPE llamaswap_network_bytes_total counter",
        'llamaswap_network_bytes_total{interface="eth0",direction="recv"} 10',
        'llamaswap_network_bytes_total{interface="eth0",direction="sent"} 20',
        'llamaswap_network_bytes_total{interface="we\\"ird\\\\0",direction="recv"} 18446744073709551615',
        'llamaswap_network_bytes_total{interface="we\\"ird\\\\0",direction="sent"} 0',
    ]
    helps = [line.split()[2] for line in shown if line.startswith("# HELP")]
    assert helps == [line.split()[2] for line in shown if line.startswith("# TYPE")]


def test_what_is_unknown_of_the_machine_is_left_out() -> None:
    sample = SystemSample(0, array("d"), 1, 1, 1, None, None, None, None)
    names = {line.split()[2] for line in lines(Metrics(system=lambda: sample)) if line.startswith("#")}
    assert names == {f"llamaswap_memory_{kind}_bytes" for kind in ("total", "used", "free")}


def test_cards_are_shown_with_their_labels() -> None:
    shown = lines(
        Metrics(
            gpus=lambda: [
                gpu(gpu_util_pct=85.5, mem_used_mb=4, temp_c=51),
                gpu(1, "G", "", mem_total_mb=24576, gpu_util_pct=0.00001, power_draw_w=1234567.5),
            ]
        )
    )
    assert 'llamaswap_gpu_util_percent{id="0",name="NVIDIA RTX 4090",uuid="GPU-1234"} 85.5' in shown
    assert 'llamaswap_gpu_temperature_celsius{id="0",name="NVIDIA RTX 4090",uuid="GPU-1234"} 51' in shown
    assert 'llamaswap_gpu_memory_total_bytes{id="1",name="G"} 2.5769803776e+10' in shown
    assert 'llamaswap_gpu_util_percent{id="1",name="G"} 1e-05' in shown
    assert 'llamaswap_gpu_power_draw_watts{id="1",name="G"} 1.2345675e+06' in shown


def test_what_is_unknown_of_a_card_has_no_sample_and_a_family_without_samples_is_left_out() -> None:
    values = parsed(Metrics(gpus=lambda: [gpu(0, temp_c=51), gpu(1, "other", "")]))
    assert list(values) == ["llamaswap_gpu_temperature_celsius"]
    assert list(values["llamaswap_gpu_temperature_celsius"].values()) == [51]


def test_labels_are_escaped_so_that_they_read_back() -> None:
    metrics = Metrics(
        gpus=lambda: [gpu(0, 'GPU "special"', "uuid\nline", temp_c=1), gpu(1, "a\\nb", "", temp_c=2)]
    )
    assert 'name="GPU \\"special\\"",uuid="uuid\\nline"' in metrics.render().decode()
    assert parsed(metrics)["llamaswap_gpu_temperature_celsius"] == {
        ("0", 'GPU "special"', "uuid\nline"): 1,
        ("1", "a\\nb"): 2,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.5, "-0.5"),
        (33.333333333333336, "33.333333333333336"),
        (100000.0, "100000"),
        (999999.0, "999999"),
        (1000000.0, "1e+06"),
        (1048576.0, "1.048576e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-1.5e-300, "-1.5e-300"),
        (5e-324, "5e-324"),
        (float("inf"), "+Inf"),
        (float("nan"), "NaN"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_numbers_have_the_shortest_text_that_reads_back(value: float, text: str) -> None:
    assert number(value) == text


def test_requests_are_counted_by_model_and_status() -> None:
    metrics = Metrics()
    metrics.observe("qwen", 200, 1.5)
    metrics.observe("qwen", 200, 0.5)
    metrics.observe("qwen", 502, 0.1)
    metrics.observe("peer/gemma", 200, 2)
    assert parsed(metrics)["swapyard_requests_total"] == {
        ("peer/gemma", "200"): 1,
        ("qwen", "200"): 2,
        ("qwen", "502"): 1,
    }


def test_tokens_are_counted_by_kind_and_unreported_ones_are_not() -> None:
    metrics = Metrics()
    metrics.observe("qwen", 200, 1, input_tokens=10, output_tokens=20, cached_tokens=-1, draft_tokens=4)
    metrics.observe("qwen", 200, 1, input_tokens=1, draft_accepted_tokens=3)
    assert parsed(metrics)["swapyard_tokens_total"] == {
        ("qwen", "input"): 11,
        ("qwen", "output"): 20,
        ("qwen", "draft"): 4,
        ("qwen", "draft_accepted"): 3,
    }


def test_times_fall_into_buckets_that_add_up() -> None:
    metrics = Metrics()
    for seconds in (0.1, 0.4, 7, 9999):
        metrics.observe("qwen", 200, seconds, queue=seconds, first_token=seconds)
    values = parsed(metrics)
    for name in ("queue", "first_token", "request"):
        buckets = values[f"swapyard_{name}_seconds_bucket"]
        # A value on a bound belongs to it.
        assert buckets["qwen", "0.1"] == 1
        assert buckets["qwen", "0.5"] == 2
        assert buckets["qwen", "300"] == 3
        assert buckets["qwen", "+Inf"] == 4
        assert values[f"swapyard_{name}_seconds_count"]["qwen",] == 4
        assert values[f"swapyard_{name}_seconds_sum"]["qwen",] == pytest.approx(10006.5)


def test_a_request_that_never_waited_does_not_count_as_waiting_no_time() -> None:
    metrics = Metrics()
    metrics.observe("qwen", 404, 0.1)
    assert "swapyard_queue_seconds_count" not in parsed(metrics)


def test_loads_evictions_and_restarts_are_counted() -> None:
    metrics = Metrics()
    metrics.load_finished("qwen", 12.5, ready=True)
    metrics.load_finished("qwen", 120, ready=False)
    metrics.evicted("gemma")
    metrics.restarted("qwen")
    values = parsed(metrics)
    assert values["swapyard_loads_total"] == {("qwen", "ready"): 1, ("qwen", "failed"): 1}
    assert values["swapyard_load_seconds_sum"] == {("qwen",): 12.5}
    assert values["swapyard_evictions_total"] == {("gemma",): 1, ("qwen",): 0}
    assert values["swapyard_restarts_total"] == {("gemma",): 0, ("qwen",): 1}


def test_the_present_is_read_when_the_page_is_asked_for() -> None:
    in_flight = {QWEN: 1}
    metrics = Metrics(
        in_flight=lambda: in_flight,
        waiting=lambda: {GEMMA: 3, QWEN: 0},
        memory=lambda: {QWEN: ModelMemory(1 << 30, {"GPU-1": 5 << 30, "GPU-2": 7})},
        tasks=lambda: 7,
    )
    in_flight[QWEN] = 2
    values = parsed(metrics)
    assert values["swapyard_in_flight"] == {("qwen",): 2}
    assert values["swapyard_waiting"] == {("gemma",): 3, ("qwen",): 0}
    assert values["swapyard_tasks"] == {(): 7}
    assert values["swapyard_resident_bytes"] == {("qwen",): 1 << 30}
    assert values["swapyard_gpu_bytes"] == {("qwen", "GPU-1"): 5 << 30, ("qwen", "GPU-2"): 7}


def test_what_could_not_be_observed_is_counted() -> None:
    values = parsed(Metrics(lost=lambda: Lost(rows=1, captures=2, body_bytes=3)))
    assert values == {
        "swapyard_unobserved_total": {("row",): 1, ("capture",): 2},
        "swapyard_unobserved_bytes_total": {(): 3},
    }


def test_every_family_is_announced_once_and_readable() -> None:
    metrics = Metrics(system=lambda: SYSTEM, gpus=lambda: [gpu(temp_c=1)], in_flight=lambda: {QWEN: 1})
    metrics.observe("qwen", 200, 1, queue=1, first_token=1, input_tokens=1)
    metrics.load_finished("qwen", 1, ready=True)
    page = metrics.render().decode()
    families = list(text_string_to_metric_families(page))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation and family.type != "unknown" for family in families)
    assert page.endswith("\n")
    assert "\n\n" not in page


def test_a_histogram_without_a_bound_for_it_counts_a_value_in_the_last_bucket() -> None:
    histogram = Histogram((1.0,))
    histogram.observe(2.0)
    page = Exposition()
    page.histograms("x", "X", [((), histogram)])
    assert page.content().decode().splitlines()[2:] == [
        'x_bucket{le="1"} 0',
        'x_bucket{le="+Inf"} 1',
        "x_sum 2",
        "x_count 1",
    ]
