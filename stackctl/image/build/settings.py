"""What each instruction does to an image's config (OCI image spec, config). Pure.

A stage's state goes in with an instruction and is changed; files are no business of
this module. Texts are expanded with the stage's arguments and environment.
"""

from __future__ import annotations

import json
import posixpath
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, assert_never

from stackctl.errors import DockerfileError, Place
from stackctl.image.build import instructions as ins
from stackctl.image.build.expansion import WordError, expand, expand_heredoc, expand_words
from stackctl.image.build.makers import Mistake, ports
from stackctl.values import dataclass

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
#: Usable without ARG, passed to RUN, and no part of history or cache.
PROXIES = frozenset(
    name
    for each in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for name in (each, each.upper())
)


@dataclass(slots=True)
class Settings:
    """The config of the image that a stage is becoming, and what only the build knows."""

    config: dict[str, Any] = field(default_factory=dict)
    author: str = ""
    #: Declared in this stage, or in one that it continues, with a value.
    arguments: dict[str, str] = field(default_factory=dict)
    has_command: bool = False

    @property
    def environment(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def variables(self) -> dict[str, str]:
        """For expansion: the environment wins over arguments; PATH always has a value."""
        return {"PATH": DEFAULT_PATH, **self.arguments, **self.environment}

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.config.get("Shell") or DEFAULT_SHELL)

    @property
    def working_dir(self) -> str:
        return self.config.get("WorkingDir") or "/"

    @property
    def user(self) -> str:
        return self.config.get("User") or ""


class Expander:
    """Expands texts of one instruction; a failure carries its place."""

    def __init__(self, settings: Settings, file: str, line: int, escape: str) -> None:
        self._variables: Mapping[str, str] = settings.variables
        self._place = Place(file, line)
        self._escape = escape

    def __call__(self, text: str) -> str:
        try:
            return expand(text, self._variables, self._escape)
        except WordError as error:
            raise self.error(str(error)) from None

    def words(self, text: str) -> tuple[str, ...]:
        try:
            return expand_words(text, self._variables, self._escape)
        except WordError as error:
            raise self.error(str(error)) from None

    def heredoc(self, text: str) -> str:
        """A here-document's body: variables and \\$, quotes are ordinary characters."""
        try:
            return expand_heredoc(text, self._variables)
        except WordError as error:
            raise self.error(str(error)) from None

    def error(self, brief: str, hint: str = "") -> DockerfileError:
        return DockerfileError(brief, hint=hint, place=self._place)


Configuring = (
    ins.Env
    | ins.Label
    | ins.Cmd
    | ins.Entrypoint
    | ins.Shell
    | ins.User
    | ins.Volume
    | ins.Expose
    | ins.StopSignal
    | ins.HealthCheck
    | ins.Maintainer
    | ins.OnBuild
)


def configure(settings: Settings, instruction: Configuring, text: Expander) -> None:
    """Carry out an instruction that changes nothing but the config. Raises DockerfileError."""
    config = settings.config
    match instruction:
        case ins.Env(pairs=pairs):
            # All values see the environment as it was before.
            for name, value in [(text(n), text(v)) for n, v in pairs]:
                set_variable(config, name, value)
        case ins.Label(pairs=pairs):
            labels = {text(name): text(value) for name, value in pairs}
            config["Labels"] = {**(config.get("Labels") or {}), **labels}
        case ins.Cmd(command=command):
            config["Cmd"] = argv(command, settings.shell)
            settings.has_command = True
        case ins.Entrypoint(command=command):
            config["Entrypoint"] = argv(command, settings.shell)
            if not settings.has_command:
                # The base's command was for the base's entrypoint.
                config.pop("Cmd", None)
        case ins.Shell(argv=shell):
            config["Shell"] = list(shell)
        case ins.User(user=user):
            config["User"] = text(user)
        case ins.Volume(paths=paths):
            for path in (text(p) for p in paths):
                if not path:
                    raise text.error("a volume's path cannot be empty")
                config.setdefault("Volumes", {})[path] = {}
        case ins.Expose(ports=words):
            _expose(config, words, text)
        case ins.StopSignal(signal=name):
            config["StopSignal"] = _signal(text(name), text)
        case ins.HealthCheck():
            config["Healthcheck"] = _health(instruction)
        case ins.Maintainer(author=author):
            settings.author = author
        case ins.OnBuild(trigger=trigger):
            config["OnBuild"] = [*(config.get("OnBuild") or ()), trigger]
        case _:
            assert_never(instruction)


