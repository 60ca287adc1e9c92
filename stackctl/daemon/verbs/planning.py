"""What `up` or `down` would do. Knows no engine, so that it cannot change anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stackctl.daemon.jobs import Message
from stackctl.daemon.projects import Project, Projects
from stackctl.errors import Conflict, Place
from stackctl.scheduler import show
from stackctl.scheduler.desired import Desired, DownPolicy, Observed, Recreate, UpPolicy
from stackctl.scheduler.fingerprint import fingerprint
from stackctl.scheduler.ops import BuildImage, CreateContainer, Plan, PullImage

if TYPE_CHECKING:
    # Models load later; see projects.
    from stackctl.spec.model import Stack


class Planning:
    """Looks and compares."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

    async def of_up(self, project: Project, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The plan and what is to be said of it; the result's exit code is 0 when there is
        nothing to do, 2 when there is."""
        from stackctl.scheduler.orphans import notices

        plan, desired, observed = await self.up(project, body)
        for text in notices(desired, observed, up_policy(body)):
            yield notice(text)
        if names := waiting_for_images(plan, desired, observed):
            yield notice(
                f"`up` makes the containers of {', '.join(names)} anew if their image comes "
                "out as another one: they lose what they wrote"
            )
        yield plan_message(plan)
        yield planned(len(plan.steps))

    async def of_down(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The same of `down`."""
        from stackctl.scheduler.orphans import left_by_down

        name, policy = await self.down(body)
        seen = self._projects.observe(name)
        plan = down_plan(seen, policy)
        for text in left_by_down(seen, policy):
            yield notice(text)
        yield plan_message(plan)
        yield planned(len(plan.steps))

    async def look(self, project: Project, body: Mapping[str, Any]) -> tuple[Desired, Observed]:
        """What is wanted, with the flags of the command, and what there is."""
        from stackctl.daemon import changed_files
        from stackctl.daemon.build_wishes import with_builds
        from stackctl.scheduler.survey import ended_well, one_shots

        scale = {str(k): int(v) for k, v in (body.get("scale") or {}).items()}
        services = tuple(body.get("services") or ())
        desired, here = await self._projects.resolved(project, scale=scale, services=services)
        desired = _with_policy(desired, str(body.get("pull") or ""))
        if not body.get("no_build"):
            desired = with_builds(desired, project.stack, body)
        aged = {s.image for s in desired.services if s.refresh_after is not None}
        observed = self._projects.observe(project.name, here, here & aged)
        jobs = one_shots(desired)
        done = [r for r in observed.containers if r.config.service in jobs and ended_well(r)]
        changed = await changed_files.since_end(done) if done else {}
        return desired, replace(observed, changed_files=changed)

    async def up(self, project: Project, body: Mapping[str, Any]) -> tuple[Plan, Desired, Observed]:
        """The plan, with the pulls and builds that it would begin with."""
        from stackctl.scheduler.plan import up_plan

        desired, observed = await self.look(project, body)
        plan = up_plan(desired, observed, up_policy(body))
        await self.check_bystanders(project, body, plan)
        return plan, desired, observed

    async def check_bystanders(self, project: Project, body: Mapping[str, Any], plan: Plan) -> None:
        """Raises StackFileErrors when a container is made anew with others (their network has
        changed), and its service lacks what nobody asked for as long as it was not meant."""
        from stackctl.spec import implied, obstacles

        named = tuple(body.get("services") or ())
        ops = [step.op for step in plan.steps]
        made = {op.config.service for op in ops if isinstance(op, CreateContainer)}
        others = sorted(made - implied.needed(project.stack.services, named)) if named else ()
        if others:
            await self._projects.load(body, activate=(*named, *others))
            obstacles.check(project.stack, others)

    async def expect(
        self, project: Project, body: Mapping[str, Any]
    ) -> tuple[Plan, Desired, Observed]:
        """The plan that the caller has seen. Raises Conflict when it is another one now."""
        plan, desired, observed = await self.up(project, body)
        if fingerprint(plan) != body.get("expected"):
            raise Conflict(
                f'project "{project.name}" has changed since the plan was made',
                hint="look at the new plan: stackctl plan",
                details=tuple(show.tree(plan).splitlines()),
            )
        return plan, desired, observed

    async def down(self, body: Mapping[str, Any]) -> tuple[str, DownPolicy]:
        """The project's name, and what of it goes. The files are read once."""
        timeout = body.get("timeout")
        known: frozenset[str] | None
        active: frozenset[str] | None
        known_volumes: frozenset[str] | None
        remove_orphans = body.get("remove_orphans")
        # What holds data is not guessed at.
        project = await self._projects.of_files(body, strict=bool(body.get("volumes")))
        if project is not None:
            stack, name = project.stack, project.name
            if remove_orphans is None:
                remove_orphans = project.remove_orphans
            active = frozenset(stack.services)
            known = active | frozenset(stack.disabled)
            known_volumes = _volume_names(stack)
        else:
            name = await self._projects.name(body)
            known = active = known_volumes = None
        return name, DownPolicy(
            known=known,
            active=active,
            known_volumes=known_volumes,
            services=tuple(body.get("services") or ()),
            volumes=bool(body.get("volumes")),
            remove_orphans=bool(remove_orphans),
            timeout=float(timeout) if timeout is not None else None,
        )


def _volume_names(stack: Stack) -> frozenset[str]:
    """Of the volumes that its active services use."""
    from stackctl.daemon.desired import used_volumes

    return frozenset(volume.name or key for key, volume in used_volumes(stack).items())


def waiting_for_images(plan: Plan, desired: Desired, observed: Observed) -> list[str]:
    """Services whose containers stay as they are, as far as is known before an image has come."""
    ops = [step.op for step in plan.steps]
    coming = {op.reference for op in ops if isinstance(op, PullImage | BuildImage)}
    anew = {op.config.service for op in ops if isinstance(op, CreateContainer) and op.replaces}
    here = {r.config.service for r in observed.containers if not r.config.oneoff}
    return [s.name for s in desired.services if s.image in coming and s.name in here - anew]


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
        recreate_deps=bool(body.get("always_recreate_deps")) and bool(body.get("services")),
        remove_orphans=bool(body.get("remove_orphans")),
        ignore_orphans=bool(body.get("ignore_orphans")),
        no_deps=bool(body.get("no_deps")),
        start=not body.get("no_start"),
        wait=bool(body.get("wait")),
        build=bool(body.get("build")),
        timeout=float(timeout) if timeout is not None else None,
        renew_anonymous_volumes=bool(body.get("renew_anon_volumes")),
        renew_volumes=bool(body.get("renew_volumes")),
    )


def down_plan(observed: Observed, policy: DownPolicy) -> Plan:
    from stackctl.scheduler import plan

    return plan.down_plan(observed, policy)


def _with_policy(desired: Desired, policy: str) -> Desired:
    """`up --pull always|missing|never|build` overrides what the services say."""
    if not policy or policy == "policy":
        return desired
    policy = "missing" if policy == "if_not_present" else policy
    services = tuple(
        replace(service, pull_policy=policy, refresh_after=None) for service in desired.services
    )
    return replace(desired, services=services)


def warning_messages(project: Project) -> list[Message]:
    return [notice(warning.text, warning.place) for warning in project.warnings]


def notice(text: str, place: Place | None = None) -> Message:
    """A warning, with the place in a file that causes it, if one does."""
    return {"type": "warning", "text": text, "place": str(place or "")}


def planned(steps: int) -> Message:
    """The end of a plan."""
    return {"type": "result", "exit_code": 2 if steps else 0}


def plan_message(plan: Plan) -> Message:
    return {"type": "plan", **show.to_json(plan), "fingerprint": fingerprint(plan)}
