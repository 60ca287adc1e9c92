"""The flags of an instruction (`COPY --from=base --link ...`), and the words of RUN --mount.

Pure. A flag that the instruction has not is a mistake, with the closest that it has.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from difflib import get_close_matches

from stackctl.image.build.instructions import MountFlag

#: Keys of `--mount` by type; "from" and others as BuildKit has them.
MOUNT_KEYS = {
    "bind": "target source from readonly",
    "cache": "target source from readonly id sharing mode uid gid",
    "tmpfs": "target size readonly",
    "secret": "target id env required mode uid gid",
    "ssh": "target id required mode uid gid",
}
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
    "type": "type",
}
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class FlagError(ValueError):
    def __init__(self, brief: str, hint: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint


def split(rest: str, escape: str) -> tuple[list[str], str]:
    """The words at the beginning that begin with --, their quotes removed; what follows them."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(rest) and rest[at].isspace():
            at += 1
        if not rest.startswith("--", at):
            return words, rest[at:]
        word, at = _word(rest, at, escape)
        if word == "--":
            return words, rest[at:].lstrip()
        words.append(word)


def _word(rest: str, at: int, escape: str) -> tuple[str, int]:
    parts: list[str] = []
    quote = ""
    while at < len(rest):
        char = rest[at]
        if char == escape and at + 1 < len(rest):
            at += 1
            parts.append(rest[at])
        elif quote:
            if char == quote:
                quote = ""
            else:
                parts.append(char)
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        else:
            parts.append(char)
        at += 1
    return "".join(parts), at


class Flags:
    """Flags by name; several of one name only where `many` says so."""

    def __init__(self, words: Iterable[str], known: str, many: str = "") -> None:
        self._values: dict[str, list[str]] = {}
        names = known.split()
        for word in words:
            name, equals, value = word[2:].partition("=")
            if name not in names:
                close = get_close_matches(name, names, 1)
                raise FlagError(
                    f"unknown flag --{name[:40]}", f"did you mean --{close[0]}?" if close else ""
                )
            if name in self._values and name not in many.split():
                raise FlagError(f"--{name} is given twice")
            self._values.setdefault(name, []).append(value if equals else "\0")

    def text(self, name: str, default: str = "") -> str:
        values = self._values.get(name, [default])
        if values[-1] == "\0":
            raise FlagError(f"--{name} needs a value", f"--{name}=...")
        return values[-1]

    def all(self, name: str) -> tuple[str, ...]:
        if "\0" in self._values.get(name, ()):
            raise FlagError(f"--{name} needs a value", f"--{name}=...")
        return tuple(self._values.get(name, ()))

    def on(self, name: str) -> bool | None:
        """None when it is not given."""
        values = self._values.get(name)
        return None if values is None else boolean(f"--{name}", values[-1].replace("\0", "true"))


def boolean(what: str, text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise FlagError(f"{what} is true or false, not {text[:40]!r}")
    return value


def mount(text: str) -> MountFlag:
    """`type=cache,target=/x,...` into keys by their main name. Raises FlagError."""
    try:
        fields = next(csv.reader([text]), [])
    except csv.Error as error:
        raise FlagError(f"--mount={text[:60]!r} cannot be read: {error}") from None
    pairs: list[tuple[str, str]] = []
    for item in fields:
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        key = _ALIASES.get(key, key)
        if not equals:
            if key not in ("readonly", "readwrite", "required"):
                raise FlagError(f"--mount: {item[:40]!r} is not of the form key=value")
            value = "true"
        if key == "readwrite":
            key = "readonly"
            value = "false" if "$" in value or boolean("--mount: readwrite", value) else "true"
        pairs.append((key, value))
    values = dict(pairs)
    kind = values.pop("type", "bind")
    if kind not in MOUNT_KEYS:
        raise FlagError(
            f"--mount: there is no type {kind[:40]!r}", f"types are {', '.join(MOUNT_KEYS)}"
        )
    allowed = MOUNT_KEYS[kind].split()
    for key in values:
        if key not in allowed:
            raise FlagError(
                f"--mount=type={kind} has no key {key[:40]!r}", f"it has {', '.join(allowed)}"
            )
    if kind not in ("secret", "ssh") and not values.get("target"):
        raise FlagError(f"--mount=type={kind} needs a target")
    if kind == "secret" and not (values.get("id") or values.get("target") or values.get("env")):
        raise FlagError("--mount=type=secret needs an id or a target")
    return MountFlag(kind, tuple(values.items()))


_UNIT = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{0,15})?(?:ns|us|µs|μs|ms|s|m|h))+")
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|μs|ms|s|m|h)")


def duration(name: str, text: str) -> float | None:
    """Seconds of "1m30s"; None for "" and "0" (the default). Raises FlagError."""
    if text in ("", "0"):
        return None
    if not _DURATION.fullmatch(text):
        raise FlagError(f"--{name}={text[:40]!r} is not a duration", "for example 30s or 1m30s")
    seconds = sum(float(n) * _UNIT[u] for n, u in _PIECE.findall(text))
    if 0 < seconds < 0.001:
        raise FlagError(f"--{name} is at least 1ms")
    return seconds or None
