"""One line of a Dockerfile -> its instruction: flags, words, pairs, commands, and their mistakes.

Nothing is expanded; words are looked at as far as they can be without any value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

from stackctl.image.build import instructions as ins
from stackctl.image.build.expansion import WordError, expand, raw_words
from stackctl.image.build.flags import Flags, duration, mount
from stackctl.image.build.flags import split as split_flags
from stackctl.image.build.lines import Line, heredoc_word, json_words

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
#: An address and a port of the host may stand before it, as in `-p`; they mean nothing here.
PUBLISHED = re.compile(r"(?:[0-9.]+:|\[[0-9a-fA-F:.]+\]:)?(?:[0-9]{1,5}(?:-[0-9]{1,5})?)?:")
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([A-Za-z]+))?")


class Mistake(ValueError):
    """What is wrong with one instruction."""

    def __init__(self, brief: str, hint: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint


def instruction(line: Line, escape: str) -> ins.From | ins.StageInstruction:
    """One line. Raises Mistake or FlagError."""
    make = _MAKERS.get(line.word)
    if make is None:
        close = get_close_matches(line.word[:40], _MAKERS, 1)
        raise Mistake(
            f"unknown instruction {line.word[:40]}", f"did you mean {close[0]}?" if close else ""
        )
    words, rest = split_flags(line.rest, escape)
    flags = Flags(words, *_FLAGS.get(line.word, ("",)))
    if not rest and line.word not in ("CMD", "ENTRYPOINT"):
        raise Mistake(f"{line.word} needs something after it")
    found = make(_Given(line, flags, rest, escape))
    if not isinstance(found, ins.Shell | ins.HealthCheck | ins.Cmd | ins.Entrypoint):
        _check_words(found, rest, escape)
    return found


def _check_words(found: ins.Instruction, rest: str, escape: str) -> None:
    """Quotes and ${...} are checked here, where the other mistakes are."""
    if isinstance(found, ins.Run | ins.Maintainer | ins.OnBuild):
        return
    if isinstance(found, ins.Copy) and json_words(rest) is not None:
        texts: tuple[str, ...] = (*found.sources, found.destination)
    else:
        texts = (rest,)
    for text in texts:
        try:
            expand(text, _Anything(), escape)
        except WordError as error:
            raise Mistake(str(error), "check its quotes and braces") from None


class _Anything(dict[str, str]):
    """Every variable is set: only the form of words is looked at."""

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: object = None) -> str:
        return "x"


class _Given:
    """What a maker works from."""

    def __init__(self, line: Line, flags: Flags, rest: str, escape: str) -> None:
        self.line = line
        self.flags = flags
        self.rest = rest
        self.escape = escape
        self.first = line.first
        self.last = line.last
        self.text = line.text

    def command(self) -> ins.Command:
        argv = self.json()
        if argv is not None:
            return ins.ExecForm(argv)
        return ins.ShellForm(self.rest, self.line.heredocs)

    def json(self) -> tuple[str, ...] | None:
        found = json_words(self.rest)
        if found is None:
            return None
        texts = tuple(word for word in found if isinstance(word, str))
        if len(texts) != len(found):
            raise Mistake(
                "every element of the JSON form must be a string", 'for example ["sleep", "5"]'
            )
        # A lone surrogate ("\\ud800") is no character of any file or program.
        texts = tuple(t.encode("utf-8", "replace").decode() for t in texts)
        if any("\0" in text for text in texts):
            raise Mistake("there is a NUL character in it")
        return texts

    def elements(self) -> tuple[str, ...]:
        """JSON or words at spaces, not yet expanded."""
        found = self.json()
        return tuple(self.rest.split()) if found is None else found

    def words(self) -> list[str]:
        """At spaces that are neither quoted nor escaped; quotes are kept."""
        words, word, quote, at = [], "", "", 0
        rest = self.rest
        while at < len(rest):
            char = rest[at]
            if char == self.escape and quote != "'" and at + 1 < len(rest):
                word += rest[at : at + 2]
                at += 2
                continue
            if not quote and char.isspace():
                if word:
                    words.append(word)
                word = ""
            else:
                word += char
                if quote == char:
                    quote = ""
                elif not quote and char in "'\"":
                    quote = char
            at += 1
        return [*words, word] if word else words

    def pairs(self) -> ins.Pairs:
        """KEY=value ..., or the old form KEY value."""
        words = self.words()
        if "=" not in words[0]:
            name, _, value = self.rest.strip().partition(" ")
            found = re.match(r"(\S+)\s+(.*)", self.rest, re.DOTALL)
            if found is None:
                raise Mistake(f"{self.line.word} {name} has no value", "write NAME=value")
            return ((found[1], found[2].rstrip()),)
        pairs = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                raise Mistake(
                    f"{word[:60]!r} is not of the form name=value",
                    "a value with spaces needs quotes",
                )
            if not name:
                raise Mistake(f"{word[:60]!r} has no name before =")
            pairs.append((name, value))
        return tuple(pairs)


def _from(given: _Given) -> ins.From:
    words = given.rest.split()
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise Mistake(
                f"{words[2][:60]!r} is not a name for a stage",
                "letters, digits, -, _ and ., beginning with a letter",
            )
    elif len(words) != 1:
        raise Mistake("FROM takes an image, or `image AS name`")
    return ins.From(
        first=given.first,
        last=given.last,
        text=given.text,
        image=words[0],
        name=name,
        platform=given.flags.text("platform"),
    )


def _arg(given: _Given) -> ins.Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in given.words():
        name, equals, value = word.partition("=")
        if not _VARIABLE.fullmatch(name):
            raise Mistake(f"{name[:60]!r} is not a name for an argument")
        pairs.append((name, value if equals else None))
    return ins.Arg(first=given.first, last=given.last, text=given.text, pairs=tuple(pairs))


def _env(given: _Given) -> ins.Env:
    return ins.Env(first=given.first, last=given.last, text=given.text, pairs=given.pairs())


def _label(given: _Given) -> ins.Label:
    return ins.Label(first=given.first, last=given.last, text=given.text, pairs=given.pairs())


def _copy(given: _Given) -> ins.Copy:
    flags, name = given.flags, given.line.word
    words = given.json()
    heredocs = list(given.line.heredocs)
    if words is None:
        words = tuple(given.rest.split())
        if heredocs:
            # Quoted names have no spaces: raw words and split words fall together.
            words = tuple(w for w in raw_words(given.rest) if heredoc_word(w) is None)
    if len(words) + len(heredocs) < 2 or not words:
        raise Mistake(f"{name} needs at least one source, and a destination")
    *sources, destination = words
    if len(sources) + len(heredocs) > 1 and not _is_directory(destination):
        raise Mistake(
            f"several sources need a directory as destination, and {destination[:60]!r} is none",
            f"write it with a slash at its end: {destination[:60]}/",
        )
    link, parents, unpack = flags.on("link"), flags.on("parents"), flags.on("unpack")
    return ins.Copy(
        first=given.first,
        last=given.last,
        text=given.text,
        sources=tuple(sources),
        destination=destination,
        heredocs=tuple(heredocs),
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=_chmod(flags.text("chmod")),
        link=bool(link),
        parents=bool(parents),
        exclude=flags.all("exclude"),
        add=name == "ADD",
        checksum=_checksum(flags.text("checksum")),
        keep_git_dir=bool(flags.on("keep-git-dir")),
        unpack=unpack,
    )


def _is_directory(destination: str) -> bool:
    return (
        destination in (".", "..")
        or destination.endswith(("/", "/.", "/.."))
        or ("$" in destination)
    )


def _chmod(text: str) -> str:
    if (
        text
        and "$" not in text
        and not re.fullmatch(
            r"[0-7]{1,5}|[ugoa]*(?:[-+=][rwxXst]*)+(?:,[ugoa]*(?:[-+=][rwxXst]*)+)*", text
        )
    ):
        raise Mistake(f"--chmod={text[:40]!r} is not a mode", "for example 755 or u=rw,go=r")
    return text


def _checksum(text: str) -> str:
    if text and "$" not in text and not (CHECKSUM.fullmatch(text) or _COMMIT.fullmatch(text)):
        raise Mistake(
            "--checksum is sha256: and 64 lower-case hexadecimal digits, or a commit of Git"
        )
    return text


def _run(given: _Given) -> ins.Run:
    network = given.flags.text("network", "default")
    if network not in ("default", "none", "host"):
        raise Mistake(f"--network is default, none or host, not {network[:40]!r}")
    security = given.flags.text("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        raise Mistake(f"--security is sandbox or insecure, not {security[:40]!r}")
    command = given.command()
    if command == ins.ExecForm(()):
        raise Mistake("RUN [] has nothing to run")
    return ins.Run(
        first=given.first,
        last=given.last,
        text=given.text,
        command=command,
        mounts=tuple(mount(text) for text in given.flags.all("mount")),
        network=network,
        security=security,
    )


def _cmd(given: _Given) -> ins.Cmd:
    command = given.command() if given.rest else ins.ExecForm(())
    return ins.Cmd(first=given.first, last=given.last, text=given.text, command=command)


def _entrypoint(given: _Given) -> ins.Entrypoint:
    command = given.command() if given.rest else ins.ExecForm(())
    return ins.Entrypoint(first=given.first, last=given.last, text=given.text, command=command)


def _shell(given: _Given) -> ins.Shell:
    argv = given.json()
    if not argv:
        raise Mistake("SHELL takes the JSON form", 'for example SHELL ["/bin/bash", "-c"]')
    return ins.Shell(first=given.first, last=given.last, text=given.text, argv=argv)


def _workdir(given: _Given) -> ins.Workdir:
    return ins.Workdir(first=given.first, last=given.last, text=given.text, path=given.rest)


def _user(given: _Given) -> ins.User:
    return ins.User(first=given.first, last=given.last, text=given.text, user=given.rest)


def _volume(given: _Given) -> ins.Volume:
    paths = given.elements()
    if not paths or any(not path for path in paths):
        raise Mistake("a volume's path cannot be empty")
    return ins.Volume(first=given.first, last=given.last, text=given.text, paths=paths)


def _expose(given: _Given) -> ins.Expose:
    words = tuple(given.rest.split())
    for word in words:
        if "$" not in word:
            ports(word)
    return ins.Expose(first=given.first, last=given.last, text=given.text, ports=words)


def ports(word: str) -> tuple[str, ...]:
    """ "8000-8001/udp" -> ("8000/udp", "8001/udp"). Raises Mistake."""
    before = PUBLISHED.match(word)
    found = _PORT.fullmatch(word, before.end() if before else 0)
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        protocol = (found[3] or "tcp").lower()
        if 0 < first <= last < 65536 and protocol in ("tcp", "udp", "sctp"):
            return tuple(f"{port}/{protocol}" for port in range(first, last + 1))
    raise Mistake(f"{word[:40]!r} is not a port", "for example 80, 53/udp or 8000-8010")


def _stop_signal(given: _Given) -> ins.StopSignal:
    return ins.StopSignal(first=given.first, last=given.last, text=given.text, signal=given.rest)


def _health(given: _Given) -> ins.HealthCheck:
    kind, _, rest = given.rest.partition(" ")
    flags = given.flags
    match kind.upper():
        case "NONE":
            if rest.strip():
                raise Mistake("HEALTHCHECK NONE takes nothing after it")
            test: tuple[str, ...] = ("NONE",)
        case "CMD":
            given.rest = rest.strip()
            if not given.rest:
                raise Mistake("HEALTHCHECK CMD needs a command")
            command = given.command()
            match command:
                case ins.ExecForm(argv):
                    if not argv:
                        raise Mistake("HEALTHCHECK CMD needs a command")
                    test = ("CMD", *argv)
                case ins.ShellForm(text):
                    test = ("CMD-SHELL", text)
        case _:
            raise Mistake(
                f"HEALTHCHECK takes NONE or CMD, not {kind[:40]!r}",
                "for example HEALTHCHECK CMD curl -f http://localhost/",
            )
    retries = flags.text("retries", "0") or "0"
    if not re.fullmatch(r"[0-9]{1,6}", retries):
        raise Mistake(f"--retries is a number, not {retries[:40]!r}")
    return ins.HealthCheck(
        first=given.first,
        last=given.last,
        text=given.text,
        test=test,
        interval=duration("interval", flags.text("interval")),
        timeout=duration("timeout", flags.text("timeout")),
        start_period=duration("start-period", flags.text("start-period")),
        start_interval=duration("start-interval", flags.text("start-interval")),
        retries=int(retries) or None,
    )


def _maintainer(given: _Given) -> ins.Maintainer:
    return ins.Maintainer(first=given.first, last=given.last, text=given.text, author=given.rest)


def _on_build(given: _Given) -> ins.OnBuild:
    word, _, rest = given.rest.partition(" ")
    if word.upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise Mistake(f"ONBUILD {word.upper()} is not allowed")
    line = given.line
    inner = Line(word.upper(), rest.strip(), line.first, line.last, line.heredocs)
    instruction(inner, given.escape)
    bodies = "".join(f"\n{h.content}{h.name}" for h in line.heredocs)
    return ins.OnBuild(
        first=given.first, last=given.last, text=given.text, trigger=given.rest + bodies
    )


_MAKERS: dict[str, Callable[[_Given], ins.From | ins.StageInstruction]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": _env,
    "LABEL": _label,
    "COPY": _copy,
    "ADD": _copy,
    "RUN": _run,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "SHELL": _shell,
    "WORKDIR": _workdir,
    "USER": _user,
    "VOLUME": _volume,
    "EXPOSE": _expose,
    "STOPSIGNAL": _stop_signal,
    "HEALTHCHECK": _health,
    "MAINTAINER": _maintainer,
    "ONBUILD": _on_build,
}

#: Flags of each instruction, and which of them may be given several times.
_FLAGS: dict[str, tuple[str, str]] = {
    "FROM": ("platform", ""),
    "COPY": ("from chown chmod link parents exclude", "exclude"),
    "ADD": ("chown chmod link exclude checksum keep-git-dir unpack", "exclude"),
    "RUN": ("mount network security", "mount"),
    "HEALTHCHECK": ("interval timeout start-period start-interval retries", ""),
}
