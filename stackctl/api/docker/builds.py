"""/build: an image from a context that is sent along, with the classic builder's messages."""

from __future__ import annotations

import json

from stackctl.api.docker.call import Call, DockerError, moment
from stackctl.api.docker.images import decoded
from stackctl.api.docker.port import Cached, DockerEngine, Message
from stackctl.api.docker.table import Table
from stackctl.daemon.inspection import timestamp
from stackctl.daemon.wish import HOST_CONFIG, checked
from stackctl.errors import CommandFailed, StackctlError, StackFileError, UsageError
from stackctl.model.build import BuildRequest
from stackctl.model.container import Ulimit

_PRUNE_FILTERS = ("description", "id", "inuse", "parent", "private", "shared", "type", "until")
#: How much of the cache shall stay, by the names of several versions.
_KEPT = ("keep-storage", "reserved-space", "max-used-space")
#: What a RUN may be in.
_NETWORKS = ("default", "bridge", "none", "host")
_LIMITS = ("memory", "memswap", "cpushares", "cpusetcpus", "cpuperiod", "cpuquota")
#: Parameters that change nothing, and why; who sets one is told.
_NO_EFFECT = {
    **dict.fromkeys(_LIMITS, "what a RUN may use is not limited"),
    "cgroupparent": "what a RUN may use is not limited",
    "cachefrom": "steps are looked for in this engine's own cache",
    "squash": "each step keeps its layer",
    "securityopt": "a RUN has the usual protection",
    "isolation": "it is for Windows",
}


class BuildRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("POST", "/build", self.build)
        table.add("POST", "/build/prune", self.build_prune)

    async def build(self, call: Call) -> None:
        if call.text("version") == "2":
            raise DockerError(400, "BuildKit sessions are not spoken: set DOCKER_BUILDKIT=0")
        request = build_request(call)
        messages = self._engine.images.build(call.exchange.chunks(), request, registries(call))
        quiet = call.flag("q")
        started = False
        try:
            async for message in messages:
                if not started:
                    call.stream()
                    started = True
                    for text in () if quiet else without_effect(call):
                        await call.line({"stream": f"[Warning] {text}\n"})
                if not quiet:
                    await call.line(message)
                elif "aux" in message:
                    await call.line({"stream": f"{message['aux']['ID']}\n"})
        except StackctlError as error:
            if not started and isinstance(error, StackFileError | UsageError):
                # What is wrong with the file, or the request, is found before any step.
                raise DockerError(400, "\n".join((str(error), *error.details))) from error
            # The classic builder's answer has begun when its first step has.
            if not started:
                call.stream()
            await call.line(_build_failed(error))
        await call.exchange.end()

    async def build_prune(self, call: Call) -> None:
        """`all` changes nothing: there are no images of a builder's own that it would spare."""
        if call.number("min-free-space"):
            raise DockerError(400, "min-free-space is not supported: use max-used-space")
        keep = max(call.number(name) or 0 for name in _KEPT)
        filters = call.filters(_PRUNE_FILTERS)
        limit = min((moment(text) for text in filters["until"]), default=float("inf"))

        def wanted(row: Cached) -> bool:
            return (
                row.used < limit
                and ("id" not in filters or any(row.id.startswith(i) for i in filters["id"]))
                and filters.exact("type", row.kind)
                and filters.matches("description", row.layer)
                and filters.one("shared", default=row.shared) is row.shared
                and filters.one("private", default=not row.shared) is not row.shared
                and not filters.one("inuse", default=False)
                and "parent" not in filters
            )

        gone = await self._engine.images.prune_build_cache(wanted, keep)
        await call.reply({"CachesDeleted": gone.ids, "SpaceReclaimed": gone.freed})


def cached(row: Cached) -> Message:
    """One of BuildCache in GET /system/df."""
    return {
        "ID": row.id,
        "Type": row.kind,
        "Description": row.layer,
        "InUse": False,
        "Shared": row.shared,
        "Size": row.size,
        "CreatedAt": timestamp(row.created),
        "LastUsedAt": timestamp(row.used),
        "UsageCount": 1,
    }


def _build_failed(error: StackctlError) -> Message:
    """The last message of a build; of a command that failed in the words that clients look for."""
    if isinstance(error, CommandFailed):
        text = f"The command '{' '.join(error.command)}' returned a non-zero code: {error.code}"
        return {"errorDetail": {"code": error.code, "message": text}, "error": text}
    text = "\n".join((str(error), *error.details))
    return {"errorDetail": {"message": text}, "error": text}


def build_request(call: Call) -> BuildRequest:
    """The query of POST /build. DockerError (400)."""
    hosts = (text.partition(":") for text in call.text("extrahosts").split(",") if text)
    arguments = _texts(call, "buildargs")
    remote = call.text("remote")
    if remote:
        # Late: few builds have one, and all of Docker's routes are loaded with the first.
        from stackctl.image.build.remote import is_remote

        if not is_remote(remote):
            raise DockerError(400, f'remote "{remote}": neither a Git repository nor HTTP')
    network = call.text("networkmode") or "default"
    if network not in _NETWORKS:
        raise DockerError(400, f'networkmode "{network}": a RUN has one of {", ".join(_NETWORKS)}')
    return BuildRequest(
        context=remote,
        dockerfile=call.text("dockerfile") or "Dockerfile",
        names=tuple(name for name in call.texts("t") if name),
        arguments={name: value for name, value in arguments.items() if value is not None},
        target=call.text("target"),
        labels={name: value or "" for name, value in _texts(call, "labels").items()},
        no_cache=call.flag("nocache"),
        pull=call.flag("pull"),
        platforms=tuple(p for p in call.text("platform").split(",") if p),
        network="default" if network == "bridge" else network,
        extra_hosts=tuple((name, address) for name, _, address in hosts),
        shm_size=call.number("shmsize") or 0,
        ulimits=_ulimits(call),
    )


def registries(call: Call) -> dict[str, dict[str, str]]:
    """X-Registry-Config: credentials by the registry's address, as clients keep them."""
    raw = decoded(call, "X-Registry-Config")
    for address, auth in raw.items():
        if not isinstance(auth, dict):
            raise DockerError(400, f"X-Registry-Config: {address} is not an object")
    return {str(a): {str(k): str(v) for k, v in auth.items() if v} for a, auth in raw.items()}


def without_effect(call: Call) -> list[str]:
    """What the request asks for and no build here does."""
    return [
        f"{name} has no effect: {reason}"
        for name, reason in _NO_EFFECT.items()
        if call.text(name) not in ("", "0", "-1", "[]", "null", "default", "false")
    ]


def _ulimits(call: Call) -> tuple[Ulimit, ...]:
    try:
        raw = json.loads(call.text("ulimits") or "[]") or []
    except (ValueError, RecursionError):
        raise DockerError(400, "ulimits is not JSON") from None
    checked({"Ulimits": raw}, HOST_CONFIG)
    return tuple(Ulimit(name=u["Name"], soft=u["Soft"], hard=u["Hard"]) for u in raw)


def _texts(call: Call, name: str) -> dict[str, str | None]:
    try:
        raw = json.loads(call.text(name) or "{}") or {}
    except (ValueError, RecursionError):
        raise DockerError(400, f"{name} is not JSON") from None
    if not isinstance(raw, dict):
        raise DockerError(400, f"{name} is not an object")
    return {str(k): None if v is None else str(v) for k, v in raw.items()}
