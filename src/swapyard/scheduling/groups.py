"""The group planner: what has to stop follows from the two groups that two models belong to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from swapyard.scheduling.policy import Eviction
from swapyard.types import ModelId

DEFAULT_GROUP = "(default)"


@dataclass(frozen=True, slots=True)
class Group:
    """`swap`: its members replace one another.  `exclusive`: loading a member unloads other groups.

    `persistent`: other groups leave its members alone.
    """

    name: str
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False
    members: tuple[ModelId, ...] = ()


class GroupPlanner:
    """For target T in group G, a running model M of group H has to go

    1. never, when M is T;
    2. in the same group, when G swaps;
    3. in another group, when G is exclusive and H is not persistent.

    H's own `exclusive` says nothing: loading a model of a group that is not exclusive leaves a running
    exclusive group alone, while the next request for that group's model evicts it.  This one-way rule is
    the original's, and files rely on it.  Source: routing.md §7.1.

    Models in no group, also those that the configuration has just dropped, belong to the default group.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        given = next((group for group in groups if group.name == DEFAULT_GROUP), None)
        self._default = given or Group(DEFAULT_GROUP)
        self._group_of: dict[ModelId, Group] = {}
        for group in groups:
            for member in group.members:
                other = self._group_of.get(member)
                if other is not None:
                    raise ValueError(f"model {member} is a member of {other.name} and of {group.name}")
                self._group_of[member] = group

    def __call__(self, target: ModelId, running: Collection[ModelId]) -> Eviction:
        evict = tuple(model for model in running if self.evicts(target, model))
        return Eviction(evict, self._reason(target, evict) if evict else "")

    def evicts(self, target: ModelId, other: ModelId) -> bool:
        """Whether `other` has to go when `target` is wanted, whoever else runs."""
        if target == other:
            return False
        group = self._group_of.get(target, self._default)
        theirs = self._group_of.get(other, self._default)
        if group is theirs:
            return group.swap
        return group.exclusive and not theirs.persistent

    def _reason(self, target: ModelId, evict: tuple[ModelId, ...]) -> str:
        group = self._group_of.get(target, self._default)
        same = [m for m in evict if self._group_of.get(m, self._default) is group]
        reasons = []
        if same:
            reasons.append(f'group "{group.name}" runs one model at a time')
        if len(same) < len(evict):
            reasons.append(f'group "{group.name}" is exclusive')
        return " and ".join(reasons)


def group_planner(groups: Sequence[Group]) -> GroupPlanner:
    """The planner for these groups.  ValueError when a model is a member of two, or twice of one."""
    return GroupPlanner(groups)
