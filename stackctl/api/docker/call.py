"""One request in Docker's terms: version, parameters, filters, and its failures."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stackctl.api.http import Exchange, Headers
from stackctl.errors import StackctlError, UsageError

if TYPE_CHECKING:
    from stackctl.daemon.patterns import Pattern

#: What we speak, and the oldest that we answer.
NEWEST = (1, 51)
OLDEST = (1, 24)

_HALF = re.compile("[\ud800-\udfff]")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
_SECONDS = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]*)?")
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class DockerError(StackctlError):
    """A failure in the words and with the status that Docker's clients look for."""

    kind = "docker"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotModified(StackctlError):
    """Already as it was asked for: 304, without a body."""

    status = 304


def not_implemented(what: str) -> DockerError:
    return DockerError(501, f"{what} is not implemented")


class Call:
    """A request, its path's parameters and the version that the client speaks."""

    def __init__(
        self, exchange: Exchange, parameters: Mapping[str, str], version: tuple[int, int]
    ) -> None:
        self.exchange = exchange
        self.parameters = parameters
        self.version = version

    def __getitem__(self, name: str) -> str:
        """A parameter of the path."""
        return self.parameters[name]

    # -- query

    def text(self, name: str, default: str = "") -> str:
        return self.exchange.parameter(name, default)

    def texts(self, name: str) -> list[str]:
        return list(self.exchange.query.get(name, ()))

    def flag(self, name: str, default: bool = False) -> bool:
        return self.exchange.flag(name) if name in self.exchange.query else default

    def number(self, name: str, default: int | None = None) -> int | None:
        text = self.text(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise DockerError(400, f'{name}: "{text}" is not a number') from None

    def moment(self, name: str) -> float:
        """Unix seconds, RFC 3339, or a duration before now; 0.0 when it is missing or 0."""
        text = self.text(name)
        return moment(text) if text else 0.0

    def filters(self, allowed: Collection[str]) -> Filters:
        return Filters.parse(self.text("filters"), allowed)

    # -- body

    async def body(self) -> dict[str, Any]:
        """A JSON object, {} for no body. Another type of content is refused, as by Docker: a web
        page can make a browser send text, but not application/json."""
        kind = self.exchange.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            if kind or await self.exchange.body():
                raise DockerError(
                    400, f"unsupported Content-Type header ({kind}): must be 'application/json'"
                )
            return {}
        return parsed(await self.exchange.body())

    # -- answer

    async def reply(self, value: Any, status: int = 200) -> None:
        await self.exchange.respond_json(status, value)

    async def done(self, status: int = 204) -> None:
        await self.exchange.respond(status)

    def stream(self, content_type: str = "application/json", headers: Headers = ()) -> None:
        """Sends the head at once; the body follows in chunks."""
        self.exchange.begin(200, [("Content-Type", content_type), *headers])

    async def line(self, value: Any) -> None:
        self.exchange.send(json.dumps(value, separators=(",", ":")).encode() + b"\r\n")
        await self.exchange.drain()


def parsed(text: bytes) -> dict[str, Any]:
    """A body as a JSON object; nothing, or null, is an empty one. DockerError (400)."""
    text = text.strip()
    if not text:
        return {}
    try:
        value, end = json.JSONDecoder().raw_decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise DockerError(400, f"invalid JSON: {error}") from None
    if text.decode()[end:].strip():
        raise DockerError(400, "invalid JSON: unexpected content after JSON")
    if not isinstance(value, dict | None):
        raise DockerError(400, "invalid JSON: an object is expected")
    return _of_characters(value) if b"\\u" in text and value else value or {}


def _of_characters(value: Any) -> Any:
    """Half a surrogate pair is no character: U+FFFD takes its place, as in Go's decoder."""
    match value:
        case str():
            return _HALF.sub("\ufffd", value)
        case list():
            return [_of_characters(each) for each in value]
        case dict():
            return {_of_characters(key): _of_characters(each) for key, each in value.items()}
    return value


def moment(text: str) -> float:
    """Raises DockerError (400)."""
    if _SECONDS.fullmatch(text):
        return max(float(text), 0.0)
    if _DURATION.sub("", text) == "":
        return time.time() - sum(float(n) * _UNITS[u] for n, u in _DURATION.findall(text))
    try:
        # Python reads six digits of a second, Docker writes nine.
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError:
        raise DockerError(400, f'"{text}" is not a time') from None


class Filters:
    """What a list is narrowed to: values by name; a name that is missing narrows nothing."""

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._values = values
        #: None for what is no expression.
        self._patterns: dict[str, Pattern | None] = {}

    @classmethod
    def parse(cls, text: str, allowed: Collection[str]) -> Filters:
        """Both shapes: {"label": ["a"]} and {"label": {"a": true}}. DockerError (400)."""
        try:
            raw = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            raise DockerError(400, "invalid filter") from None
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            raise DockerError(400, "invalid filter")
        found: dict[str, tuple[str, ...]] = {}
        for name, values in raw.items():
            if name not in allowed:
                raise DockerError(400, f"invalid filter '{name}'")
            found[name] = _values(name, values)
        return cls(found)

    def __bool__(self) -> bool:
        """Whether anything is narrowed at all."""
        return any(self._values.values())

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self._values.get(name, ())

    def one(self, name: str, default: bool) -> bool:
        """A filter that says yes or no."""
        values = self[name]
        if not values:
            return default
        found = {_truth(name, value) for value in values}
        if len(found) > 1:
            raise DockerError(400, f"invalid filter '{name}={list(values)}'")
        return found.pop()

    def exact(self, name: str, *candidates: str) -> bool:
        return name not in self or any(value in candidates for value in self[name])

    def matches(self, name: str, *candidates: str) -> bool:
        """As a regular expression somewhere in a candidate, or the same text."""
        if name not in self:
            return True
        if not set(candidates).isdisjoint(self[name]):
            return True
        return any(self._found(value, text) for value in self[name] for text in candidates)

    def _found(self, value: str, text: str) -> bool:
        if value not in self._patterns:
            from stackctl.daemon.patterns import Pattern

            try:
                self._patterns[value] = Pattern(value)
            except ValueError:
                self._patterns[value] = None
        pattern = self._patterns[value]
        return value in text if pattern is None else pattern.found_in(text)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """All that are named must be there, KEY or KEY=VALUE."""
        for wanted in self[name]:
            key, equals, value = wanted.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
        return True

    def without_labels(self, labels: Mapping[str, str]) -> bool:
        """`label!`: none of them may be there."""
        for unwanted in self["label!"]:
            key, equals, value = unwanted.partition("=")
            if key in labels and (not equals or labels[key] == value):
                return False
        return True


def _values(name: str, raw: object) -> tuple[str, ...]:
    if isinstance(raw, dict):
        return tuple(str(value) for value, wanted in raw.items() if wanted)
    if isinstance(raw, list):
        return tuple(str(value) for value in raw)
    raise DockerError(400, f"invalid filter '{name}'")


def _truth(name: str, text: str) -> bool:
    match text.lower():
        case "1" | "t" | "true":
            return True
        case "0" | "f" | "false":
            return False
        case _:
            raise DockerError(400, f"invalid filter '{name}={text}'")


def object_at(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A JSON object below `body`; missing or null is empty. UsageError for anything else."""
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{key} is not an object")
    return value


def texts(values: Iterable[object] | None) -> list[str]:
    return [str(value) for value in values or ()]
