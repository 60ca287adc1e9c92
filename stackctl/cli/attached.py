"""`up` in the foreground: logs of all services until they end, or until the user ends them.

up stream   plan, step..., attached, result; log... and exit... from the first start on
Ctrl-C 1    a `stop` request beside it; logs go on        exit code 130
Ctrl-C 2    a `kill` request
Ctrl-C 3    leave at once; the engine finishes what was asked
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from stackctl.cli.connection import Message
from stackctl.cli.failures import INTERRUPTED
from stackctl.cli.feed import Ended, Event, Feed, Interrupted, Said
from stackctl.cli.invocation import Invocation
from stackctl.cli.output import chosen
from stackctl.cli.output.console import BOLD
from stackctl.cli.output.containers import full_id, replicas
from stackctl.cli.output.errors import print_error
from stackctl.cli.output.logs import LogPrinter
from stackctl.cli.output.progress import PlainProgress, Progress
from stackctl.cli.output.text import replica_name
from stackctl.cli.output.watching import WatchPrinter
from stackctl.cli.rows import rows
from stackctl.cli.steps import show
from stackctl.cli.watching.actions import Watching
from stackctl.errors import StackctlError

_UP, _STOP, _KILL, _WATCH = "up", "stop", "kill", "watch"
#: With `watch` the logs have no end of their own: after a stop, one comes when they are silent
#: for this time (seconds).
_LAST_WORDS = 0.3


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """The flags of `up` that are about being attached."""

    #: Stop everything when the first container ends ("any"), ends with an error ("failure").
    abort_on: str = ""
    exit_code_from: str = ""
    timeout: float | None = None
    prefix: bool = True
    colour: bool = True
    timestamps: bool = False
    attach: Sequence[str] = ()
    no_attach: Sequence[str] = ()


@dataclass
class _State:
    """What has happened so far."""

    interrupts: int = 0
    stopping: bool = False
    #: The exit code of the first container that ended.
    first: int | None = None
    #: A pre_stop hook did not do what it should have.
    failed_hooks: bool = False
    attached: bool = False
    #: Nothing has been done yet: the engine waits for a file.
    unbegun: bool = False
    #: The exit code of the service that decides, once it has ended.
    decided: int | None = None
    result_code: int = 0
    open: set[str] = field(default_factory=lambda: {_UP})


class AttachedUp:
    """One attached `up`. `run` gives the exit code; raises what the engine raised."""

    def __init__(
        self,
        run: Invocation,
        flags: Attachment,
        services: Sequence[str],
        watching: Watching | None = None,
    ) -> None:
        self._run = run
        self._watching = watching
        self._watched = WatchPrinter(run.console)
        self._flags = flags
        self._services = list(services)
        #: The stack's services that active profiles want.
        self._enabled: list[str] = []
        self._feed = Feed()
        self._state = _State()
        self._progress: Progress = chosen.progress(run.console, run.progress, "up")
        self._stopping = PlainProgress(run.console)
        self._logs = LogPrinter(
            run.console,
            prefix=flags.prefix,
            colour=flags.colour,
            timestamps=flags.timestamps,
            split=True,
        )

    def run(self, body: Message) -> int:
        client = self._run.client
        stream = None
        try:
            # Before the request: a Ctrl-C must not leave services that nobody stops.
            with self._feed.signals(signal.SIGINT, signal.SIGTERM):
                stream = client.stream("up", body)
                self._feed.add(_UP, stream)
                while self._state.open:
                    event = self._feed.next(self._patience())
                    if not self._handle(event):
                        break
        finally:
            self._progress.close()
            if stream is not None:
                stream.close()
        return self._exit_code()

    def _patience(self) -> float | None:
        """How long to wait for the next event; None: for ever."""
        if self._watching is not None and self._state.open == {_UP} and self._state.stopping:
            return _LAST_WORDS
        return None if self._state.attached else self._progress.pace

    def _exit_code(self) -> int:
        if self._state.interrupts:
            return INTERRUPTED
        code = self._state.decided
        if code is None:
            code = self._state.result_code
            if self._flags.exit_code_from and self._state.first is not None:
                # The one that was to decide never ran: no success, whoever ended before.
                code = code or self._state.first or 1
        return code or int(self._state.failed_hooks)

    # -- events

    def _handle(self, event: Event | None) -> bool:
        """False ends it."""
        match event:
            case None if self._state.attached and self._state.stopping:
                return False
            case None:
                self._progress.tick()
            case Interrupted(count=count):
                return self._interrupted(count)
            case Ended(stream=name, error=error):
                self._state.open.discard(name)
                if name == _WATCH and error is None:
                    return True
                if name == _STOP and error is not None and _only_hooks(error):
                    # All is stopped, and may have a last word.
                    print_error(self._run.console, error)
                    self._state.failed_hooks = True
                    return True
                # `up` that was cancelled by our own `stop` fails by that: no news.
                if error is not None and not (name == _UP and self._state.stopping):
                    raise error
            case Said(stream=name, message=message):
                if name == _UP:
                    self._up(message)
                elif name == _WATCH:
                    self._watched.show(message)
                elif message["type"] == "log":  # of a hook
                    self._log(message)
                elif message["type"] != "result":
                    show(self._run, self._stopping, message)
        return True

    def _up(self, message: Message) -> None:
        self._state.unbegun = bool(message.get("unbegun"))
        match message["type"]:
            case "services":
                self._enabled = list(message["services"])
            case "attached":
                self._steps_done(message["containers"])
            case "plan":
                show(self._run, self._progress, message)
                self._expect_starts(message)
            case "log":
                self._progress.above(lambda: self._log(message))
            case "exit":
                self._progress.above(lambda: self._exited(message))
            case "result":
                self._state.result_code = int(message.get("exit_code") or 0)
            case _:
                show(self._run, self._progress, message)

    def _steps_done(self, containers: Collection[str]) -> None:
        """The display gives way to logs, aligned for all that will write: these containers."""
        self._state.attached = True
        self._progress.close()
        # Those that have ended are in it as well: their lines are about to come.
        every = rows(self._run, "ps", self._body(services=[], all=True))
        found = [row for row in every if full_id(row) in containers]
        wanted = [s for row in found if self._is_heard(s := str(row.get("Service")))]
        self._logs.project = self._progress.board.project
        names, services = replicas(found, wanted or ["-"])
        self._logs.expect(names, services)
        if names:
            console = self._run.console
            console.say(console.paint_err(f"attached to {', '.join(names)}", BOLD))
        if self._watching is not None:
            self._feed.add(_WATCH, self._watching.messages())

    def _is_heard(self, service: str) -> bool:
        wanted = not self._flags.attach or service in self._flags.attach
        return wanted and service not in self._flags.no_attach

    def _expect_starts(self, plan: Message) -> None:
        """Those that are about to start may write before all are up."""
        project = self._logs.project = self._progress.board.project
        starting = [
            (str(step["target"]), str(step["service"]))
            for step in plan.get("steps") or ()
            if step["op"] == "StartContainer" and self._is_heard(str(step["service"]))
        ]
        self._logs.expect(
            [replica_name(name, service, project) for name, service in starting],
            {service for _, service in starting},
        )

    def _log(self, message: Message) -> None:
        self._logs.print(message)
        self._run.console.flush()

    def _exited(self, message: Message) -> None:
        console = self._run.console
        code = message.get("code")
        console.flush()
        # An honest "unknown" when the engine could not see the end.
        shown = "an unknown code" if code is None else f"code {code}"
        console.say(f"{self._logs.name(message)} exited with {shown}")
        if message.get("beside"):
            return  # nobody waits for it
        number = 255 if code is None else int(code)
        service = str(message.get("service", ""))
        if self._state.first is None:
            self._state.first = number
        if self._decides(service, number) and self._state.decided is None:
            self._state.decided = number
        if self._aborts(number) and not self._state.stopping:
            what = ", ".join(sorted(self._services)) or "all services"
            console.say(f"stopping {what} because {self._logs.name(message)} ended")
            self._ask(_STOP)

    def _aborts(self, code: int) -> bool:
        on = self._flags.abort_on
        return on == "any" or (on == "failure" and code != 0)

    def _decides(self, service: str, code: int) -> bool:
        """Whether this end gives the command its exit code."""
        if self._flags.exit_code_from:
            return service == self._flags.exit_code_from
        return self._aborts(code)

    def _interrupted(self, count: int) -> bool:
        self._state.interrupts = count
        console = self._run.console
        console.flush()
        if self._state.unbegun:
            return False
        match count:
            case 1:
                self._progress.above(
                    lambda: console.say("stopping gracefully (Ctrl-C again to kill)")
                )
                if not self._state.stopping:
                    self._ask(_STOP)
                return True
            case 2:
                console.say("killing")
                self._ask(_KILL)
                return True
        return False

    def _ask(self, verb: str) -> None:
        """Stop or kill beside the stream of `up`, on a connection of its own."""
        self._state.stopping = True
        # What those that were named depend on goes on, as with compose.
        fields: dict[str, Any] = {"services": sorted(self._services)}
        fields |= {"timeout": self._flags.timeout} if verb == _STOP else {"signal": "SIGKILL"}
        if self._enabled:
            fields["active"] = self._enabled
        client = self._run.connect(start=False)
        self._state.open.add(verb)
        self._feed.add(verb, client.stream(verb, self._body(**fields)))

    def _body(self, **fields: Any) -> Message:
        """Of a request beside that of `up`, which has read the files."""
        return self._run.named(self._progress.board.project).body(**fields)


def _only_hooks(error: BaseException) -> TypeGuard[StackctlError]:
    every = getattr(error, "errors", ()) or (error,)
    return all(isinstance(each, StackctlError) and each.kind == "hook" for each in every)
