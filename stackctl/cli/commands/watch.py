"""stackctl watch."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.commands.up import bring_up
from stackctl.cli.failures import INTERRUPTED
from stackctl.cli.feed import Ended, Feed, Interrupted, Said
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.watching import WatchPrinter
from stackctl.cli.watching.actions import Watching
from stackctl.cli.watching.setup import described, rules, watching


def watch(
    ctx: typer.Context,
    services: options.Services = None,
    no_up: Annotated[
        bool, typer.Option("--no-up", help="Do not build and start the services first.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Remove images that a rebuild replaced.")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show how it is built.")] = False,
) -> int:
    """Carry changes of source files into the services, as develop.watch says.

    Copies files, restarts services or builds them again, until Ctrl-C.
    """
    run = invocation(ctx)
    found, known = rules(run, services or [])
    if run.dry_run:
        for line in described(found):
            run.console.out(line)
        return 0
    if not no_up:
        body = run.body(services=services or [], detach=True, build=True)
        code = bring_up(run, body, quiet_summary=quiet)
        if code:
            return code
    return _follow(run, watching(known, found, prune=prune), quiet=quiet)


def _follow(run: Invocation, work: Watching, *, quiet: bool) -> int:
    feed = Feed()
    printer = WatchPrinter(run.console, quiet=quiet)
    with feed.signals(signal.SIGINT, signal.SIGTERM):
        feed.add("watch", work.messages())
        while True:
            match feed.next():
                case Said(message=message):
                    printer.show(message)
                case Ended(error=error):
                    if error is not None:
                        raise error
                    return 0
                case Interrupted():
                    # What the engine has been asked for goes on; so do the services.
                    return INTERRUPTED
                case None:
                    pass
