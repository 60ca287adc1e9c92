"""The routes of Docker's API: which function answers which method and path.

`{name}` stands for one segment, `{name*}` for one or more (image names have
slashes). A request's first segment finds the few patterns that can match.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from stackctl.api.docker.call import NEWEST, OLDEST, Call, DockerError
from stackctl.api.http import Exchange

Handler = Callable[[Call], Awaitable[None]]

_VERSION = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(?=/)")
_NAME = re.compile(r"\{(\w+)(\*?)\}")


class Table:
    def __init__(self) -> None:
        self._by_family: dict[str, list[tuple[str, re.Pattern[str], Handler]]] = {}

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        expression = _NAME.sub(
            lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", pattern.replace(".", r"\.")
        )
        family = pattern.split("/")[1]
        entry = (method, re.compile(expression), handler)
        self._by_family.setdefault(family, []).append(entry)

    async def __call__(self, exchange: Exchange) -> bool:
        """Answers; False for a path that is none of Docker's. Raises what the handler raises."""
        version, path = split_version(exchange.path)
        other_methods = False
        for method, pattern, handler in self._by_family.get(path.split("/", 2)[1], ()):
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if method == exchange.method:
                check(version)
                await handler(Call(exchange, found.groupdict(), version))
                return True
            other_methods = True
        if other_methods:
            await exchange.respond_json(405, {"message": f"{exchange.method} does not go here"})
        return other_methods


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """The version in front of a path, our newest without one, and the rest."""
    found = _VERSION.match(path)
    if found is None:
        return NEWEST, path
    return (int(found[1]), int(found[2])), path[found.end() :]


def check(version: tuple[int, int]) -> None:
    """Refuses a client that we cannot answer in its own shape."""
    text = ".".join(map(str, version))
    if version < OLDEST:
        raise DockerError(
            400,
            f"client version {text} is too old. Minimum supported API version is "
            f"{OLDEST[0]}.{OLDEST[1]}, please upgrade your client to a newer version",
        )
    if version > NEWEST:
        raise DockerError(
            400,
            f"client version {text} is too new. Maximum supported API version is "
            f"{NEWEST[0]}.{NEWEST[1]}",
        )
