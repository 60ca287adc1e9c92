"""up, down, plan: the plan is made, shown, and (but for plan) carried out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from stackctl.daemon.containers import Parts
from stackctl.daemon.engine import Engine
from stackctl.daemon.jobs import EMIT, Emit, Jobs, Message
from stackctl.daemon.projects import Project, Projects
from stackctl.daemon.verbs.asking import caller
from stackctl.daemon.verbs.logs import Logs
from stackctl.errors import ContainerError, OperationFailed, StackctlError
from stackctl.image.service import CALLER
from stackctl.model.container import Status
from stackctl.model.record import ContainerRecord, StackRecord
from stackctl.scheduler import show
from stackctl.scheduler.desired import Desired, DownPolicy, Observed, Recreate, UpPolicy
from stackctl.scheduler.executor import StepProgress
from stackctl.scheduler.ops import BuildImage, Plan, PullImage, StartContainer, WaitHealthy

#: A process that cannot live (a wrong flag, a missing file) ends within this time of its
#: start: `up -d` looks once more then, so that it fails instead of leaving a dead service.
_SETTLE_SECONDS = 0.05


class StackVerbs:
    def __init__(
        self, parts: Parts, projects: Projects, engine: Engine, jobs: Jobs, logs: Logs
    ) -> None:
        self._parts = parts
        self._projects = projects
        self._engine = engine
        self._jobs = jobs
        self._logs = logs

    # -- verbs

    async def up(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Bring the project up; with `attach` its logs follow until all have ended."""
        project = await self._projects.load(body, activate=body.get("services") or ())
        for warning in warning_messages(project):
            yield warning
        if body.get("dry_run"):
            async for message in self.plan(body):
                yield message
            return

        async def work(emit: Emit) -> Message:
            return await self._bring_up(project, body, emit)

        result: Message = {}
        async for message in self._jobs.begin(project.name, work).messages():
            if message["type"] == "result" and body.get("attach"):
                result = message
                continue
            yield message
        if not result:
            return
        async for message in self._logs.attached(project.name, body, result["containers"]):
            yield message
        yield result

    async def down(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Stop and remove what the project has; needs no stack file."""
        name = await self._projects.name(body)
        policy = await self._down_policy(body)

        async def work(emit: Emit) -> Message:
            observed = self._projects.observe(name)
            plan = _down_plan(observed, policy)
            await carry_out(plan, self._engine, emit)
            if not self._parts.registry.of_project(name):
                self._parts.registry.store.delete_stack(name)
                await self._parts.runtime.close_stack(name)
            return {"type": "result", "exit_code": 0, "changed": bool(plan)}

        async for message in self._jobs.begin(name, work, cancel_before=True).messages():
            yield message

    async def plan(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The plan alone: exit code 0 when there is nothing to do, 2 when there is."""
        if body.get("for") == "down":
            name = await self._projects.name(body)
            plan = _down_plan(self._projects.observe(name), await self._down_policy(body))
        else:
            project = await self._projects.load(body, activate=body.get("services") or ())
            for warning in warning_messages(project):
                yield warning
            plan, _, _ = await self._up_plan(project, body)
        yield plan_message(plan)
        yield {"type": "result", "exit_code": 2 if plan else 0}

    # -- how

    async def _up_plan(
        self, project: Project, body: Mapping[str, Any], emit: Emit | None = None
    ) -> tuple[Plan, Desired, Observed]:
        """What there is to do. With `emit`, images that it takes are pulled first: only with
        them is it known what the containers have to be; without, the pulls are planned too."""
        from stackctl.daemon.build_wishes import with_builds
        from stackctl.scheduler.plan import up_plan

        policy = up_policy(body)
        scale = {str(k): int(v) for k, v in (body.get("scale") or {}).items()}
        for _ in range(2):
            desired, here = await self._projects.resolved(
                project, scale=scale, services=policy.services
            )
            desired = _with_policy(desired, str(body.get("pull") or ""))
            desired = with_builds(desired, project.stack, body)
            observed = self._projects.observe(project.name, here)
            if emit is None or policy.pulled:
                break
            pulled = await self._pull(desired, observed, policy, body, emit)
            if not pulled:
                break
            policy = replace(policy, pulled=pulled)
        return up_plan(desired, observed, policy), desired, observed

    async def _pull(
        self,
        desired: Desired,
        observed: Observed,
        policy: UpPolicy,
        body: Mapping[str, Any],
        emit: Emit,
    ) -> frozenset[str]:
        """Pull what the plan would begin with; the references."""
        if not policy.build and all(
            s.image in observed.images and s.pull_policy not in ("always", "build")
            for s in desired.services
        ):
            return frozenset()
        from stackctl.scheduler.plan import pull_plan

        plan = pull_plan(desired, observed, policy)
        if not plan:
            return frozenset()
        CALLER.set(caller(body, emit))
        EMIT.set(emit)
        await carry_out(plan, self._engine, emit)
        return frozenset(
            s.op.reference for s in plan.steps if isinstance(s.op, PullImage | BuildImage)
        )

    async def _bring_up(self, project: Project, body: Mapping[str, Any], emit: Emit) -> Message:
        from stackctl.scheduler.orphans import notices

        # The shim's interpreter starts while we plan.
        warm = asyncio.ensure_future(self._parts.runtime.ensure_shim(project.name))
        try:
            plan, desired, observed = await self._up_plan(project, body, emit)
            self._remember(project)
            for text in notices(desired, observed, up_policy(body)):
                emit({"type": "warning", "text": text, "place": ""})
            if not plan and not observed.containers:
                return {"type": "result", "exit_code": 0, "changed": False, "containers": []}
            await warm
        finally:
            if not warm.done():
                warm.cancel()
        limit = body.get("wait_timeout") if body.get("wait") else None
        try:
            async with asyncio.timeout(float(limit) if limit else None):
                await carry_out(plan, self._engine, emit)
        except TimeoutError:
            raise OperationFailed(
                f"the services were not ready within {float(limit or 0):g} s",
                hint="see `stackctl ps`, or wait longer with --wait-timeout",
            ) from None
        records = self._wanted(desired)
        if not body.get("no_start") and not body.get("attach"):
            # Attached, the exit is seen as it happens.
            await self._settle(plan)
        return {
            "type": "result",
            "exit_code": 0,
            "changed": bool(plan),
            "containers": [r.id for r in records],
        }

    async def _settle(self, plan: Plan) -> None:
        """Fail when a service that this plan started has died already."""
        started = [s.op.name for s in plan.steps if isinstance(s.op, StartContainer)]
        waited = {s.op.name for s in plan.steps if isinstance(s.op, WaitHealthy)}
        records = [self._parts.registry.find_name(n) for n in started if n not in waited]
        alive = [r for r in records if r is not None and not r.status.has_ended]
        if alive:
            watchers = [
                asyncio.ensure_future(
                    self._parts.registry.wait(r.id, lambda x: x is None or x.status.has_ended)
                )
                for r in alive
            ]
            await asyncio.wait(
                watchers, timeout=_SETTLE_SECONDS, return_when=asyncio.FIRST_EXCEPTION
            )
            for watcher in watchers:
                watcher.cancel()
        for name in started:
            record = self._parts.registry.find_name(name)
            if record is not None and record.status is Status.EXITED and record.exit_code != 0:
                raise self._engine.died(record)

    def _wanted(self, desired: Desired) -> list[ContainerRecord]:
        found = (
            self._parts.registry.find_name(config.name)
            for service in desired.services
            for config in service.replicas
        )
        return [record for record in found if record is not None]

    def _remember(self, project: Project) -> None:
        store, stack = self._parts.registry.store, project.stack
        known = store.stack(project.name)
        now = time.time()
        record = StackRecord(
            name=project.name,
            files=stack.files,
            project_dir=stack.project_dir,
            created_at=known.created_at if known else now,
            updated_at=now,
        )
        if known is None or replace(known, updated_at=now) != record:
            store.put_stack(record)

    async def _down_policy(self, body: Mapping[str, Any]) -> DownPolicy:
        timeout = body.get("timeout")
        try:
            stack = (await self._projects.load(body)).stack
            known = frozenset(stack.services) | frozenset(stack.disabled)
        except StackctlError:
            # Without a file, or with one that is wrong, all that the project has goes.
            known = None
        return DownPolicy(
            known=known,
            services=tuple(body.get("services") or ()),
            volumes=bool(body.get("volumes")),
            remove_orphans=bool(body.get("remove_orphans")),
            timeout=float(timeout) if timeout is not None else None,
        )


async def carry_out(plan: Plan, engine: Engine, emit: Emit) -> None:
    """Execute a plan, telling each step; raises the first failure with its cause."""
    from stackctl.scheduler.executor import execute

    emit(plan_message(plan))
    if not plan:
        return
    report = await execute(plan, engine, lambda progress: emit(step_message(progress)))
    if report.failure is not None and isinstance(report.failure.error, ContainerError):
        # The process's own code (126, 127) is the container's, not the command's.
        error, service = report.failure.error, report.failure.step.service
        raise OperationFailed(
            f'service "{service}": {error.brief}' if service else error.brief,
            hint=error.hint,
            details=error.details,
        ) from error
    report.raise_failure()


def up_policy(body: Mapping[str, Any]) -> UpPolicy:
    recreate = Recreate.CHANGED
    if body.get("force_recreate"):
        recreate = Recreate.FORCE
    elif body.get("no_recreate"):
        recreate = Recreate.NEVER
    timeout = body.get("timeout")
    return UpPolicy(
        services=tuple(body.get("services") or ()),
        recreate=recreate,
        remove_orphans=bool(body.get("remove_orphans")),
        no_deps=bool(body.get("no_deps")),
        start=not body.get("no_start"),
        wait=bool(body.get("wait")),
        build=bool(body.get("build")),
        timeout=float(timeout) if timeout is not None else None,
        renew_anonymous_volumes=bool(body.get("renew_anon_volumes")),
    )


def _with_policy(desired: Desired, policy: str) -> Desired:
    """`up --pull always|missing|never` overrides what the services say."""
    if not policy or policy == "policy":
        return desired
    services = tuple(replace(service, pull_policy=policy) for service in desired.services)
    return replace(desired, services=services)


def _down_plan(observed: Observed, policy: DownPolicy) -> Plan:
    from stackctl.scheduler.plan import down_plan

    return down_plan(observed, policy)


def warning_messages(project: Project) -> list[Message]:
    return [
        {"type": "warning", "text": notice.text, "place": str(notice.place or "")}
        for notice in project.warnings
    ]


def plan_message(plan: Plan) -> Message:
    return {"type": "plan", **show.to_json(plan)}


def step_message(progress: StepProgress) -> Message:
    step = progress.step
    return {
        "type": "step",
        "number": step.number,
        "op": show.kind(step.op),
        "target": show.target(step.op),
        "service": step.service,
        "state": str(progress.state),
        "elapsed": progress.elapsed,
        "text": progress.text or (str(progress.error) if progress.error else ""),
    }