def set_variable(config: dict[str, Any], name: str, value: str) -> None:
    """In its old place when the environment has it already."""
    environment: list[str] = list(config.get("Env") or ())
    entry = f"{name}={value}"
    for index, pair in enumerate(environment):
        if pair.partition("=")[0] == name:
            environment[index] = entry
            break
    else:
        environment.append(entry)
    config["Env"] = environment


def argv(command: ins.Command, shell: Sequence[str]) -> list[str]:
    match command:
        case ins.ExecForm(words):
            return list(words)
        case ins.ShellForm(text):
            return [*shell, text]
        case _:
            assert_never(command)


def absolute(working_dir: str, path: str) -> str:
    """`path` in the image as seen from the working directory, normalised."""
    return posixpath.normpath("/" + posixpath.join(working_dir, path).lstrip("/"))


def _expose(config: dict[str, Any], words: Sequence[str], text: Expander) -> None:
    for word in [expanded for raw in words for expanded in text.words(raw)]:
        try:
            for port in ports(word):
                config.setdefault("ExposedPorts", {})[port] = {}
        except Mistake as mistake:
            raise text.error(mistake.brief, mistake.hint) from None


def _signal(name: str, text: Expander) -> str:
    plain = name.upper().removeprefix("SIG")
    known = f"SIG{plain}" in signal.Signals.__members__
    realtime = re.fullmatch(r"RTMIN(\+[0-9]{1,2})?|RTMAX(-[0-9]{1,2})?", plain)
    number = plain.isdecimal() and 0 < int(plain) < signal.NSIG
    if not (known or realtime or number):
        raise text.error(f"{name[:40]!r} is not a signal", "for example SIGTERM or 15")
    return name


def _health(check: ins.HealthCheck) -> dict[str, Any]:
    found: dict[str, Any] = {"Test": list(check.test)}
    for key, seconds in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if seconds:
            found[key] = round(seconds * 1e9)
    if check.retries:
        found["Retries"] = check.retries
    return found


def declare(
    settings: Settings,
    instruction: ins.Arg,
    given: Mapping[str, str],
    outer: Mapping[str, str],
    text: Expander,
) -> None:
    """ARG: the value that was given, else the default, else that of the global ARG."""
    for name, default in instruction.pairs:
        if name in given:
            settings.arguments[name] = given[name]
        elif default is not None:
            settings.arguments[name] = text(default)
        elif name in outer:
            settings.arguments[name] = outer[name]


def shown(
    instruction: ins.Instruction, settings: Settings, text: Callable[[str], str] = str
) -> str:
    """How history tells what was carried out, as BuildKit writes it: with its values."""
    if isinstance(instruction, ins.Run):
        words = argv(instruction.command, settings.shell)
        names = sorted(n for n in settings.arguments if n not in PROXIES)
        given = "".join(f"{n}={settings.arguments[n]} " for n in names)
        count = f"|{len(names)} {given}" if names else ""
        return f"RUN {count}{' '.join(words)} # buildkit"
    if isinstance(instruction, ins.Cmd | ins.Entrypoint):
        word = "CMD" if isinstance(instruction, ins.Cmd) else "ENTRYPOINT"
        return f"{word} {json.dumps(argv(instruction.command, settings.shell))}"
    config = settings.config
    match instruction:
        case ins.Env(pairs=pairs):
            values = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
            names = [text(name) for name, _ in pairs]
            return _told("ENV", names, values)
        case ins.Label(pairs=pairs):
            names = [text(name) for name, _ in pairs]
            return _told("LABEL", names, config.get("Labels") or {})
        case ins.User():
            return f"USER {config.get('User') or ''}"
        case ins.StopSignal():
            return f"STOPSIGNAL {config.get('StopSignal') or ''}"
        case ins.Workdir():
            return f"WORKDIR {config.get('WorkingDir') or '/'} # buildkit"
        case ins.Copy():
            return f"{instruction.text} # buildkit"
    return instruction.text


def _told(word: str, names: Sequence[str], values: Mapping[str, str]) -> str:
    """Names with the values that they got. (One that ENV made of variables of the same ENV
    is another name by now.)"""
    return " ".join((word, *(f"{name}={values.get(name, '')}" for name in names)))
