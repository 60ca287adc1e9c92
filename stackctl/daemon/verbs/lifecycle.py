"""start, stop, restart, kill, pause, unpause, wait: on the containers of a project."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from stackctl.daemon.containers import Containers
from stackctl.daemon.engine import Engine
from stackctl.daemon.jobs import Emit, Jobs, Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.projects import Projects
from stackctl.daemon.providers import ASKING
from stackctl.daemon.signals import signal_number
from stackctl.daemon.verbs.asking import environment
from stackctl.daemon.verbs.rehearsal import affected, planner, service_policy
from stackctl.daemon.verbs.stack import carry_out, raise_all
from stackctl.errors import OperationFailed, StackctlError
from stackctl.model.record import ContainerRecord


def _lives(record: ContainerRecord) -> bool:
    return record.status.is_alive


class LifecycleVerbs:
    def __init__(
        self, parts: Parts, projects: Projects, containers: Containers, engine: Engine, jobs: Jobs
    ) -> None:
        self._parts = parts
        self._projects = projects
        self._containers = containers
        self._engine = engine
        self._jobs = jobs

    def start(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._planned("start", body)

    def stop(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._planned("stop", body, cancel_before=True)

    def restart(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._planned("restart", body)

    def rm(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._planned("rm", body)

    async def _planned(
        self, verb: str, body: Mapping[str, Any], *, cancel_before: bool = False
    ) -> AsyncIterator[Message]:
        """A plan on what exists; the order comes from the records, no file is needed."""
        name = await self._projects.name(body)
        policy = await service_policy(self._projects, body, name)
        planned = planner(verb)

        async def work(emit: Emit) -> Message:
            plan = planned(self._projects.observe(name), policy)
            ASKING.set(environment(body))
            limit = float(body.get("wait_timeout") or 0)
            try:
                async with asyncio.timeout(limit or None):
                    await carry_out(plan, self._engine, emit, body, hooks_count=True)
            except TimeoutError:
                raise OperationFailed(
                    f"the services were not ready within {limit:g} s",
                    hint="see `stackctl ps`, or wait longer with --wait-timeout",
                ) from None
            return {"type": "result", "exit_code": 0, "changed": bool(plan)}

        job = self._jobs.begin(name, work, name=verb, cancel_before=cancel_before)
        async for message in job.messages():
            yield message

    def kill(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        signum = signal_number(str(body.get("signal") or signal.SIGKILL.name))
        return self._each("kill", body, lambda r: self._containers.kill(r.id, signum), "killed")

    def pause(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._each("pause", body, lambda r: self._containers.pause(r.id), "paused")

    def unpause(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._each("unpause", body, lambda r: self._containers.unpause(r.id), "unpaused")

    async def _each(
        self,
        verb: str,
        body: Mapping[str, Any],
        act: Callable[[ContainerRecord], Awaitable[None]],
        state: str,
    ) -> AsyncIterator[Message]:
        """One independent action a container; says what became of each, then raises what failed."""
        wanted = affected(verb, body)
        if verb != "kill" and body.get("services"):
            # One that was named and is so already is told.
            wanted = _lives
        found = await self._projects.meant(body, oneoff=verb == "kill")
        records = [record for record in found if wanted(record)]
        outcomes = await asyncio.gather(*(act(r) for r in records), return_exceptions=True)
        failures: list[StackctlError] = []
        for record, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, StackctlError):
                failures.append(outcome)
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            yield {
                "type": "status",
                "service": record.config.service,
                "container": record.name,
                "state": state,
                "text": state,
            }
        raise_all(failures)
        yield {"type": "result", "exit_code": 0, "changed": bool(records)}

    async def wait(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Exit codes as the services end; the result carries the last one's."""
        name = await self._projects.name(body)
        records = self._projects.select(name, body.get("services") or ())

        async def ended(record: ContainerRecord) -> tuple[ContainerRecord, int | None]:
            final = await self._parts.registry.wait(
                record.id, lambda r: r is None or r.status.has_ended
            )
            return record, final.exit_code if final is not None else None

        code = 0
        for next_one in asyncio.as_completed([ended(r) for r in records]):
            record, exit_code = await next_one
            code = exit_code if exit_code is not None else 255
            yield {
                "type": "exit",
                "container": record.name,
                "service": record.config.service,
                "code": exit_code,
            }
        yield {"type": "result", "exit_code": code}
