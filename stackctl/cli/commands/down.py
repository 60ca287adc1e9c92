"""stackctl down."""

from __future__ import annotations

import time

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.errors import print_warning
from stackctl.cli.output.text import seconds
from stackctl.cli.rows import warned
from stackctl.cli.steps import carry_out
from stackctl.cli.values import one_of
from stackctl.errors import NotFound, RemoteError
from stackctl.json_text import loads


def down(
    ctx: typer.Context,
    services: options.Services = None,
    volumes: Annotated[
        bool, typer.Option("-v", "--volumes", help="Remove named and anonymous volumes too.")
    ] = False,
    volume: Annotated[bool, typer.Option("--volume", help="--volumes.", hidden=True)] = False,
    remove_orphans: options.RemoveOrphans = None,
    timeout: options.Timeout = None,
    rmi: Annotated[
        str,
        typer.Option(
            "--rmi", metavar="local|all", help="Remove images too: those without a name, or all."
        ),
    ] = "",
) -> int:
    """Stop the stack and remove its containers and networks."""
    run = invocation(ctx)
    if rmi:
        one_of("--rmi", rmi, ("local", "all"))
    if volume:
        print_warning(run.console, "--volume is called --volumes")
    began = time.monotonic()
    body = run.body(
        services=services or [],
        volumes=volumes or volume,
        remove_orphans=remove_orphans,
        timeout=timeout,
    )
    if run.dry_run:
        from stackctl.cli.commands.plan import show_plan

        show_plan(run, "down", body)
        for image in _images(run, rmi) if rmi else ():
            if run.progress == "json":
                _tell(run, image, ended=False)
                _tell(run, image, ended=True)
            else:
                run.console.out(f"  - image {image}  remove, if no other container has it")
        return 0
    # Asked before: afterwards nobody knows which images the stack had.
    images = _images(run, rmi) if rmi else []
    result, board = carry_out(run, "down", body, "down")
    _remove(run, images)
    if run.talks:
        elapsed = seconds(time.monotonic() - began)
        what = f"down after {elapsed}" if board.steps else "nothing to remove"
        run.console.for_status().err(f"{board.project + ': ' if board.project else ''}{what}")
    return int(result.get("exit_code") or 0)


def _images(run: Invocation, which: str) -> list[str]:
    """The images of the stack's services: all, or those that the file gives no name of its own."""
    body = run.body(format="json", services=[])
    found: set[str] = set()
    for message in run.client.stream("config", body):
        if not warned(run, message) and message["type"] == "result":
            stack = loads(str(message["text"]).replace("$$", "$"))
            own = {str(each["image"]) for each in stack["services"].values() if each.get("image")}
            found |= set(message["images"]) - (own if which == "local" else set())
    return sorted(found - {"stackctl/host"})


def _remove(run: Invocation, images: list[str]) -> None:
    """One that is not here, or that another container has, is no reason to fail."""
    for image in images:
        _tell(run, image, ended=False)
        try:
            run.client.call("image-rm", {"names": [image], "force": False})
        except RemoteError as error:
            if error.kind == NotFound.kind:
                continue
            print_warning(run.console, f"image {image} stays: {error.brief}")
        else:
            _tell(run, image, ended=True)


def _tell(run: Invocation, image: str, *, ended: bool) -> None:
    """That its removal begins, or has ended, as --progress wants it."""
    if run.progress == "json":
        from stackctl.cli.output.json_lines import line

        status, text = ("Done", "Removed") if ended else ("Working", "Removing")
        line(run.console, dry_run=run.dry_run, id=f"Image {image}", status=status, text=text)
    elif ended and run.talks:
        run.console.say(f"image {image}  removed")
