"""How a plan prints: what, to what, why, and after which steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stackctl.cli.output.board import label
from stackctl.cli.output.console import BOLD, CYAN, GREEN, RED, YELLOW, Console
from stackctl.cli.output.text import one_line, pad, plural

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
    "StartContainer": "start",
    "WaitHealthy": "wait healthy",
    "WaitCompleted": "wait completed",
    "StopContainer": "stop",
    "RemoveContainer": "remove",
}
_COLOURS = {"create": GREEN, "start": GREEN, "pull": CYAN, "stop": YELLOW, "remove": RED}


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """One line a step: `#3  start  db-1   created   after #1 #2`."""
    steps = list(plan.get("steps") or ())
    project = str(plan.get("project", ""))
    if not steps:
        console.out(f"{project}: nothing to do")
        return
    console.out(console.paint_out(f"{project}: {plural(len(steps), 'step')}", BOLD))
    table = [_cells(step, project) for step in steps]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    for row in table:
        verb = console.paint_out(pad(row[1], widths[1]), *_colour(row[1]))
        line = f"  {row[0].rjust(widths[0])}  {verb}  {pad(row[2], widths[2])}"
        line += f"  {pad(row[3], widths[3])}  {row[4]}" if row[4] else f"  {row[3]}"
        console.out(line.rstrip())


def _cells(step: Mapping[str, Any], project: str) -> tuple[str, str, str, str, str]:
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
    return json.dumps({"project": plan.get("project", ""), "steps": plan.get("steps") or []})
