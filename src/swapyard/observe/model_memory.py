"""How much memory each running model holds, found through the processes below the one we started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from swapyard.types import ModelId

ProcessMemory = Callable[[], Mapping[int, Mapping[str, int]]]
"""Bytes of card memory by process id and card UUID."""


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """Bytes held by a model's processes: in main memory, and on each card by its UUID.

    Pages that several processes of a model share count for each of them.  A card is left out when its driver
    tells nothing about these processes, which is not the same as holding nothing there.
    """

    resident_bytes: int
    gpu_bytes: Mapping[str, int]


def model_memory(
    pids: Mapping[ModelId, int], process_memory: ProcessMemory | None = None
) -> dict[ModelId, ModelMemory]:
    """Measure the models whose processes these are; blocking, for a worker thread.

    A model whose process is gone is left out.  What a container runtime runs on a model's behalf is not
    below the command that asked for it, and so is not seen.
    """
    if not pids:
        return {}
    children = _children()
    on_cards = process_memory() if process_memory is not None else {}
    measured = {}
    for model, pid in pids.items():
        tree = list(_tree(pid, children))
        resident = [held for member in tree if (held := _resident_bytes(member)) is not None]
        if resident:
            measured[model] = ModelMemory(sum(resident), _sum_by_card(on_cards, tree))
    return measured


def _children() -> dict[int, list[int]]:
    """The children of every process, from one walk over all of them."""
    import psutil

    children: dict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter():
        try:
            children[process.ppid()].append(process.pid)
        except psutil.Error:
            continue
    return children


def _tree(pid: int, children: Mapping[int, list[int]]) -> Iterable[int]:
    seen: set[int] = set()
    ahead = [pid]
    while ahead:
        member = ahead.pop()
        # Process ids are reused while we walk; a circle must not catch us.
        if member not in seen:
            seen.add(member)
            ahead += children.get(member, [])
            yield member


def _resident_bytes(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _sum_by_card(on_cards: Mapping[int, Mapping[str, int]], tree: Iterable[int]) -> dict[str, int]:
    held: dict[str, int] = {}
    for pid in tree:
        for uuid, used_bytes in on_cards.get(pid, {}).items():
            held[uuid] = held.get(uuid, 0) + used_bytes
    return held
