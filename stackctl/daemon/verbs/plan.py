"""plan: what a command would do, `up` if none is named. Knows no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from stackctl.daemon.jobs import Message
from stackctl.daemon.projects import Projects
from stackctl.daemon.verbs.planning import Planning, planned, warning_messages
from stackctl.daemon.verbs.rehearsal import Rehearsal


class PlanVerb:
    """The command is what "for" says. Exit code 0 when there is nothing to do, 2 when there is."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects
        self._planning = Planning(projects)
        self._rehearsal = Rehearsal(projects)

    async def plan(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        command = str(body.get("for") or "up")
        if command == "up":
            project = await self._projects.load(body, activate=body.get("services") or ())
            for warning in warning_messages(project):
                yield warning
            messages = self._planning.of_up(project, project.told(body))
        elif command == "down":
            messages = self._planning.of_down(body)
        else:
            messages = self._rehearsed(command, body)
        async for message in messages:
            yield message

    async def _rehearsed(self, command: str, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        found, warnings = await self._rehearsal.plan(command, body)
        for warning in warnings:
            yield warning
        yield found
        yield planned(len(found["steps"]))
