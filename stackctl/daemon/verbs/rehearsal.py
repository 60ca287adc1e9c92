"""What commands besides `up` and `down` would do, as a plan: their --dry-run.

Looks and compares; knows no engine, so that it cannot change anything.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stackctl.daemon.jobs import Message
from stackctl.daemon.projects import Project, Projects
from stackctl.daemon.signals import is_end, signal_number
from stackctl.daemon.verbs.planning import Planning, warning_messages
from stackctl.errors import UsageError
from stackctl.model.container import Status
from stackctl.model.record import ContainerRecord
from stackctl.scheduler import show
from stackctl.scheduler.desired import Observed, ServicePolicy
from stackctl.scheduler.ops import Plan
from stackctl.scheduler.survey import check_names

Planner = Callable[[Observed, ServicePolicy], Plan]

#: What is done to each container by itself, as plans call it.
_OPERATIONS = {
    "kill": "KillContainer",
    "pause": "PauseContainer",
    "unpause": "UnpauseContainer",
}
#: Of `cp`, by whether it goes into containers.
_COPIES = {True: "CopyInto", False: "CopyOut"}


def planner(verb: str) -> Planner:
    """Of start, stop, restart, rm: the order comes from the records, no file is needed."""
    from stackctl.scheduler import plan

    return {
        "start": plan.start_plan,
        "stop": plan.stop_plan,
        "restart": plan.restart_plan,
        "rm": plan.remove_plan,
    }[verb]


async def service_policy(projects: Projects, body: Mapping[str, Any], name: str) -> ServicePolicy:
    """The flags of those commands. Raises NotFound for what is no service."""
    services = tuple(body.get("services") or ())
    timeout = body.get("timeout")
    scope = None if services else await projects.scope(body)
    return ServicePolicy(
        services=services,
        active=scope.active if scope else None,
        known=await projects.known(body, name, services),
        timeout=float(timeout) if timeout is not None else None,
        no_deps=bool(body.get("no_deps")),
        wait=bool(body.get("wait")),
        stop=bool(body.get("stop")),
        volumes=bool(body.get("volumes")),
    )


def affected(verb: str, body: Mapping[str, Any]) -> Callable[[ContainerRecord], bool]:
    """Which containers kill, pause or unpause would do something to."""
    if verb in ("pause", "unpause"):
        before = Status.RUNNING if verb == "pause" else Status.PAUSED
        return lambda record: record.status is before
    signum = signal_number(str(body.get("signal") or signal.SIGKILL.name))
    return lambda record: (
        record.status.is_alive or (record.status is Status.RESTARTING and is_end(record, signum))
    )


class Rehearsal:
    """Plans of what has no other; see Planning for `up` and `down`."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

    async def plan(self, verb: str, body: Mapping[str, Any]) -> tuple[Message, list[Message]]:
        """The plan as a message, and the warnings of making it. UsageError for another verb."""
        if verb in ("start", "stop", "restart", "rm"):
            name = await self._projects.name(body)
            policy = await service_policy(self._projects, body, name)
            return _message(planner(verb)(self._projects.observe(name), policy)), []
        if verb in _OPERATIONS:
            name = await self._projects.name(body)
            wanted = affected(verb, body)
            found = await self._projects.meant(body, oneoff=verb == "kill")
            pairs = [(record.name, record.config.service) for record in found if wanted(record)]
            return _steps(name, _OPERATIONS[verb], pairs), []
        if verb in ("pull", "push", "build"):
            project = await self._projects.load(
                body, activate=body.get("services") or (), for_containers=False
            )
            return self._of_images(verb, project, body), warning_messages(project)
        if verb == "run":
            return await self._run(body)
        if verb in ("exec", "cp"):
            name = await self._projects.name(body)
            return (self._exec if verb == "exec" else self._copy)(name, body), []
        raise UsageError(f'there is no plan of "{verb}"')

    async def _run(self, body: Mapping[str, Any]) -> tuple[Message, list[Message]]:
        from stackctl.daemon.verbs import one_off

        service = str(body.get("service") or "")
        project = await self._projects.load(body, activate=[service])
        check_names([service], project.stack.services)
        body = project.told(body)
        image = await self._projects.image(project, service)
        config = one_off.config_of(project, service, body, image)
        plan = await one_off.plan_with(
            config, Planning(self._projects), project, body, one_off.policy_of(service, body)
        )
        return _message(plan), warning_messages(project)

    def _exec(self, name: str, body: Mapping[str, Any]) -> Message:
        service, index = str(body.get("service") or ""), int(body.get("index") or 0)
        record = self._projects.one(name, service, index)
        command = shlex.join(str(word) for word in body.get("command") or ())
        return _steps(name, "ExecCommand", [(record.name, service)], command)

    def _copy(self, name: str, body: Mapping[str, Any]) -> Message:
        """Of containers by their ids, which the caller has chosen."""
        pairs = [
            (record.name, record.config.service)
            for record in self._projects.select(name, (), oneoff=True)
            if record.id in (body.get("containers") or ())
        ]
        text = f"{body.get('source')} to {body.get('target')}"
        return _steps(name, _COPIES[bool(body.get("into"))], pairs, text)

    def _of_images(self, verb: str, project: Project, body: Mapping[str, Any]) -> Message:
        from stackctl.daemon.build_wishes import wishes
        from stackctl.daemon.verbs import stack_images

        if verb == "pull":
            return _message(stack_images.pulls(project, body, self._projects.has_image))
        if verb == "push":
            pushed = stack_images.pushed(project, body)
            return _steps(project.name, "PushImage", pushed.items())
        built = wishes(project.stack, body)
        return _steps(
            project.name,
            "BuildImage",
            [(name, service) for service, wish in built.items() for name in wish.names],
        )


def _message(plan: Plan) -> Message:
    return {"type": "plan", **show.to_json(plan)}


def _steps(
    project: str, op: str, targets: Iterable[tuple[str, str]], cause: str = "asked for"
) -> Message:
    """The same for what no plan is carried out for: one action a (target, service)."""
    steps = [
        {"number": number, "op": op, "target": target, "service": service, "cause": cause}
        for number, (target, service) in enumerate(targets, 1)
    ]
    return {"type": "plan", "project": project, "steps": steps}
