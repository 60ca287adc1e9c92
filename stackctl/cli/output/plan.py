"""How a plan prints: a tree of what happens to what, and why; or the single steps.

shop: 1 to create, 1 to recreate, 2 to start
  + network back    create     not found
  web
    ± web-1         recreate   configuration changed: environment.A: "1" -> "2"
                    loses      what it wrote outside of volumes
                    then       wait until healthy: proxy depends on web: healthy
"""

from __future__ import annotations

from stackctl.cli.output.board import label
from stackctl.cli.output.console import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Console
from stackctl.cli.output.text import one_line, pad, plural
from stackctl.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

Step: TypeAlias = "Mapping[str, Any]"

#: First word of each operation, as the reader of a plan would say it.
_VERBS = {
    "PullImage": "pull",
    "BuildImage": "build",
    "CreateNetwork": "create",
    "RemoveNetwork": "remove",
    "CreateVolume": "create",
    "RemoveVolume": "remove",
    "CreateContainer": "create",
    "RenameContainer": "rename",
    "SetAside": "set aside",
    "StartContainer": "start",
    "WaitHealthy": "wait healthy",
    "WaitCompleted": "wait completed",
    "StopContainer": "stop",
    "RemoveContainer": "remove",
    "KillContainer": "kill",
    "PauseContainer": "pause",
    "UnpauseContainer": "unpause",
    "ExecCommand": "exec",
    "CopyInto": "copy",
    "CopyOut": "copy",
    "PushImage": "push",
    "RunInit": "run",
    "RunProvider": "provide",
    "StopProvider": "stop",
    "RemoveProvider": "remove",
    "Pause": "wait",
}
_COLOURS = {
    "create": GREEN,
    "start": GREEN,
    "run": GREEN,
    "provide": GREEN,
    "pull": CYAN,
    "build": CYAN,
    "stop": YELLOW,
    "restart": YELLOW,
    "recreate": YELLOW,
    "remove": RED,
}
#: What is new, replaced, changed in place, gone.
_MARKS = {"create": "+", "run": "+", "recreate": "±", "remove": "-"}
#: So many changes are in the cause of a recreation already.
_TOLD = 2
_WAITS = ("WaitHealthy", "WaitCompleted", "Pause")


class _Target:
    """A container, network, volume or image with all that happens to it, in order."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.steps: list[Step] = []

    @property
    def action(self) -> str:
        """One word for all of it."""
        verbs = [_VERBS.get(str(s["op"]), str(s["op"])) for s in self.work]
        if "create" in verbs and ("remove" in verbs or "rename" in verbs):
            return "recreate"
        for word in ("create", "remove"):
            if word in verbs:
                return word
        if "stop" in verbs and "start" in verbs:
            return "restart"
        return verbs[-1] if verbs else "wait for"

    @property
    def work(self) -> list[Step]:
        return [step for step in self.steps if step["op"] not in _WAITS]

    @property
    def starts(self) -> bool:
        return any(step["op"] == "StartContainer" for step in self.steps)

    def causes(self) -> list[str]:
        """Each once; a start's is told only when nothing else is done."""
        causes = [str(step.get("cause") or "") for step in self.work or self.steps]
        return list(dict.fromkeys(one_line(cause) for cause in causes if cause))


def print_plan(console: Console, plan: Mapping[str, Any], *, steps: bool = False) -> None:
    """The tree, or with `steps` each step with those it waits for."""
    found = list(plan.get("steps") or ())
    project = str(plan.get("project", ""))
    if not found:
        console.out(f"{project}: nothing to do")
    elif steps:
        _print_steps(console, found, project)
    else:
        _print_tree(console, found, project)


# --- the tree


def _print_tree(console: Console, steps: Sequence[Step], project: str) -> None:
    groups = _grouped(steps, project)
    targets = [target for group in groups.values() for target in group.values()]
    console.out(console.paint_out(f"{project}: {_summary(targets)}", BOLD))
    width = max(
        len(target.label) + (6 if name else 4)
        for name, g in groups.items()
        for target in g.values()
    )
    words = max(len(word) for word in ("loses", "then", *(t.action for t in targets)))
    for service, group in groups.items():
        if service:
            console.out(f"  {console.paint_out(service, BOLD)}")
        for target in group.values():
            _print_target(console, target, "    " if service else "  ", width, words)


