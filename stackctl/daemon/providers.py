"""Services that a program outside provides: compose's protocol of providers.

    PROGRAM compose --project-name=P up --option=value SERVICE
    stdout   {"type": "info" | "error" | "debug" | "setenv" | "rawsetenv", "message": "..."}
             {"type": "get-service-config"}   -> one line of JSON on its stdin

The program is docker's plugin `docker-TYPE`, or TYPE itself, found with the PATH and run
with the environment of whoever asked. What it set for others is remembered in a file a
project, so that a plan knows it without asking and `down` needs no stack file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import asdict, field
from pathlib import Path
from typing import IO, Any

from stackctl.daemon.jobs import EMIT
from stackctl.daemon.program import Program
from stackctl.errors import NotFound, OperationFailed
from stackctl.model.provider import ProviderRequest
from stackctl.state.paths import Paths
from stackctl.values import dataclass

log = logging.getLogger(__name__)

#: The environment of whoever asked for the plan that is carried out.
ASKING: ContextVar[Mapping[str, str] | None] = ContextVar("ASKING", default=None)
_PLUGINS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
#: A program that says nothing about itself within this time has nothing to say (seconds).
_METADATA_LIMIT = 10.0
#: The longest line that is read (bytes), and lines of its errors that are shown, from its end.
_LINE_LIMIT, _SHOWN_LINES, _SHOWN_END = 1 << 20, 10, 1 << 14


@dataclass(slots=True)
class Provided:
    """One provided service: how it was asked for, and what it set for those that depend on it."""

    request: ProviderRequest
    variables: dict[str, str] = field(default_factory=dict)


class Providers:
    """Runs programs and remembers what they said."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.root / "providers"

    def of_project(self, project: str) -> dict[str, Provided]:
        """By service, in the order in which they were asked."""
        try:
            raw = json.loads(self._file(project).read_text())
        except (OSError, ValueError):
            return {}
        found = {}
        for entry in raw:
            options = tuple((str(k), str(v)) for k, v in entry["request"].pop("options"))
            request = ProviderRequest(**entry["request"], options=options)
            found[request.service] = Provided(request, dict(entry["variables"]))
        return found

    async def run(self, request: ProviderRequest, command: str) -> None:
        """`up`, `down` or `stop`. Raises NotFound, OperationFailed."""
        environment = dict(ASKING.get() or os.environ)
        program = _program(request.type, environment)
        described = await _metadata(program, environment)
        if command == "stop" and "stop" not in described:
            return
        arguments = _arguments(request, command, described)
        exchange = _Exchange(request, environment)
        await exchange.run(program, arguments)
        if command == "up":
            self._remember(Provided(request, exchange.variables))
        elif command == "down":
            self._forget(request)

    def _remember(self, provided: Provided) -> None:
        known = self.of_project(provided.request.project)
        self._write(provided.request.project, {**known, provided.request.service: provided})

    def _forget(self, request: ProviderRequest) -> None:
        known = self.of_project(request.project)
        known.pop(request.service, None)
        self._write(request.project, known)

    def _write(self, project: str, known: Mapping[str, Provided]) -> None:
        file = self._file(project)
        if not known:
            file.unlink(missing_ok=True)
            with suppress(OSError):
                self._directory.rmdir()  # others may have theirs in it
            return
        self._directory.mkdir(mode=0o700, exist_ok=True)
        new = file.with_suffix(".new")
        # What programs set may be secret.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as stream:
            json.dump([asdict(provided) for provided in known.values()], stream)
        new.rename(file)

    def _file(self, project: str) -> Path:
        return self._directory / f"{project}.json"


