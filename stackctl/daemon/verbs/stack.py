"""up, down, plan: the plan is made, shown, and (but for plan) carried out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from stackctl.daemon import service_files
from stackctl.daemon.apart import apart
from stackctl.daemon.engine import Engine
from stackctl.daemon.jobs import EMIT, LATE, Emit, Jobs, Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.projects import Project, Projects
from stackctl.daemon.providers import ASKING
from stackctl.daemon.verbs.asking import caller, environment
from stackctl.daemon.verbs.logs import Logs
from stackctl.daemon.verbs.planning import (
    Planning,
    down_plan,
    notice,
    plan_message,
    up_policy,
    waiting_for_images,
    warning_messages,
)
from stackctl.errors import (
    ContainerError,
    OperationFailed,
    OperationsFailed,
    StackctlError,
    UsageError,
)
from stackctl.image.service import CALLER
from stackctl.model.container import Status
from stackctl.model.record import ContainerRecord, StackRecord
from stackctl.scheduler import executor, show
from stackctl.scheduler.desired import Desired, Observed, UpPolicy
from stackctl.scheduler.graph import closure
from stackctl.scheduler.ops import (
    BuildImage,
    CreateContainer,
    Plan,
    PullImage,
    RunProvider,
    StartContainer,
)

__all__ = ["StackVerbs", "carry_out", "plan_message", "step_message", "warning_messages"]

#: A process that cannot live (a wrong flag, a missing file) ends soon after its start:
#: `up -d` looks once more after this time, so that nobody takes a dead service for a living one.
_SETTLE_SECONDS = 0.05
#: On a busy machine, or in a slow language, it takes longer: as long as one still computes.
_SETTLE_LIMIT = 0.5


class StackVerbs:
    def __init__(
        self, parts: Parts, projects: Projects, engine: Engine, jobs: Jobs, logs: Logs
    ) -> None:
        self._parts = parts
        self._projects = projects
        self._engine = engine
        self._jobs = jobs
        self._logs = logs
        #: It knows no engine: what it is asked changes nothing.
        self._planning = Planning(projects)

    # -- verbs

    async def up(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Bring the project up; with `attach` its logs follow until all have ended."""
        project = await self._projects.load(body, activate=body.get("services") or ())
        _check_services(project, body)
        body = project.told(body)
        for warning in warning_messages(project):
            yield warning
        if body.get("dry_run"):
            async for message in self._planning.of_up(project, body):
                yield message
            return

        async def work(emit: Emit) -> Message:
            try:
                return await self._bring_up(project, body, emit)
            finally:
                await self._leave_empty(project.name)

        messages = self._jobs.begin(project.name, work, name="up").messages()
        if body.get("attach"):
            yield {"type": "services", "services": sorted(project.stack.services)}
            messages = self._logs.attached(messages, project.name, body, _watched(project, body))
        async for message in messages:
            yield message

    async def down(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Stop and remove what the project has; needs no stack file."""
        name, policy = await self._planning.down(body)

        async def work(emit: Emit) -> Message:
            from stackctl.scheduler.orphans import left_by_down

            observed = self._projects.observe(name)
            plan = down_plan(observed, policy)
            for text in left_by_down(observed, policy):
                emit(notice(text))
            ASKING.set(environment(body))
            try:
                await carry_out(plan, self._engine, emit, body, hooks_count=True)
            finally:
                if not self._parts.registry.of_project(name):
                    self._parts.registry.store.delete_stack(name)
                await self._leave_empty(name)
            return {"type": "result", "exit_code": 0, "changed": bool(plan)}

        async for message in self._jobs.begin(
            name, work, name="down", cancel_before=True
        ).messages():
            yield message

    # -- how

    async def _leave_empty(self, name: str) -> None:
        """A project without containers, as one whose `up` was refused, needs no shim."""
        if not self._parts.registry.of_project(name):
            await self._parts.runtime.close_stack(name)

    async def _up_plan(
        self, project: Project, body: Mapping[str, Any], emit: Emit
    ) -> tuple[Plan, Desired, Observed]:
        """What there is to do. Images of services that have containers are pulled first: they
        decide whether these are made anew. Other pulls are steps of the plan."""
        from stackctl.scheduler.plan import up_plan

        policy = up_policy(body)
        if project.has_providers:
            policy = await provide(self._planning, self._engine, project, body, policy, emit)
        for _ in range(2):
            desired, observed = await self._planning.look(project, body)
            if policy.pulled:
                break
            pulled = await self._pull(desired, observed, policy, emit)
            if not pulled:
                break
            policy = replace(policy, pulled=pulled)
        plan = up_plan(desired, observed, policy)
        await self._planning.check_bystanders(project, body, plan)
        return plan, desired, observed

    async def _pull(
        self,
        desired: Desired,
        observed: Observed,
        policy: UpPolicy,
        emit: Emit,
    ) -> frozenset[str]:
        """Pull what the plan depends on; the references."""
        if not observed.containers:
            return frozenset()
        from stackctl.scheduler.plan import pull_plan

        plan = pull_plan(desired, observed, policy)
        if not plan:
            return frozenset()
        await carry_out(plan, self._engine, emit)
        return frozenset(
            s.op.reference for s in plan.steps if isinstance(s.op, PullImage | BuildImage)
        )

    async def _bring_up(self, project: Project, body: Mapping[str, Any], emit: Emit) -> Message:
        from stackctl.scheduler.orphans import notices

        # The shim's interpreter starts while we plan.
        warm = asyncio.ensure_future(self._parts.runtime.ensure_shim(project.name))
        CALLER.set(caller(body, emit))
        try:
            is_final = False
            if body.get("expected"):
                plan, desired, observed = await self._planning.expect(project, body)
                # Of what providers set, and of images that come for containers that there are,
                # it could only say that they may make something anew.
                images = waiting_for_images(plan, desired, observed)
                is_final = not images and not project.has_providers
            if not is_final:
                plan, desired, observed = await self._up_plan(project, body, emit)
            self._remember(project)
            for text in notices(desired, observed, up_policy(body)):
                emit(notice(text))
            if not plan and not observed.containers:
                return {"type": "result", "exit_code": 0, "changed": False, "containers": []}
            await warm
        finally:
            if not warm.done():
                warm.cancel()
        stack = project.stack
        if (stack.secrets or stack.configs) and not project.carried:
            for missing in await apart(partial(service_files.check, stack, plan)):
                emit(notice(f"{missing.brief} yet", missing.place))
        limit = float(body.get("wait_timeout") or 0)
        await self._execute(project, plan, limit, emit, body)
        if not body.get("no_start") and not body.get("attach"):
            # Attached, the exit is seen as it happens.
            await self._settle(plan, desired, emit, fail=bool(body.get("wait")))
        return {
            "type": "result",
            "exit_code": 0,
            "changed": bool(plan),
            "containers": self._attachable(plan, desired, body),
        }

    async def _execute(
        self, project: Project, plan: Plan, limit: float, emit: Emit, body: Mapping[str, Any]
    ) -> None:
        """Carry the plan out, within `limit` seconds (0: any) of the time its images are here."""
        from stackctl.daemon.late import LateImages

        await self._ask_for_images(plan)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as deadline:

                def complete() -> None:
                    deadline.reschedule(loop.time() + limit if limit else None)

                engine = LateImages(self._engine, self._projects, project, plan, complete)
                await carry_out(plan, engine, emit, body)
        except TimeoutError:
            raise OperationFailed(
                f"the services were not ready within {limit:g} s",
                hint="see `stackctl ps`, or wait longer with --wait-timeout",
            ) from None

    async def _ask_for_images(self, plan: Plan) -> None:
        """An image that no registry has is told before anything is made. Raises as a pull."""

        async def ask(reference: str) -> None:
            try:
                await self._parts.images.remote_digest(reference)
            except StackctlError as error:
                raise OperationFailed(
                    f"image {reference}: {error.brief}", hint=error.hint
                ) from error

        wanted = {s.op.reference for s in plan.steps if isinstance(s.op, PullImage)}
        await asyncio.gather(*map(ask, sorted(wanted)))

    async def _settle(self, plan: Plan, desired: Desired, emit: Emit, *, fail: bool) -> None:
        """Tell which of the services that this plan started have died already.

        They make `up` fail only with `fail` (--wait), as in compose: otherwise its code would
        depend on how soon they die. Those that others can do without never do.
        """
        registry = self._parts.registry
        started = [s.op.name for s in plan.steps if isinstance(s.op, StartContainer)]
        records = [registry.find_name(name) for name in started]
        watched = {
            asyncio.ensure_future(registry.wait(r.id, lambda x: x is None or _is_down(x))): r
            for r in records
            # One with a health check was waited for, or will be told by it.
            if r is not None and r.config.health is None and not _is_down(r)
        }
        limit = time.monotonic() + _SETTLE_LIMIT
        pending = set(watched)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_SETTLE_SECONDS)
            alive = [watched[each] for each in pending]
            if time.monotonic() > limit or not await self._parts.runtime.any_computes(alive):
                break
        for watcher in pending:
            watcher.cancel()
        found = map(registry.find_name, started)
        dead = [r for r in found if r is not None and _is_down(r) and r.exit_code != 0]
        optional = _optional(desired)
        needed = []
        for record in dead:
            error, service = self._engine.died(record), record.config.service
            if service in optional:
                emit(notice(f"optional dependency: {error.brief}"))
            elif fail:
                needed.append(error)
            else:
                emit(notice(f"{error.brief}: see `stackctl logs {service}`"))
        raise_all(needed)

    def _attachable(self, plan: Plan, desired: Desired, body: Mapping[str, Any]) -> list[str]:
        """Ids of the containers that an attached `up` listens to: of the services named, or
        all, but for those that had ended before and were left so."""
        started = {s.op.name for s in plan.steps if isinstance(s.op, StartContainer)}
        named = set(body.get("services") or ())
        if body.get("attach_dependencies"):
            edges = {s.name: [n.service for n in s.depends_on] for s in desired.services}
            named = set(closure(edges, named)) if named else named
        found = (
            self._parts.registry.find_name(config.name)
            for service in desired.services
            if not named or service.name in named
            for config in service.replicas
        )
        return [
            r.id for r in found if r is not None and (r.name in started or not r.status.has_ended)
        ]

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


def _watched(project: Project, body: Mapping[str, Any]) -> frozenset[str]:
    """The services that an attached `up` waits for, and whose ends may end it: those named, or
    those that it shows (as with compose), and the one that gives the exit code."""
    services = project.stack.services
    found = set(body.get("services") or body.get("attach_services") or ())
    if not found:
        shown = {name for name, service in services.items() if service.attach is not False}
        found = shown - set(body.get("no_attach") or ()) or {*services}
    return frozenset(found | {str(body.get("exit_code_from") or "")})


def _check_services(project: Project, body: Mapping[str, Any]) -> None:
    """Raises NotFound when a flag names a service that there is not: it would have no effect."""
    from stackctl.spec.profiles import check_names

    for flag in ("exit_code_from", "attach_services", "no_attach"):
        named = body.get(flag) or ()
        check_names([named] if isinstance(named, str) else named, project.stack.services)


def _optional(desired: Desired) -> frozenset[str]:
    """Services that others can do without (`required: false`), and that nobody needs."""
    needs = [need for service in desired.services for need in service.depends_on]
    required = {need.service for need in needs if need.required}
    return frozenset(need.service for need in needs) - required


def _is_down(record: ContainerRecord) -> bool:
    return record.status.has_ended or record.status is Status.RESTARTING


async def provide(
    planning: Planning,
    engine: executor.Engine,
    project: Project,
    body: Mapping[str, Any],
    policy: UpPolicy,
    emit: Emit,
) -> UpPolicy:
    """What programs outside provide comes first: they may set variables for others."""
    from stackctl.scheduler.plan import provider_plan

    plan = provider_plan(*await planning.look(project, body), policy)
    if not plan:
        return policy
    ASKING.set(environment(body))
    await carry_out(plan, engine, emit)
    done = {s.op.provider.service for s in plan.steps if isinstance(s.op, RunProvider)}
    return replace(policy, provided=frozenset(done))


async def carry_out(
    plan: Plan,
    engine: executor.Engine,
    emit: Emit,
    body: Mapping[str, Any] | None = None,
    *,
    hooks_count: bool = False,
) -> None:
    """Execute a plan, telling each step; raises its failures, the first one first.

    `body`: the request, whose `parallel` limits how many steps run at once. `hooks_count`: that
    containers end as they should is what was asked for, so that a pre_stop hook that fails is
    a failure as well.
    """
    emit(plan_message(plan))
    if not plan:
        return
    EMIT.set(emit)
    late: list[StackctlError] = []
    LATE.set(late if hooks_count else None)
    limit = int((body or {}).get("parallel") or 0)
    report = await executor.execute(
        plan, engine, lambda progress: emit(step_message(progress)), parallel=limit or None
    )
    raise_all((*(_of_service(failed) for failed in report.failures), *late))


def raise_all(errors: Sequence[StackctlError]) -> None:
    """Raises the one, or all of them together; nothing when there is none."""
    if len(errors) > 1:
        raise OperationsFailed(tuple(errors))
    if errors:
        raise errors[0]


def _of_service(failed: executor.Outcome) -> StackctlError:
    """The step's error, and whose it is; a container's own code (126, 127) is not the command's."""
    error, service = failed.error, failed.step.service
    assert error is not None
    brief = error.brief
    if service and f'"{service}"' not in brief:
        brief = f'service "{service}": {brief}'
    # What is found wrong only now is no wrong usage of the command either.
    if not isinstance(error, ContainerError | UsageError):
        op = failed.step.op
        is_container = isinstance(op, CreateContainer | StartContainer) and error.place is None
        if is_container or isinstance(op, BuildImage):
            error.brief = brief
        return error
    told = OperationFailed(brief, hint=error.hint, details=error.details)
    told.__cause__ = error
    return told


def step_message(progress: executor.StepProgress) -> Message:
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