def _grouped(steps: Sequence[Step], project: str) -> dict[str, dict[str, _Target]]:
    """By service ("" for what belongs to none, first), by name, in the order of beginning."""
    groups: dict[str, dict[str, _Target]] = {"": {}}
    for step in steps:
        op = str(step["op"])
        shared = op.endswith(("Image", "Network", "Volume"))
        group = groups.setdefault("" if shared else str(step.get("service") or ""), {})
        name = label(op, str(step["target"]), project)
        group.setdefault(name, _Target(name)).steps.append(step)
    return {service: group for service, group in groups.items() if group}


def _print_target(console: Console, target: _Target, indent: str, width: int, words: int) -> None:
    action = target.action
    colour = _colour(action)
    mark = _MARKS.get(action, "~")
    if not console.unicode and mark == "±":
        mark = "*"
    room = width - len(indent) - 2
    head = f"{indent}{console.paint_out(mark, *colour)} {pad(target.label, room)}"
    text = "; ".join(target.causes())
    if action == "create" and not target.starts and _is_container(target):
        text += " (not started)"
    console.out(f"{head}  {console.paint_out(pad(action, words), *colour)}  {text}".rstrip())
    for word, line, how in _notes(target):
        below = f"{' ' * width}  {pad(word, words)}  {line}"
        console.out(console.paint_out(below, *how))


def _notes(target: _Target) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for step in target.steps:
        for change in list(step.get("changes") or ())[_TOLD:]:
            yield "also", one_line(str(change["text"])), ()
        for lost in step.get("loses") or ():
            # A writable layer is meant to go; data in a volume is not.
            is_data = "volume " in lost and "outside" not in lost
            yield "LOSES" if is_data else "loses", lost, (RED, BOLD) if is_data else (YELLOW,)
    if target.work:
        for step in target.steps:
            if step["op"] in _WAITS:
                text = one_line(str(step.get("text") or _VERBS[str(step["op"])]))
                cause = one_line(str(step.get("cause") or ""))
                yield "then", f"{text}: {cause}" if cause else text, (DIM,)


def _is_container(target: _Target) -> bool:
    return any(step["op"] == "CreateContainer" for step in target.steps)


def _summary(targets: Sequence[_Target]) -> str:
    """`1 to create, 2 to recreate`, in the order in which they alarm."""
    counts: dict[str, int] = {}
    for target in targets:
        counts[target.action] = counts.get(target.action, 0) + 1
    order = ("pull", "build", "provide", "create", "recreate", "start", "restart", "stop")
    known = [word for word in (*order, "run", "remove") if word in counts]
    rest = [word for word in counts if word not in known and word != "wait for"]
    return ", ".join(f"{counts[word]} to {word}" for word in (*known, *rest)) or "only to wait"


# --- single steps


def _print_steps(console: Console, steps: Sequence[Step], project: str) -> None:
    """One line a step: `#3  start  db-1   created   after #1 #2`."""
    console.out(console.paint_out(f"{project}: {plural(len(steps), 'step')}", BOLD))
    table = [_cells(step, project) for step in steps]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    for row in table:
        verb = console.paint_out(pad(row[1], widths[1]), *_colour(row[1]))
        line = f"  {row[0].rjust(widths[0])}  {verb}  {pad(row[2], widths[2])}"
        line += f"  {pad(row[3], widths[3])}  {row[4]}" if row[4] else f"  {row[3]}"
        console.out(line.rstrip())


def _cells(step: Step, project: str) -> tuple[str, str, str, str, str]:
    op = str(step["op"])
    after = " ".join(f"#{n}" for n in step.get("after") or ())
    return (
        f"#{step['number']}",
        _VERBS.get(op, op),
        label(op, str(step["target"]), project),
        one_line(str(step.get("cause") or "")),
        f"after {after}" if after else "",
    )


def _colour(verb: str) -> tuple[str, ...]:
    colour = _COLOURS.get(verb)
    return (colour,) if colour else ()


def plan_json(plan: Mapping[str, Any]) -> str:
    """One JSON object: {"project", "steps": [...]}."""
    return dumps({"project": plan.get("project", ""), "steps": plan.get("steps") or []})
