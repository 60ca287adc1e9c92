"""lock: which content the names of a stack's images mean, written beside the stack file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from stackctl.daemon.apart import apart
from stackctl.daemon.jobs import Emit, Message
from stackctl.daemon.projects import Projects, lockable
from stackctl.daemon.verbs import asking
from stackctl.daemon.verbs.image import streamed
from stackctl.errors import NotFound, StackctlError, UsageError
from stackctl.image import lockfile
from stackctl.image.service import CALLER, Images
from stackctl.scheduler.survey import check_names


class LockVerb:
    def __init__(self, images: Images, projects: Projects) -> None:
        self._images = images
        self._projects = projects

    async def lock(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows {image, digest, state}; `check` only compares names, `offline` asks no registry.

        The file is written when all is known, and only when something changes. Of `services`
        only these are asked for anew. Exit code 1: `check` found a difference.
        """
        project = await self._projects.load({**body, "no_lock": True})
        stack = project.stack
        if not stack.is_in_files:
            raise UsageError("the stack comes from no file, so there is no place for a lock file")
        path = lockfile.path_of(stack.files[0])
        images = lockable(stack)
        named = [str(name) for name in body.get("services") or ()]
        check_names(named, stack.services)
        before = await apart(partial(lockfile.read, path)) or {}
        names = {lockfile.lockable(image) for image in images.values()}
        asked = {lockfile.lockable(images[n]) for n in named or images if n in images}

        if body.get("check"):
            rows = [
                *({"image": n, "digest": "", "state": "not locked"} for n in names - set(before)),
                *({"image": n, "digest": "", "state": "not used"} for n in set(before) - names),
            ]
            for row in sorted(rows, key=lambda row: row["image"]):
                yield {"type": "row", **row}
            yield {"type": "result", "exit_code": 1 if rows else 0, "path": str(path)}
            return

        async def work(emit: Emit) -> Message:
            CALLER.set(asking.caller(body, emit))
            ordered = sorted(asked)
            digests = await asyncio.gather(
                *(self._digest(name, offline=bool(body.get("offline"))) for name in ordered)
            )
            after = {name: digest for name, digest in before.items() if name in names}
            after |= dict(zip(ordered, digests, strict=True))
            for name in sorted(after):
                emit({"type": "row", "image": name, **_row(before.get(name), after[name])})
            if after != before or not path.exists():
                await self._images.blocking(lambda: lockfile.write(path, after), f"write {path}")
            return {
                "type": "result",
                "exit_code": 0,
                "path": str(path),
                "changed": after != before,
            }

        async for message in streamed(work):
            yield message

    async def _digest(self, name: str, *, offline: bool) -> str:
        if offline:
            found = self._images.known_digest(name)
            if not found:
                raise NotFound(
                    f"{name} has not been pulled to this machine: what it is, is not known here",
                    hint="pull it first, or lock without --offline",
                )
            return found
        try:
            return await self._images.remote_digest(name)
        except StackctlError as error:
            if self._images.known_digest(name) and not error.hint:
                error.hint = "--offline takes what was pulled to this machine"
            raise


def _row(before: str | None, after: str) -> dict[str, str]:
    if before is None:
        return {"digest": after, "state": "locked"}
    return {"digest": after, "state": "as before" if before == after else "changed"}
