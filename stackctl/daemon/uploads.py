"""What a caller on another machine sent ahead of its request: contexts, archives.

A file each below <root>/received, under a name that nobody can guess. A verb that names
them discards them when it has ended; what nobody came back for goes with the next upload
after its time, or with the next engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from stackctl.errors import NotFound, UsageError
from stackctl.state.directories import translate

#: Seconds for the request that names it to have come and ended.
_LIFE = 3600.0


class Uploads:
    def __init__(self, root: Path) -> None:
        self._directory = root / "received"
        # What a killed engine had received.
        shutil.rmtree(self._directory, ignore_errors=True)

    async def receive(self, content: AsyncIterator[bytes]) -> str:
        """Keeps it; its id. Raises MachineError when there is no room."""
        identity = secrets.token_hex(16)
        path = self._directory / identity
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            with path.open("xb") as file:
                async for piece in content:
                    await asyncio.to_thread(file.write, piece)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                raise translate(error, path, "STACKCTL_ROOT") from error
            raise
        return identity

    def resolved(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request with the paths of its uploads, {caller's path: id}, as they are here.

        Raises NotFound for one that is not here.
        """
        named = body.get("uploads")
        if not isinstance(named, dict):
            return dict(body)
        return {**body, "uploads": {str(k): str(self._path(v)) for k, v in named.items()}}

    def discard(self, paths: Iterable[str]) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)

    def _path(self, identity: object) -> Path:
        if not isinstance(identity, str) or not identity.isalnum():
            raise UsageError("an upload is named by its id")
        path = self._directory / identity
        if not path.is_file():
            raise NotFound("what was sent to the engine is not there any more", hint="try again")
        return path

    def _sweep(self) -> None:
        before = time.time() - _LIFE
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
