"""stackctl container diff, commit, export: what a container made of its image."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.errors import MachineError, UsageError

_CHUNK = 1 << 18
#: By Docker's number of a change: modified, added, deleted.
_LETTERS = "CAD"


def diff(ctx: typer.Context, container: options.Container) -> int:
    """List the files that a container added (A), changed (C) or deleted (D)."""
    run = invocation(ctx)
    for message in run.client.stream("container-diff", {"container": container}):
        if message["type"] == "row":
            run.console.out(f"{_LETTERS[message['Kind']]} {message['Path']}")
    return 0


def commit(
    ctx: typer.Context,
    container: options.Container,
    name: options.CommitName = "",
    author: options.Author = "",
    message: options.CommitMessage = "",
    change: options.Changes = None,
    pause: options.CommitPause = True,
) -> int:
    """Make an image of a container's changes, and print its id."""
    run = invocation(ctx)
    made = run.client.call(
        "container-commit",
        {
            "container": container,
            "reference": name,
            "author": author,
            "message": message,
            "changes": change or [],
            "pause": pause,
        },
    )
    run.console.out(str(made["id"]))
    return 0


def export(
    ctx: typer.Context, container: options.Container, output: options.ExportOutput = ""
) -> int:
    """Write a container's files as a tar, without those of volumes."""
    run = invocation(ctx)
    if not output or output == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive is nothing for a terminal", hint="-o FILE, or redirect it")
        with contextlib.closing(run.client.export(container)) as content:
            run.console.flush()
            shutil.copyfileobj(content, sys.stdout.buffer, _CHUNK)
            sys.stdout.buffer.flush()
        return 0
    try:
        _write(run, container, Path(output))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise MachineError(f"cannot write {output}: {error.strerror}") from error
    return 0


def _write(run: Invocation, container: str, target: Path) -> None:
    """Under another name until it is complete: a failure leaves what was there before."""
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise UsageError(f"{target} is a directory")
        # A device or a fifo is written to as it is.
        with contextlib.closing(run.client.export(container)) as content, open(target, "wb") as out:
            shutil.copyfileobj(content, out, _CHUNK)
        return
    with contextlib.closing(run.client.export(container)) as content:
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with open(partial, "xb") as out:
                shutil.copyfileobj(content, out, _CHUNK)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
