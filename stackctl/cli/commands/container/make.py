"""stackctl container run, create."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.wish import wish
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.errors import print_warning
from stackctl.cli.session import (
    DETACH_KEYS,
    Detached,
    Standard,
    detach_keys,
    interact,
    standard_streams,
)
from stackctl.errors import Conflict, RemoteError, StackctlError, UsageError

T = TypeVar("T")


#: `docker run`: the engine could not; the command could not be executed or found.
ENGINE_FAILED = 125
_NOT_RUN = (126, 127)
#: What is passed on without a terminal; of the others SIGCHLD and SIGPIPE are our own affair.
PROXIED = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2),
)


@contextmanager
def docker_exit_codes() -> Iterator[None]:
    """Failures of the engine are 125, so that they differ from the command's own codes."""
    try:
        yield
    except StackctlError as error:
        if error.exit_code not in _NOT_RUN:
            error.exit_code = ENGINE_FAILED
        raise


def run(
    ctx: typer.Context,
    image: options.Image,
    command: options.ImageCommand = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Leave it running and print its id.")
    ] = False,
    keys: Annotated[
        str, typer.Option("--detach-keys", metavar="KEYS", help="What detaches from it.")
    ] = DETACH_KEYS,
    sig_proxy: Annotated[
        bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on to the process.")
    ] = True,
    **flags: Any,
) -> int:
    """Make a container from an image and run a command in it.

    Exit codes: the command's own; 125 when the engine could not, 126 when the command
    cannot be executed, 127 when it is not found.
    """
    with docker_exit_codes():
        run = invocation(ctx)
        body: dict[str, Any] = {
            "name": flags.get("name"),
            "wish": wish(image, command or (), flags, run.environment),
            "platform": flags.get("platform"),
        }
        with _id_file(flags.get("cidfile")) as write_id:
            if detach:
                _refuse_with_detach(flags)
                made = with_image(run, image, flags, lambda: run.client.call("container-run", body))
                warn(run, made["warnings"])
                write_id(str(made["container"]))
                run.console.out(str(made["container"]))
                return 0
            return _attached(run, body, flags, detach_keys(keys), write_id, proxy=sig_proxy)


def _refuse_with_detach(flags: dict[str, Any]) -> None:
    if flags.get("attach"):
        raise UsageError("--detach and --attach do not go together")


def _attached(
    run: Invocation,
    body: dict[str, Any],
    flags: dict[str, Any],
    keys: bytes,
    write_id: Any,
    *,
    proxy: bool,
) -> int:
    standard = standard_streams()
    stdin, shown = streams(flags.get("attach") or (), interactive=bool(flags["interactive"]))
    if flags["tty"] and stdin and not os.isatty(standard.stdin):
        raise UsageError("the input device is not a terminal", hint="leave -t out")
    width, height = standard.size()
    body = {**body, "exit_frame": True, "width": width, "height": height}
    image = str(body["wish"]["Image"])
    session = with_image(run, image, flags, lambda: run.client.open_session("container-run", body))
    write_id(session.container)
    return follow(run, session, standard, stdin=stdin, keys=keys, shown=shown, proxy=proxy)


def with_image(run: Invocation, image: str, flags: Mapping[str, Any], act: Callable[[], T]) -> T:
    """`act`, after a pull where --pull asks for one, or where the image turns out to be absent."""
    wanted = flags.get("pull") or "missing"
    if wanted not in ("always", "missing", "never"):
        raise UsageError(f'--pull "{wanted}" is not always, missing or never')
    if wanted == "always":
        _pull(run, image, flags)
    try:
        return act()
    except RemoteError as error:
        if error.kind != "image-absent" or wanted != "missing":
            raise
    if not flags.get("quiet"):
        run.console.err(f"Unable to find image '{_familiar(image)}' locally")
    _pull(run, image, flags)
    return act()


def _pull(run: Invocation, image: str, flags: Mapping[str, Any]) -> None:
    """Its progress on standard error: the output is the command's."""
    from stackctl.cli.commands.image.registries import transfer

    quiet = bool(flags.get("quiet"))
    body = run.body(reference=image, platform=flags.get("platform"))
    result = transfer(run, "image-pull", body, quiet)
    if not quiet:
        what = "Downloaded newer image for" if result.get("changed") else "Image is up to date for"
        run.console.err(f"Status: {what} {_familiar(image)}")


def _familiar(image: str) -> str:
    from stackctl.model.reference import parse

    try:
        return parse(image).familiar
    except StackctlError:
        return image


def warn(run: Invocation, texts: Sequence[str]) -> None:
    for text in texts:
        print_warning(run.console, str(text))


def streams(attach: Any, *, interactive: bool) -> tuple[bool, tuple[int, ...]]:
    """Whether input is passed on, and which of stdout (1) and stderr (2) are shown."""
    wanted = [str(name).lower() for name in attach]
    for name in wanted:
        if name not in ("stdin", "stdout", "stderr"):
            raise UsageError(f'--attach "{name}" is not stdin, stdout or stderr')
    if not wanted:
        return interactive, (1, 2)
    shown = tuple(n for n, name in ((1, "stdout"), (2, "stderr")) if name in wanted)
    return "stdin" in wanted or (interactive and not shown), shown


def follow(
    run: Invocation,
    session: Any,
    standard: Standard,
    *,
    stdin: bool,
    keys: bytes,
    shown: tuple[int, ...] = (1, 2),
    proxy: bool = True,
) -> int:
    """Copy until it ends, or until the detach keys; signals are passed on."""
    warn(run, session.warnings)

    def pass_on(signum: int) -> None:
        body = {"containers": [session.container], "signal": str(signum)}
        try:
            run.connect(start=False).call("container-kill", body)
        except StackctlError:
            pass  # it has ended; the copying ends as well

    try:
        return interact(
            run.client,
            session,
            standard,
            stdin=stdin,
            keys=keys,
            shown=shown,
            on_signal=pass_on if proxy else None,
            signals=PROXIED,
        )
    except Detached:
        run.console.err("read escape sequence")
        return 0


@contextmanager
def _id_file(path: str | None) -> Iterator[Any]:
    """Gives what writes the id into a file that must not be there; a failure leaves none."""
    if not path:
        yield lambda text: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(
            f"the id file {path} is there already",
            hint="another container's? remove it, or choose another name",
        ) from None
    except OSError as error:
        raise UsageError(f"--cidfile {path}: {error.strerror}") from None
    written = []

    def write(text: str) -> None:
        os.write(descriptor, text.encode())
        written.append(text)

    try:
        yield write
    finally:
        os.close(descriptor)
        if not written:
            os.unlink(path)  # noqa: PTH108


def create(
    ctx: typer.Context, image: options.Image, command: options.ImageCommand = None, **flags: Any
) -> int:
    """Make a container without starting it, and print its id."""
    run = invocation(ctx)
    body = {
        "name": flags.get("name"),
        "wish": wish(image, command or (), flags, run.environment),
        "platform": flags.get("platform"),
    }
    with _id_file(flags.get("cidfile")) as write_id:
        made = with_image(run, image, flags, lambda: run.client.call("container-create", body))
        warn(run, made["warnings"])
        write_id(str(made["container"]))
    run.console.out(str(made["container"]))
    return 0
