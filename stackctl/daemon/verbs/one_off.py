"""What `run` makes: the container of a one-off, and the plan that has it in its service's place.

Looks and compares; knows no engine.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stackctl.daemon.projects import Project
from stackctl.daemon.verbs.planning import Planning
from stackctl.model.container import ContainerConfig
from stackctl.model.image import Image
from stackctl.scheduler.desired import UpPolicy
from stackctl.scheduler.ops import Plan, StartContainer


def policy_of(service: str, body: Mapping[str, Any]) -> UpPolicy:
    """The flags of the command."""
    return UpPolicy(
        services=(service,),
        no_deps=bool(body.get("no_deps")),
        build=bool(body.get("build")),
        remove_orphans=bool(body.get("remove_orphans")),
    )


def config_of(
    project: Project, service: str, body: Mapping[str, Any], image: Image
) -> ContainerConfig:
    """The container, made from `image`. Raises NotFound, UsageError."""
    from stackctl.daemon.desired import one_off
    from stackctl.daemon.single import checked_name

    name = str(body.get("name") or "")
    config = one_off(
        project.stack,
        service,
        image,
        name=checked_name(name)
        if name
        else project.stack.named(service, "run", secrets.token_hex(4)),
        options={
            **body,
            "env": project.given(map(str, body.get("env") or ())),
            "publish_address": project.publish_address,
        },
    )
    return replace(config, auto_remove=bool(body.get("rm")))


async def plan_with(
    config: ContainerConfig,
    planning: Planning,
    project: Project,
    body: Mapping[str, Any],
    policy: UpPolicy,
) -> Plan:
    """Its gates are the service's own: what that depends on comes first."""
    from stackctl.scheduler.plan import up_plan

    service = config.service
    desired, observed = await planning.look(project, {**body, "services": [service]})
    desired = replace(
        desired,
        services=tuple(
            replace(s, replicas=(config,)) if s.name == service else s for s in desired.services
        ),
    )
    observed = replace(
        observed,
        containers=tuple(c for c in observed.containers if c.config.service != service),
    )
    return up_plan(desired, observed, policy)


def without_start(plan: Plan, name: str) -> Plan:
    """The plan but for the start of the container of this name."""
    own = {s.number for s in plan.steps if isinstance(s.op, StartContainer) and s.op.name == name}
    return replace(plan, steps=tuple(s for s in plan.steps if s.number not in own))
