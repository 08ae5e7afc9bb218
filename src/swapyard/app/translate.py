"""What a configuration asks of the scheduler and of supervision, in their own words."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from swapyard.config.schema import Config, ModelConfig
from swapyard.processes.fleet import ProcessSpec
from swapyard.scheduling.groups import Group, group_planner
from swapyard.scheduling.matrix import matrix_planner
from swapyard.scheduling.policy import ModelPolicy, OrderKind, Planner, Policy
from swapyard.types import ModelId


def policy_of(config: Config) -> Policy:
    """Limits, order and eviction rules."""
    scheduler = config.routing.scheduler
    return Policy(
        models={model: _model_policy(config, model, settings) for model, settings in config.models.items()},
        planner=_planner(config),
        order=OrderKind(scheduler.use),
        max_wait=scheduler.settings.max_wait,
        queue_timeout=scheduler.settings.queue_timeout,
    )


def _model_policy(config: Config, model: ModelId, settings: ModelConfig) -> ModelPolicy:
    return ModelPolicy(
        limit=max(0, settings.concurrency_limit),
        priority=config.priority(model),
        ttl=settings.ttl,
        grace=settings.unload_timeout,
    )


def _planner(config: Config) -> Planner:
    router = config.routing.router.settings
    if router.matrix is not None:
        return matrix_planner(router.matrix.sets, router.matrix.evict_costs)
    return group_planner(
        [
            Group(
                name,
                swap=group.swap,
                exclusive=group.exclusive,
                persistent=group.persistent,
                members=tuple(ModelId(member) for member in group.members),
            )
            for name, group in router.groups.items()
        ]
    )


def specs_of(config: Config) -> Mapping[ModelId, ProcessSpec]:
    """How each model is started, probed and stopped."""
    return {
        model: ProcessSpec(
            model=model,
            command=settings.cmd,
            stop_command=settings.cmd_stop,
            env=settings.env,
            proxy=settings.proxy,
            check_endpoint=settings.check_endpoint,
            health_check_timeout=settings.health_check_timeout,
            connect_timeout=settings.timeouts.connect,
        )
        for model, settings in config.models.items()
    }


def needs_no_eviction(config: Config, model: ModelId, running: Collection[ModelId]) -> bool:
    """Whether this model could be loaded beside what runs."""
    others = sorted(set(running) - {model})
    if config.routing.scheduler.use == OrderKind.SERIAL:
        return not others
    return not _planner(config)(model, others).evict
