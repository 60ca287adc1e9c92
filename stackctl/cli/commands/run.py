"""stackctl run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output import chosen
from stackctl.cli.output.errors import print_warning
from stackctl.cli.session import Standard, interact, standard_streams
from stackctl.cli.steps import rehearse, watch
from stackctl.cli.values import pull_when
from stackctl.cli.waits import telling
from stackctl.errors import NotFound, StackctlError


def run(
    ctx: typer.Context,
    service: options.Service,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND] [ARGS...]", help="Instead of the service's own.", show_default=False
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Leave it running and print its name.")
    ] = False,
    remove: Annotated[bool, typer.Option("--rm", help="Remove it when it ends.")] = False,
    no_tty: options.NoTty = False,
    tty: options.Tty = True,
    interactive: Annotated[
        bool,
        typer.Option("-i/-I", "--interactive/--no-interactive", help="Pass our input on."),
    ] = True,
    env: options.Environment = None,
    volumes: Annotated[
        list[str] | None,
        typer.Option("-v", "--volume", metavar="SOURCE:TARGET", help="One more; repeatable."),
    ] = None,
    publish: Annotated[
        list[str] | None,
        typer.Option("-p", "--publish", metavar="HOST:PORT", help="Publish a port; repeatable."),
    ] = None,
    service_ports: Annotated[
        bool, typer.Option("-P", "--service-ports", help="Publish the service's own ports.")
    ] = False,
    no_deps: Annotated[
        bool, typer.Option("--no-deps", help="Do not start what the service depends on.")
    ] = False,
    entrypoint: Annotated[
        str | None, typer.Option("--entrypoint", metavar="COMMAND", help="Instead of the image's.")
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The container's name.")] = "",
    user: options.User = "",
    workdir: options.Workdir = "",
    build: Annotated[
        bool, typer.Option("--build", help="Build its image even when it is there.")
    ] = False,
    cap_add: Annotated[
        list[str] | None, typer.Option("--cap-add", metavar="CAP", help="Add a capability.")
    ] = None,
    cap_drop: Annotated[
        list[str] | None, typer.Option("--cap-drop", metavar="CAP", help="Take one away.")
    ] = None,
    env_from_file: Annotated[
        list[str] | None,
        typer.Option("--env-from-file", metavar="FILE", help="Variables from a file; repeatable."),
    ] = None,
    use_aliases: Annotated[
        bool, typer.Option("--use-aliases", help="Answer to the service's names in its networks.")
    ] = False,
    remove_orphans: options.RemoveOrphans = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.")] = False,
    quiet_build: options.QuietBuild = False,
    pull: options.Pull = "",
    quiet_pull: options.QuietPull = False,
    no_lock: options.NoLock = False,
    labels: Annotated[
        list[str] | None,
        typer.Option("-l", "--label", metavar="KEY=VAL", help="Add a label; repeatable."),
    ] = None,
) -> int:
    """Run a one-off command in a new container of a service.

    What the service depends on is started first.
    """
    invoked = invocation(ctx)
    standard = standard_streams()
    tty = tty and standard.is_terminal and not no_tty and not detach
    body = invoked.body(
        service=service,
        # None keeps the service's command; an empty list would clear it.
        command=command or None,
        detach=detach,
        rm=remove,
        # A bare KEY is the project's: the engine reads .env.
        env=[*_from_files(invoked, env_from_file or ()), *(env or ())],
        cap_add=cap_add or [],
        cap_drop=cap_drop or [],
        use_aliases=use_aliases,
        remove_orphans=remove_orphans,
        volumes=volumes or [],
        ports=publish or [],
        service_ports=service_ports,
        no_deps=no_deps,
        entrypoint=entrypoint,
        name=name,
        user=user,
        workdir=workdir,
        tty=tty,
        # Detached as well: a program that reads waits, as with compose, for who attaches.
        stdin=interactive,
        labels=labels or [],
        build=build,
        pull=pull_when(pull),
        quiet_pull=quiet_pull,
        no_lock=no_lock,
    )
    if invoked.dry_run:
        return rehearse(invoked, "run", body)
    result = _prepare(invoked, service, body, "quiet" if quiet else invoked.progress)
    container = str(result["container"])
    if detach:
        invoked.console.out(container)
        return 0
    return _attach(invoked, container, standard, tty=tty, stdin=interactive)


def _from_files(run: Invocation, files: Iterable[str]) -> list[str]:
    """K=V of environment files, as docker reads them: later ones win."""
    from stackctl.spec.files import DISK
    from stackctl.spec.loader import read_env_file

    found: dict[str, str] = {}
    for file in files:
        with telling(run.console):
            values = read_env_file(DISK, file, False, found)
        if values is None:
            raise NotFound(f"there is no file {file}")
        found.update(values)
    return [f"{name}={value}" for name, value in found.items()]


def _prepare(run: Invocation, service: str, body: Message, how: str) -> Message:
    """Start what it needs and make the container; the result names it."""
    progress = chosen.progress(run.console, how, "run")
    try:
        return watch(run, _others(run.client.stream("run", body), service), progress)
    finally:
        progress.close()


def _others(stream: Iterable[Message], service: str) -> Iterator[Message]:
    """The messages without the one-off's own steps: its output is news enough."""
    for message in stream:
        if message["type"] == "plan":
            others = [s for s in message["steps"] if not _is_own(s, service)]
            yield {**message, "steps": others}
        elif message["type"] != "step" or not _is_own(message, service):
            yield message


def _is_own(step: Message, service: str) -> bool:
    """A step of the one-off itself; its image may take a while, and is news."""
    return step.get("service") == service and step.get("op") not in ("PullImage", "BuildImage")


def _attach(run: Invocation, container: str, standard: Standard, *, tty: bool, stdin: bool) -> int:
    """Start the container with us listening; its exit code."""
    width, height = standard.size()
    session = run.client.open_session(
        "attach",
        {
            "container": container,
            "start": True,
            "tty": tty,
            "stdin": stdin,
            "width": width,
            "height": height,
        },
    )
    for text in session.warnings:
        print_warning(run.console, text)

    def pass_on(signum: int) -> None:
        try:
            run.client.call("signal", {"container": container, "signal": str(signum)})
        except StackctlError:
            pass  # it has ended; the copying ends as well

    return interact(run.client, session, standard, stdin=stdin, on_signal=pass_on)
