"""A matrix section → its compiled form: names looked up, sets parsed and ranked, costs by model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from swapyard.config.findings import Findings
from swapyard.config.names import Names
from swapyard.config.routing_schema import MatrixConfig, MatrixSection
from swapyard.config.sets import compile_sets
from swapyard.config.tree import Path
from swapyard.types import ModelId

_VAR = re.compile(r"[a-zA-Z0-9.-]{1,32}")


def compile_matrix(section: MatrixSection, path: Path, names: Names, found: Findings) -> MatrixConfig:
    """Compile what is sound; a name that is both a var and a model ID means the var."""
    variables = _vars(section.vars, (*path, "vars"), names, found)

    def find(name: str) -> ModelId | None:
        if name in section.vars:
            # A broken var was reported; any answer will do to find further problems.
            return variables.get(name, ModelId(name))
        return ModelId(name) if name in names.models else None

    costs = _costs(section, (*path, "evict_costs"), names, variables, found)
    if not section.sets:
        found.error((*path, "sets"), "matrix: at least one set is required")
    sets, problems = compile_sets(section.sets, find)
    for problem in problems:
        found.error((*path, "sets", problem.name), problem.rule)
    return MatrixConfig(sets=sets, set_order=tuple(section.sets), evict_costs=costs, vars=variables)


def _vars(written: Mapping[str, str], path: Path, names: Names, found: Findings) -> dict[str, ModelId]:
    variables: dict[str, ModelId] = {}
    for name, target in written.items():
        if not _VAR.fullmatch(name):
            rule = f'matrix: var "{name}" must be 1-32 characters out of letters, digits, dot and dash'
            found.error((*path, name), rule)
        elif target not in names.models:
            found.error((*path, name), f'matrix: var "{name}" refers to unknown model "{target}"')
        else:
            variables[name] = ModelId(target)
    return variables


def _costs(
    section: MatrixSection, path: Path, names: Names, variables: Mapping[str, ModelId], found: Findings
) -> dict[ModelId, int]:
    """Costs by model ID; of two entries for one model the one under its ID counts."""
    by_var: dict[ModelId, int] = {}
    by_id: dict[ModelId, int] = {}
    for name, cost in section.evict_costs.items():
        if cost <= 0:
            rule = f'matrix: evict_cost of "{name}" must be a positive integer, got {cost}'
            found.error((*path, name), rule)
        elif name in section.vars:
            by_var.update({variables[name]: cost} if name in variables else {})
        elif name in names.models:
            by_id[ModelId(name)] = cost
        else:
            found.error((*path, name), f'matrix: evict_costs: unknown var or model "{name}"')
    return by_var | by_id
