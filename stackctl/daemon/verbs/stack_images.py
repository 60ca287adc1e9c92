"""Which images of a stack `pull` and `push` are about. Looks only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stackctl.daemon.projects import Project
from stackctl.errors import NotFound
from stackctl.model.reference import parse
from stackctl.scheduler.ops import Plan


def pulls(project: Project, body: Mapping[str, Any], exists: Callable[[str], bool]) -> Plan:
    """Each image once; `policy` overrides what services say of themselves.

    What can be built instead may fail to be pulled, as everything may with
    `ignore_failures`.
    """
    from stackctl.scheduler.draft import Draft
    from stackctl.scheduler.ops import PullImage
    from stackctl.spec.images import further

    draft = Draft(project.name)
    seen: set[str] = set()
    meant = _of_services(project, body)
    pins = project.stack.pins
    others = [(n, i) for n, _ in meant for _, i in further(project.stack.services[n])]
    made = {s.image for s in project.stack.services.values() if s.build is not None}
    meant += [(name, pins.get(image, image)) for name, image in others if image not in made]
    for name, reference in meant:
        service = project.stack.services[name]
        policy = str(body.get("policy") or service.pull_policy or "always")
        skip = policy in ("never", "build")
        skip |= policy == "missing" and exists(reference)
        # A name that only the build gives it is in no registry.
        skip |= service.build is not None and reference == project.stack.named(name)
        if reference not in seen and not skip and not parse(reference).is_host:
            lenient = bool(body.get("ignore_failures")) or service.build is not None
            op = PullImage(reference=reference)
            draft.add(op, "asked for", service=name, optional=lenient)
            seen.add(reference)
    return draft.plan()


def pushed(project: Project, body: Mapping[str, Any]) -> dict[str, str]:
    """Reference -> service, of the images that services build and name."""
    return {
        reference: name
        for name, reference in _built(project, body)
        if reference != project.stack.named(name)
    }


def nameless(project: Project, body: Mapping[str, Any]) -> list[str]:
    """Services whose images have only the name that they get without one: nobody meant a
    registry by it."""
    return [n for n, reference in _built(project, body) if reference == project.stack.named(n)]


def _built(project: Project, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    services = project.stack.services
    return [
        (name, services[name].image or "")
        for name, _ in _of_services(project, body)
        if services[name].build is not None
    ]


def _of_services(project: Project, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(service, reference) of those meant; with `include_deps` what they depend on too."""
    services = project.stack.services
    wanted = [str(name) for name in body.get("services") or services]
    for name in wanted:
        if name not in services:
            raise NotFound(
                f'no such service: "{name}"', hint=f"the stack has: {', '.join(services)}"
            )
    if body.get("include_deps"):
        for name in wanted:  # grows while it is walked
            needs = services[name].depends_on
            wanted += [n for n in needs if n in services and n not in wanted]
    buildable = bool(body.get("ignore_buildable"))
    return [
        (name, project.stack.reference(services[name]))
        for name in wanted
        if services[name].image and not (buildable and services[name].build is not None)
    ]
