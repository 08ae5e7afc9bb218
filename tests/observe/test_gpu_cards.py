from __future__ import annotations

from swapyard.observe.gpu.cards import Cards, Sample
from swapyard.observe.gpu.readings import Reading

NVML, LACT, NVIDIA_SMI, ROCM_SMI = range(4)


def shown(samples: list[Sample]) -> list[tuple[int, str]]:
    return [(sample.id, sample.name) for sample in samples]


def test_a_card_that_two_sources_see_is_shown_by_the_better_one() -> None:
    cards = Cards(patience=20)
    assert shown(cards.merge(NVML, [Reading(0, "H200", uuid="GPU-1", pci="0000:01:00.0")], 0, 0)) == [
        (0, "H200")
    ]
    assert cards.merge(LACT, [Reading(5, "NVIDIA", uuid="10DE:1", pci="0000:01:00.0")], 0, 0) == []
    assert cards.merge(NVIDIA_SMI, [Reading(0, "H200", uuid="GPU-1")], 0, 0) == []
    assert shown(cards.merge(NVML, [Reading(0, "H200", uuid="GPU-1")], 5, 5)) == [(0, "H200")]


def test_a_lesser_source_steps_in_when_the_better_one_falls_silent() -> None:
    cards = Cards(patience=20)
    cards.merge(LACT, [Reading(0, "Radeon", uuid="L", pci="0000:03:00.0")], 0, 0)
    other = Reading(0, "card0", uuid="R", pci="0000:03:00.0", temp_c=50)
    assert cards.merge(ROCM_SMI, [other], 0, 20) == []
    (sample,) = cards.merge(ROCM_SMI, [other], 0, 21)
    assert (sample.id, sample.temp_c) == (0, 50)
    # The card keeps its name and its mark: a dashboard goes on with the same series.
    assert (sample.name, sample.uuid) == ("Radeon", "L")


def test_cards_of_two_vendors_never_share_a_number() -> None:
    cards = Cards(patience=20)
    nvidia = [Reading(0, "N0", uuid="GPU-0"), Reading(1, "N1", uuid="GPU-1")]
    amd = [Reading(0, "A0", pci="0000:03:00.0"), Reading(7, "A7", pci="0000:04:00.0")]
    assert shown(cards.merge(NVML, nvidia, 0, 0)) == [(0, "N0"), (1, "N1")]
    assert shown(cards.merge(ROCM_SMI, amd, 0, 0)) == [(2, "A0"), (7, "A7")]
    assert shown(cards.merge(ROCM_SMI, amd[::-1], 5, 5)) == [(7, "A7"), (2, "A0")]


def test_cards_without_a_mark_are_known_by_their_place_in_their_source() -> None:
    cards = Cards(patience=20)
    assert shown(cards.merge(ROCM_SMI, [Reading(0, "a"), Reading(1, "b")], 0, 0)) == [(0, "a"), (1, "b")]
    assert shown(cards.merge(LACT, [Reading(0, "c")], 0, 0)) == [(2, "c")]


def test_the_number_of_a_source_is_kept_where_it_is_free() -> None:
    assert shown(Cards(20).merge(LACT, [Reading(1, "second in the list", uuid="A")], 0, 0)) == [
        (1, "second in the list")
    ]


def test_a_source_is_redundant_while_better_ones_show_all_its_cards() -> None:
    cards = Cards(patience=20)
    both = [Reading(0, "a", uuid="A"), Reading(1, "b", uuid="B")]
    cards.merge(NVML, both[:1], 0, 0)
    assert not cards.is_redundant(NVIDIA_SMI, 0)
    cards.merge(NVIDIA_SMI, both, 0, 0)
    assert not cards.is_redundant(NVIDIA_SMI, 0)
    cards.merge(NVML, both, 0, 1)
    assert cards.is_redundant(NVIDIA_SMI, 1)
    assert not cards.is_redundant(NVIDIA_SMI, 22)
    assert not cards.is_redundant(NVML, 1)


def test_unknown_stays_unknown_and_memory_use_needs_both_figures() -> None:
    (sample,) = Cards(20).merge(NVML, [Reading(0, "x", mem_used_mb=5)], 1.5, 0)
    assert sample.at == 1.5
    assert sample.temp_c is None
    assert sample.mem_util_pct is None
    (sample,) = Cards(20).merge(NVML, [Reading(0, "x", mem_used_mb=5, mem_total_mb=10)], 0, 0)
    assert sample.mem_util_pct == 50
