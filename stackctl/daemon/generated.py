"""Files that the engine makes for one container: secrets and configs.

They lie in the container's directory and are bind-mounted read-only. Ownership is
as the container sees it: binds map host ids to the same numbers inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from stackctl.daemon.apart import apart
from stackctl.errors import ContainerError, MachineError
from stackctl.linux import plain
from stackctl.model.container import BindMount, GeneratedFile

_DIRECTORY = "files"


def mounts(home: Path, files: Sequence[GeneratedFile]) -> tuple[BindMount, ...]:
    """Where the files will be; `home` is the container's directory."""
    return tuple(
        BindMount(
            source=str(home / _DIRECTORY / str(i)),
            target=file.target,
            read_only=True,
            create_host_path=False,
        )
        for i, file in enumerate(files)
    )


def without_content(files: Sequence[GeneratedFile]) -> tuple[GeneratedFile, ...]:
    """What a record keeps of them."""
    return tuple(replace(file, content="") for file in files)


async def write(home: Path, files: Sequence[GeneratedFile]) -> None:
    """Makes the files. Raises ContainerError for an origin that cannot be read, MachineError."""
    if not files:
        return
    directory = home / _DIRECTORY
    try:
        # Before the thread, which may come to its end when the container has long been given up.
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise MachineError(f"cannot write {directory}: {error.strerror}") from error
    work = partial(_write_all, directory, files)
    if any(file.source for file in files):
        await apart(work)
    else:
        work()


def _write_all(directory: Path, files: Sequence[GeneratedFile]) -> None:
    try:
        for i, file in enumerate(files):
            _write(directory / str(i), file)
    except OSError as error:
        raise MachineError(f"cannot write {directory}: {error.strerror}") from error


def _write(path: Path, file: GeneratedFile) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as out:
        if file.source:
            _copy(file, out)
        else:
            out.write(file.content.encode("utf-8", "surrogateescape"))
        os.fchown(out.fileno(), file.uid, file.gid)
        # After the owner: changing that takes set-id bits away.
        os.fchmod(out.fileno(), file.mode)


def _copy(file: GeneratedFile, out: IO[bytes]) -> None:
    try:
        for piece in plain.pieces(file.source):
            out.write(piece)
    except OSError as error:
        raise ContainerError(
            f"the file {file.source} for {file.target} cannot be read: {error.strerror}",
            hint="correct the path under secrets: or configs:",
        ) from error
