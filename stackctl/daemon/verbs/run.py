"""run: a one-off container of a service, with what the service depends on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from stackctl.daemon.engine import Engine
from stackctl.daemon.jobs import Emit, Jobs, Message
from stackctl.daemon.late import LateImages
from stackctl.daemon.parts import Parts
from stackctl.daemon.projects import Project, Projects
from stackctl.daemon.verbs import one_off
from stackctl.daemon.verbs.asking import caller
from stackctl.daemon.verbs.planning import Planning
from stackctl.daemon.verbs.stack import carry_out, provide, warning_messages
from stackctl.image.service import CALLER
from stackctl.scheduler.desired import UpPolicy
from stackctl.scheduler.ops import RemoveContainer
from stackctl.scheduler.survey import check_names


class RunVerb:
    def __init__(self, parts: Parts, projects: Projects, engine: Engine, jobs: Jobs) -> None:
        self._parts = parts
        self._projects = projects
        self._engine = engine
        self._jobs = jobs
        self._planning = Planning(projects)

    async def run(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Bring up the dependencies and make the container; detached, start it as well.

        The one-off takes the service's place in the plan, so its gates are the
        service's own. An attached caller starts it with the `attach` session, so
        that no output comes before somebody listens.
        """
        service = str(body.get("service") or "")
        project = await self._projects.load(body, activate=[service])
        body = project.told(body)
        for message in warning_messages(project):
            yield message
        check_names([service], project.stack.services)

        async def work(emit: Emit) -> Message:
            CALLER.set(caller(body, emit))
            policy = await self._own_image(project, service, body, emit)
            stack = project.stack
            image = await self._parts.images.resolve(stack.reference(stack.services[service]))
            if project.has_providers:
                named = {**body, "services": [service]}
                policy = await provide(self._planning, self._engine, project, named, policy, emit)
            config = one_off.config_of(self._projects.provided(project), service, body, image)
            plan = await one_off.plan_with(config, self._planning, project, body, policy)
            if not body.get("detach"):
                plan = one_off.without_start(plan, config.name)
            is_new = self._parts.registry.find_name(config.name) is None
            try:
                await carry_out(plan, LateImages(self._engine, self._projects, project, plan), emit)
            except BaseException:
                if is_new and config.auto_remove:
                    await self._forget(config.name)
                raise
            return {
                "type": "result",
                "exit_code": 0,
                "container": self._parts.registry.by_name(config.name).id,
                "name": config.name,
            }

        async for message in self._jobs.begin(project.name, work, name="run").messages():
            yield message

    async def _forget(self, name: str) -> None:
        """Remove a one-off that never ran, so that no end of it will take it away."""
        record = self._parts.registry.find_name(name)
        if record is not None and not record.status.is_alive:
            op = RemoveContainer(id=record.id, name=name, anonymous_volumes=True)
            await self._engine.perform(op)

    async def _own_image(
        self, project: Project, service: str, body: Mapping[str, Any], emit: Emit
    ) -> UpPolicy:
        """Pull or build what the one-off is made from; the policy that knows that it is done."""
        from stackctl.scheduler.plan import image_plan

        policy = one_off.policy_of(service, body)
        desired, observed = await self._planning.look(project, {**body, "services": [service]})
        plan = image_plan(desired, observed, policy)
        if plan:
            await carry_out(plan, self._engine, emit)
        own = next(s.image for s in desired.services if s.name == service)
        return replace(policy, pulled=frozenset([own]), build=False)
