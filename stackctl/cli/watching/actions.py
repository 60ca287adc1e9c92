"""Carries out what a batch of changes asks for, and tells it as messages.

Runs in a thread of its own with a client of its own, so that logs go on while a
service is built. A failure is told and the watching goes on: the next change may mend it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from stackctl.cli.archive import Chunks, pack_each
from stackctl.cli.connection import Client, Message
from stackctl.cli.project import current_directory
from stackctl.cli.session import Demultiplexer
from stackctl.cli.watching.rules import Command, Rule, Work, initial, work
from stackctl.cli.watching.tree import Tree
from stackctl.errors import StackctlError

#: Bytes of a command's output that are looked at when it fails.
_KEPT = 16384
_SHOWN_LINES = 10
#: Paths that one `rm` is given: an argument list has an end.
_PATHS_AT_ONCE = 500


class Watching:
    """`messages` are {"type": "watch", "service", "text", "failed"}, and the engine's own."""

    def __init__(
        self,
        client: Client,
        rules: Sequence[Rule],
        body: Callable[..., Message],
        *,
        prune: bool = True,
    ) -> None:
        """`body` makes a request on the stack. Raises what the tree raises."""
        self._client = client
        self._rules = list(rules)
        self._body = body
        self._prune = prune
        #: Services without a container, of which that has been told.
        self._idle: set[str] = set()
        self.tree = Tree(
            [rule.path for rule in rules], lambda path: all(rule.closes(path) for rule in rules)
        )

    def messages(self) -> Iterator[Message]:
        """Until the tree is told to stop."""
        with closing(self.tree):
            yield from self._guarded(self._copy_all(initial(self._rules)))
            yield _said("", self._enabled())
            for path in self.tree.missing:
                yield _said("", f"{path} does not exist yet: it is watched from when it does")
            for paths in self.tree.batches():
                wanted = work(self._rules, paths)
                if wanted:
                    yield from self._guarded(self._carry_out(wanted))

    def _enabled(self) -> str:
        services = sorted({rule.service for rule in self._rules})
        return f"watching {len(self._rules)} path{'s' * (len(self._rules) != 1)} " + (
            f"for {', '.join(services)}"
        )

    @staticmethod
    def _guarded(messages: Iterator[Message]) -> Iterator[Message]:
        try:
            yield from messages
        except (StackctlError, OSError) as error:
            yield {**_said("", str(error)), "failed": True}
            for line in getattr(error, "details", ()):
                yield {**_said("", line), "failed": True}

    def _carry_out(self, wanted: Work) -> Iterator[Message]:
        if wanted.rebuild:
            yield from self._rebuild(sorted(wanted.rebuild))
        yield from self._copy_all(wanted.sync)
        services = [s for s in sorted(wanted.restart) if self._containers(s, all=True)]
        if services:
            yield from self._client.stream("restart", self._body(services=services))
            for service in services:
                yield _said(service, "restarted")
        for service, commands in wanted.execute.items():
            for command in commands:
                yield from self._execute(service, command)

    def _rebuild(self, services: list[str]) -> Iterator[Message]:
        for service in services:
            yield _said(service, "changed: building it again")
        body = self._body(services=services, detach=True, build=True, no_deps=True)
        changed = False
        for message in self._client.stream("up", body):
            if message["type"] == "result":
                changed = bool(message.get("changed"))
            else:
                yield message
        for service in services:
            yield _said(service, "runs the new image" if changed else "the image is the same")
        if self._prune and changed:
            self._client.call("image-prune", {"labels": []})

    def _copy_all(self, sync: Mapping[str, Mapping[str, str]]) -> Iterator[Message]:
        for service, paths in sync.items():
            containers = self._containers(service)
            if not containers:
                yield from self._not_running(service)
                continue
            self._idle.discard(service)
            gone = [inside for path, inside in paths.items() if not os.path.lexists(path)]
            there = [
                (Path(path), inside.lstrip("/"))
                for path, inside in paths.items()
                if os.path.lexists(path)
            ]
            for container in containers:
                self._remove(container, gone)
                if there:
                    self._client.archive_put(container, "/", Chunks(pack_each(there)))
            copied = [path for path, _ in there if not _is_directory(path)]
            if copied:
                yield _said(service, f"copied {_list(str(path) for path in copied)}")
            if gone:
                yield _said(service, f"removed {_list(gone)}")

    def _not_running(self, service: str) -> Iterator[Message]:
        """Told once, until it has run again."""
        if service not in self._idle:
            self._idle.add(service)
            yield _said(service, "is not running: nothing is copied")

    def _remove(self, container: str, paths: Sequence[str]) -> None:
        for first in range(0, len(paths), _PATHS_AT_ONCE):
            part = paths[first : first + _PATHS_AT_ONCE]
            command = Command(argv=("rm", "-rf", "--", *part), user="0:0")
            code, output = run_inside(self._client, container, command)
            if code:
                raise StackctlError(
                    f"{_list(part)} could not be removed in the container (code {code})",
                    details=_tail(output),
                )

    def _execute(self, service: str, command: Command) -> Iterator[Message]:
        for container in self._containers(service):
            code, output = run_inside(self._client, container, command)
            said = " ".join(command.argv)
            text = f"{said} ended with code {code}" if code else f"ran {said}"
            for line in (text, *_tail(output)):
                yield {**_said(service, line), "failed": bool(code)}

    def _containers(self, service: str, *, all: bool = False) -> list[str]:
        """Ids of those that run, or of all."""
        found = self._client.stream("ps", self._body(services=[service], all=all))
        return [
            str(row["FullID"])
            for row in found
            if row["type"] == "row" and "oneoff=True" not in str(row.get("Labels"))
        ]


def run_inside(client: Client, container: str, command: Command) -> tuple[int, str]:
    """A command in a container without a terminal: its exit code and the end of its output."""
    session = client.open_session(
        "exec",
        {
            "container": container,
            "command": list(command.argv),
            "env": list(command.env),
            "user": command.user,
            "workdir": command.workdir,
            "privileged": command.privileged,
            "exit_frame": True,
        },
    )
    frames, output = Demultiplexer(), bytearray()
    with closing(session.socket) as connection:
        connection.setblocking(True)
        while frames.exit_code is None and (data := connection.recv(65536)):
            for _, part in frames.feed(data):
                output += part
                del output[:-_KEPT]
    code = frames.exit_code
    if code is None:
        code = int(client.call("session-wait", {"id": session.id}).get("exit_code") or 0)
    return code, output.decode(errors="replace")


def _said(service: str, text: str) -> Message:
    return {"type": "watch", "service": service, "text": text}


def _list(paths: Iterable[Any]) -> str:
    """`a, b and 7 more`."""
    names = [str(path) for path in paths]
    shown = ", ".join(_short(name) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _short(path: str) -> str:
    """Relative to where the user is, when it lies there."""
    here = current_directory().rstrip("/") + "/"
    return path.removeprefix(here)


def _tail(output: str) -> tuple[str, ...]:
    return tuple(output.splitlines()[-_SHOWN_LINES:])


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False