class _Exchange:
    """One run of a program."""

    def __init__(self, request: ProviderRequest, environment: Mapping[str, str]) -> None:
        self._request = request
        self._environment = environment
        self.variables: dict[str, str] = {}

    async def run(self, program: str, arguments: list[str]) -> None:
        # Its errors go to a file: asyncio's wait() is for the end of all pipes as well, and who is
        # left in the background may keep one for ever.
        with tempfile.TemporaryFile() as errors:
            code = await self._converse(program, arguments, errors)
            said = _end_of(errors)
        if code:
            raise self._failed(f"ended with code {code}", said)

    async def _converse(self, program: str, arguments: list[str], errors: IO[bytes]) -> int:
        """Its exit code. Raises OperationFailed."""
        try:
            async with Program(
                [program, *arguments], self._environment, errors=errors, limit=_LINE_LIMIT
            ) as running:
                async for line in running.output:
                    if line.strip():
                        self._heard(line, running.input)
                running.input.close()
                return await running.wait()
        except ValueError as error:
            raise self._failed(f"said something that is too long: {error}") from None
        except OSError as error:
            raise self._failed(f"cannot be run: {error.strerror}") from None

    def _heard(self, line: bytes, stdin: asyncio.WriteTransport) -> None:
        try:
            message = json.loads(line)
            kind, text = str(message["type"]), str(message.get("message", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            shown = line[:200].decode(errors="replace").strip()
            raise self._failed(f"said what is no message: {shown}") from None
        match kind:
            case "info":
                self._tell(text)
            case "debug":
                log.debug("provider of %s: %s", self._request.service, text)
            case "error":
                raise self._failed(text)
            case "setenv" | "rawsetenv":
                name, equals, value = text.partition("=")
                if not equals or not name:
                    raise self._failed(f"set a variable without a value: {text}")
                if kind == "setenv":
                    name = f"{self._request.service.upper()}_{name}"
                self.variables[name] = value
            case "get-service-config":
                stdin.write(self._request.definition.encode() + b"\n")
            case _:
                raise self._failed(f'sent a message of type "{kind}", which nobody knows')

    def _tell(self, text: str) -> None:
        emit = EMIT.get()
        if emit is not None:
            emit({"type": "provider", "service": self._request.service, "text": text})

    def _failed(self, what: str, details: tuple[str, ...] = ()) -> OperationFailed:
        return OperationFailed(
            f'service "{self._request.service}": its provider "{self._request.type}" {what}',
            details=details,
        )


def _end_of(errors: IO[bytes]) -> tuple[str, ...]:
    """The last lines of what it said."""
    errors.seek(max(errors.seek(0, os.SEEK_END) - _SHOWN_END, 0))
    return tuple(errors.read(_SHOWN_END).decode(errors="replace").splitlines()[-_SHOWN_LINES:])


def _program(type_: str, environment: Mapping[str, str]) -> str:
    """Raises NotFound."""
    if "/" in type_:
        if Path(type_).is_file() and os.access(type_, os.X_OK):
            return type_
        raise NotFound(
            f"the provider {type_} is no program",
            hint="make it, a file that may be executed, or name one that is on the PATH",
        )
    home = environment.get("DOCKER_CONFIG") or f"{environment.get('HOME', '')}/.docker"
    for directory in (f"{home}/cli-plugins", *_PLUGINS):
        found = Path(directory, f"docker-{type_}")
        if found.is_file() and os.access(found, os.X_OK):
            return str(found)
    program = shutil.which(type_, path=environment.get("PATH", os.defpath))
    if program is None or type_ == "compose":
        raise NotFound(
            f'there is no program "{type_}" for the provider of that type',
            hint=f"install it somewhere on the PATH, or as a plugin docker-{type_}",
        )
    return program


async def _metadata(program: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the program says about its parameters; {} when it does not."""
    try:
        async with (
            asyncio.timeout(_METADATA_LIMIT),
            Program([program, "compose", "metadata"], environment) as running,
        ):
            running.input.close()
            found = await _object(running.output)
            # A program that answers whatever it is asked has not described itself.
            is_description = any(found.get(key) for key in ("description", "up", "down", "stop"))
            return found if await running.wait() == 0 and is_description else {}
    except (TimeoutError, OSError):
        return {}


async def _object(stream: asyncio.StreamReader) -> dict[str, Any]:
    """The JSON object that comes, {} when something else does; its end is not waited for."""
    read = b""
    while len(read) < _LINE_LIMIT and (more := await stream.read(_LINE_LIMIT)):
        read += more
        with suppress(ValueError):
            found = json.loads(read)
            return found if isinstance(found, dict) else {}
    return {}


def _arguments(request: ProviderRequest, command: str, described: Mapping[str, Any]) -> list[str]:
    """Raises OperationFailed when an option is missing that the program needs."""
    known = (described.get(command) or {}).get("parameters") or []
    given = {name for name, _ in request.options}
    for parameter in known:
        if parameter.get("required") and parameter.get("name") not in given:
            raise OperationFailed(
                f'service "{request.service}": its provider "{request.type}" needs the option '
                f'"{parameter.get("name")}"',
                hint="write it under provider: options:",
            )
    names = {parameter.get("name") for parameter in known}
    flags = [
        f"--{name}={value}" for name, value in request.options if not described or name in names
    ]
    return ["compose", f"--project-name={request.project}", command, *flags, request.service]
