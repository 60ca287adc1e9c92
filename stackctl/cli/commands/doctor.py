"""stackctl doctor."""

from __future__ import annotations

import json as json_module
from typing import Any

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.console import GREEN, RED, YELLOW
from stackctl.cli.output.text import pad

_COLOURS = {"ok": GREEN, "good": GREEN, "bad": RED}


def doctor(ctx: typer.Context, json: options.Json = False) -> int:
    """Try what this machine and kernel can do, and say what to do about the rest.

    Needs no engine. Exit code 1 when something that stacks need is missing.
    """
    run = invocation(ctx)
    # Lazily: this is the one command that looks at the machine by itself, because
    # it has to explain why an engine does not start.
    from stackctl.net import networkd
    from stackctl.net.firewall import machine_findings
    from stackctl.runtime.doctor import Finding, examine

    findings = list(examine(run.paths))
    for found in machine_findings() + networkd.findings(run.paths.veth("")):
        state = "warn" if found.is_problem else "ok"
        findings.append(Finding(found.part, state, found.text, found.hint))
    if json:
        run.console.out(json_module.dumps([_object(finding) for finding in findings]))
    else:
        _print(run, findings)
    return 1 if any(str(finding.state) == "bad" for finding in findings) else 0


def _object(finding: Any) -> dict[str, str]:
    return {
        "Name": str(finding.name),
        "State": str(finding.state),
        "Fact": str(finding.fact),
        "Advice": str(finding.advice),
    }


def _print(run: Invocation, findings: list[Any]) -> None:
    names = max((len(f.name) for f in findings), default=0)
    states = max((len(str(f.state)) for f in findings), default=0)
    for finding in findings:
        state = pad(str(finding.state), states)
        state = run.console.paint_out(state, _COLOURS.get(str(finding.state), YELLOW))
        run.console.out(f"{state}  {pad(finding.name, names)}  {finding.fact}".rstrip())
        if finding.advice:
            run.console.out(f"{' ' * (states + names + 4)}-> {finding.advice}")
