"""build: one image from a command line, or the images of a stack's services.

{"builds": [{image: ..., context: ..., ...}]}       what stackctl image build asks
{"project": ..., "services": [...], ...}            what stackctl build asks
{..., "check": true}                                how many of their checks they do not pass
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from stackctl.daemon.building import Builds
from stackctl.daemon.carried import here
from stackctl.daemon.jobs import Emit, Jobs, Message
from stackctl.daemon.projects import Projects
from stackctl.daemon.verbs.asking import caller
from stackctl.errors import UsageError
from stackctl.image.service import CALLER
from stackctl.model.build import BuildOutput, BuildRequest
from stackctl.model.container import Ulimit
from stackctl.model.image import Image


class BuildVerb:
    def __init__(self, projects: Projects, builds: Builds, jobs: Jobs) -> None:
        self._projects = projects
        self._builds = builds
        self._jobs = jobs

    async def build(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """vertex and vertex-log messages; the result names the images."""
        if "builds" in body:
            wanted = [request(raw) for raw in body["builds"]]
        else:
            wanted = await self._of_stack(body)

        async def work(emit: Emit) -> Message:
            CALLER.set(caller(body, emit))
            if body.get("check"):
                found = await check_all(self._builds, wanted, emit)
                return {"type": "result", "exit_code": 1 if found else 0, "findings": found}
            images = await build_all(self._builds, wanted, emit)
            return {
                "type": "result",
                "exit_code": 0,
                "images": [
                    {
                        "id": image.id,
                        "digest": self._builds.digest(image.id),
                        "names": list(each.names),
                    }
                    for each, image in zip(wanted, images, strict=True)
                ],
            }

        job = self._jobs.begin(f"_build-{secrets.token_hex(8)}", work, name="build")
        try:
            async for message in job.messages():
                yield message
        finally:
            # Who leaves gives a build up; what it has made so far is in the cache.
            job.cancel()

    async def _of_stack(self, body: Mapping[str, Any]) -> list[BuildRequest]:
        from stackctl.daemon.build_wishes import wishes

        project = await self._projects.load(
            body, activate=body.get("services") or (), for_containers=False
        )
        found = wishes(project.stack, body)
        return list(found.values())


async def check_all(builds: Builds, wanted: list[BuildRequest], emit: Emit) -> int:
    """How many checks the Dockerfiles do not pass, one after the other. Nothing is built."""
    asked = CALLER.get(None)
    uploads = asked.uploads if asked is not None else None
    distinct = {repr(_nameless(each)): each for each in wanted}
    return sum(
        [await builds.builder.check(here(each, uploads), emit) for each in distinct.values()]
    )


async def build_all(builds: Builds, wanted: list[BuildRequest], emit: Emit) -> list[Image]:
    """All at once; the same build asked for twice is done once. Raises the first failure."""
    if not wanted:
        return []
    distinct: dict[str, BuildRequest] = {}
    names: dict[str, tuple[str, ...]] = {}
    keys = []
    for each in wanted:
        key = repr(_nameless(each)) + repr(sorted(each.secrets.items()))
        keys.append(key)
        distinct.setdefault(key, each)
        names[key] = tuple(dict.fromkeys((*names.get(key, ()), *each.names)))
    numbers = iter(range(1, 1 << 30))
    renumber: dict[tuple[str, int], int] = {}

    def numbered(key: str) -> Emit:
        def forward(message: Message) -> None:
            if "number" in message:
                place = (key, message["number"])
                if place not in renumber:
                    renumber[place] = next(numbers)
                message = {**message, "number": renumber[place]}
            emit(message)

        return forward

    asked = CALLER.get(None)
    uploads = asked.uploads if asked is not None else None
    async with builds.session():
        tasks = {
            key: asyncio.create_task(
                builds.builder.build(replace(here(each, uploads), names=names[key]), numbered(key))
            )
            for key, each in distinct.items()
        }
        try:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
            failed = [t for t in tasks.values() if t.done() and t.exception() is not None]
            for task in failed:
                await task
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return [tasks[key].result() for key in keys]


def _nameless(each: BuildRequest) -> BuildRequest:
    return replace(each, names=(), secrets={})


def request(raw: object) -> BuildRequest:
    """A build as a request of the API has it. Raises UsageError."""
    if not isinstance(raw, dict):
        raise UsageError("a build is an object")
    values = dict(raw)
    try:
        text = values.pop("text", None)
        secret = values.pop("secrets", None) or {}
        hosts = values.pop("extra_hosts", None) or ()
        ulimits = values.pop("ulimits", None) or ()
        agents = values.pop("ssh", None) or {}
        outputs = values.pop("outputs", None) or ()
        rest: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return BuildRequest(
            text=text.encode() if isinstance(text, str) else None,
            secrets={str(k): str(v).encode("utf-8", "surrogateescape") for k, v in secret.items()},
            extra_hosts=tuple((str(n), str(a)) for n, a in hosts),
            ulimits=tuple(Ulimit(**raw) for raw in ulimits),
            ssh={str(name): tuple(map(str, paths)) for name, paths in agents.items()},
            outputs=tuple(BuildOutput(**raw) for raw in outputs),
            **rest,
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the build cannot be understood: {error}") from None
