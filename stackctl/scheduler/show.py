"""A plan as text: one line a step (tests, CI logs), a tree (people), JSON (programs)."""

from __future__ import annotations

from typing import Any

from stackctl.scheduler.ops import (
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Op,
    Pause,
    Plan,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    RunInit,
    RunProvider,
    SetAside,
    StartContainer,
    Step,
    StopContainer,
    WaitCompleted,
    WaitHealthy,
)

#: What an operation does, and to what.
WORDS: dict[type[Op], tuple[str, str]] = {
    PullImage: ("pull", "image"),
    BuildImage: ("build", "image"),
    CreateNetwork: ("create", "network"),
    RemoveNetwork: ("remove", "network"),
    CreateVolume: ("create", "volume"),
    RemoveVolume: ("remove", "volume"),
    CreateContainer: ("create", "container"),
    RenameContainer: ("rename", "container"),
    SetAside: ("take its name from", "container"),
    StartContainer: ("start", "container"),
    WaitHealthy: ("wait for", "container"),
    WaitCompleted: ("wait for", "container"),
    StopContainer: ("stop", "container"),
    RemoveContainer: ("remove", "container"),
    RunInit: ("run", "init container"),
    RunProvider: ("run", "provider"),
    Pause: ("pause for", "container"),
}


_PROVIDING = {"up": "RunProvider", "stop": "StopProvider", "down": "RemoveProvider"}
_REPLACEMENT = ("create", "stop", "remove", "rename")


def kind(op: Op) -> str:
    """An operation's name for programs, on the wire too: "CreateContainer"."""
    if isinstance(op, RunProvider):
        return _PROVIDING[op.command]
    return type(op).__name__


def target(op: Op) -> str:
    """The name of what an operation acts on."""
    match op:
        case PullImage(reference=name) | BuildImage(reference=name):
            return name
        case CreateNetwork(network=network):
            return network.name
        case CreateVolume(volume=volume):
            return volume.name
        case CreateContainer(config=config) | RunInit(config=config):
            return config.name
        case RunProvider(provider=provider):
            return provider.service
        case _:
            return op.name


def sentence(op: Op) -> str:
    """What an operation does, without its cause."""
    match op:
        case WaitHealthy(name=name, ended_ok=False):
            return f"wait until {name} is healthy"
        case WaitHealthy(name=name):
            return f"wait until {name} runs or has ended well"
        case WaitCompleted(name=name):
            return f"wait until {name} has completed"
        case CreateContainer(config=config, replaces=replaces) if replaces:
            return f"create container {config.name} anew"
        case RenameContainer(name=name):
            return f"give container {name} its name"
        case RunProvider(provider=provider, command=command):
            return f"{provider.type}: {command} {provider.service}"
        case Pause(name=name, seconds=seconds):
            return f"wait {seconds:g} s before {name}"
        case RemoveContainer(name=name, anonymous_volumes=True):
            return f"remove container {name} and its anonymous volumes"
        case _:
            return f"{' '.join(WORDS[type(op)])} {target(op)}"


def line(step: Step) -> str:
    """`[1,2?] -> #3 start container p-web-1: not found`; `?` marks a tolerated predecessor."""
    waits = ",".join(
        f"{number}?" if number in step.tolerates else str(number) for number in sorted(step.after)
    )
    return f"[{waits}] -> #{step.number} {sentence(step.op)}: {step.cause}"


def render(plan: Plan) -> str:
    """One line a step, in order; "" for an empty plan."""
    return "\n".join(line(step) for step in plan.steps)


def tree(plan: Plan) -> str:
    """By service, in the order in which they begin; "nothing to do" for an empty plan.

    Neighbouring steps of a container with one cause share a line:

        project shop
          network back      create: not found
          db
            shop-db-1       create, start: not found
                            wait until healthy: web depends on db: healthy
    """
    if not plan:
        return f"project {plan.project}: nothing to do"
    groups: dict[str, dict[str, list[tuple[str, list[str]]]]] = {}
    for step in plan.steps:
        group = "" if isinstance(step.op, PullImage | BuildImage) else step.service
        name = _title(step.op) if not group else target(step.op)
        rows = groups.setdefault(group, {}).setdefault(name, [])
        if rows and rows[-1][0] == step.cause:
            rows[-1][1].append(_verb(step.op))
        else:
            rows.append((step.cause, [_verb(step.op)]))
    width = max(len(name) for group in groups.values() for name in group)
    lines = [f"project {plan.project}"]
    for service in sorted(groups, key=bool):
        indent = "  " if not service else "    "
        if service:
            lines.append(f"  {service}")
        for name, rows in groups[service].items():
            shown = name
            for cause, verbs in rows:
                lines.append(f"{indent + shown:<{width + 4}}  {', '.join(_brief(verbs))}: {cause}")
                shown = ""
    return "\n".join(lines)


def _brief(verbs: list[str]) -> list[str]:
    """The dance of a replacement in one word."""
    if "create" in verbs and "rename" in verbs:
        return ["recreate", *(v for v in verbs if v not in _REPLACEMENT)]
    return verbs


def _title(op: Op) -> str:
    return f"{WORDS[type(op)][1]} {target(op)}"


def _verb(op: Op) -> str:
    match op:
        case WaitHealthy(ended_ok=True):
            return "wait until running or ended well"
        case WaitHealthy():
            return "wait until healthy"
        case WaitCompleted():
            return "wait until completed"
        case RunProvider(provider=provider, command=command):
            return f"{command} by {provider.type}"
        case Pause(seconds=seconds):
            return f"wait {seconds:g} s"
        case _:
            return WORDS[type(op)][0]


def summary(plan: Plan) -> str:
    """How many of what: "3 to create, 1 to recreate, 4 to start, 1 to remove"."""
    recreated = sum(isinstance(s.op, CreateContainer) and bool(s.op.replaces) for s in plan.steps)
    counts = {
        "create": sum(
            isinstance(s.op, CreateContainer | CreateNetwork | CreateVolume) for s in plan.steps
        )
        - recreated,
        "recreate": recreated,
        "start": sum(isinstance(s.op, StartContainer) for s in plan.steps),
        "stop": sum(isinstance(s.op, StopContainer) for s in plan.steps),
        "remove": sum(
            isinstance(s.op, RemoveContainer | RemoveNetwork | RemoveVolume) for s in plan.steps
        )
        - recreated,
    }
    return ", ".join(f"{n} to {word}" for word, n in counts.items() if n > 0) or "nothing to do"


def to_json(plan: Plan) -> dict[str, Any]:
    """{"project", "steps": [{number, op, target, service, cause, after, ...}]}; see step_json."""
    return {"project": plan.project, "steps": [step_json(step) for step in plan.steps]}


def step_json(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "op": kind(step.op),
        "target": target(step.op),
        "service": step.service,
        "cause": step.cause,
        "text": sentence(step.op),
        "after": sorted(step.after),
        "tolerates": sorted(step.tolerates),
        "optional": step.optional,
        "loses": list(step.loses),
        "changes": [change.to_json() for change in step.changes],
    }
