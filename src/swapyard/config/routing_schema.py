"""The shape of groups, matrix, router and scheduler: as a file writes them, and as they are in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BeforeValidator, Field, InstanceOf

from swapyard.config.fields import EntryText, EntryWhole, Flag, Seconds, Text, Texts, as_mapping, refuse
from swapyard.config.section import Entries, Optionally, Section
from swapyard.config.sets import NamedSet
from swapyard.config.tree import Scalar
from swapyard.types import ModelId

DEFAULT_GROUP = "(default)"
"""The group of every model that no group lists."""


class GroupConfig(Section):
    """Members are model IDs once the configuration is loaded."""

    swap: Flag = True
    exclusive: Flag = True
    persistent: Flag = False
    members: Texts = ()


def _is_a_mapping_of_sets(value: object) -> object:
    if isinstance(value, Scalar) and (value.is_reported or value.is_null):
        return as_mapping(value)
    if not isinstance(value, Mapping):
        raise refuse("sets must be a mapping from name to expression")
    for name, expression in value.items():
        if not isinstance(expression, Scalar | str):
            raise refuse(f'sets: set "{name}": the expression must be text')
    return value


class MatrixSection(Section):
    """A matrix as a file writes it."""

    vars: Annotated[Mapping[str, EntryText], Entries] = Field(default_factory=dict)
    evict_costs: Annotated[Mapping[str, EntryWhole], Entries] = Field(default_factory=dict)
    sets: Annotated[Mapping[str, EntryText], BeforeValidator(_is_a_mapping_of_sets)] = Field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class MatrixConfig:
    """A compiled matrix.

    `sets` is in ranking order: of two that are equally good the earlier one wins.  `set_order` is the order
    of definition.  Models that `evict_costs` does not hold cost 1.
    """

    sets: tuple[NamedSet, ...]
    set_order: tuple[str, ...] = ()
    evict_costs: Mapping[ModelId, int] = field(default_factory=dict)
    vars: Mapping[str, ModelId] = field(default_factory=dict)


class FifoSettings(Section):
    """`priority` is as written, by model ID or alias; `Config.priority` resolves it."""

    priority: Annotated[Mapping[str, EntryWhole], Entries] = Field(default_factory=dict)


class SchedulerSettings(Section):
    fifo: FifoSettings = Field(default_factory=FifoSettings)
    # Own key: after this wait a request is no longer overtaken; 0 switches the bound off.
    max_wait: Seconds = 60
    # Own key: after this wait a request is refused; 0 for never.
    queue_timeout: Seconds = 0


class SchedulerSection(Section):
    use: Text = ""
    settings: SchedulerSettings = Field(default_factory=SchedulerSettings)


class Scheduler(SchedulerSection):
    """`use` is serial or fifo; `reason` says in words why."""

    use: Text = "serial"
    reason: str = ""


Groups = Annotated[Mapping[str, GroupConfig], Entries]


class RouterSettingsSection(Section):
    groups: Groups = Field(default_factory=dict)
    matrix: Annotated[MatrixSection | None, Optionally] = None


class RouterSection(Section):
    use: Text = ""
    settings: RouterSettingsSection = Field(default_factory=RouterSettingsSection)


class RoutingSection(Section):
    router: RouterSection = Field(default_factory=RouterSection)
    scheduler: SchedulerSection = Field(default_factory=SchedulerSection)


class RouterSettings(Section):
    """Exactly one of the two is in use; with a matrix there are no groups."""

    groups: Groups = Field(default_factory=dict)
    matrix: InstanceOf[MatrixConfig] | None = None


class Router(Section):
    """`use` is group or matrix."""

    use: Text = "group"
    settings: RouterSettings = Field(default_factory=RouterSettings)


class Routing(Section):
    router: Router = Field(default_factory=Router)
    scheduler: Scheduler = Field(default_factory=Scheduler)
