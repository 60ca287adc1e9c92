"""The `build:` of a stack's services as requests to the builder. Pure but for files of secrets."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stackctl.errors import NotFound, StackFileError
from stackctl.model.build import BuildRequest
from stackctl.model.container import Ulimit

SERVICE = "service:"

if TYPE_CHECKING:
    from stackctl.scheduler.desired import Desired
    from stackctl.spec.build import Build
    from stackctl.spec.model import Stack


def wishes(stack: Stack, body: Mapping[str, Any]) -> dict[str, BuildRequest]:
    """By service; those that `body["services"]` names, or all that have a `build`."""
    chosen = list(body.get("services") or ())
    for name in chosen:
        if name not in stack.services:
            raise NotFound(
                f'no such service: "{name}"',
                hint=f"the stack has: {', '.join(sorted(stack.services))}",
            )
    if chosen and body.get("with_dependencies"):
        for name in chosen:
            needs = stack.services[name].depends_on
            chosen += [n for n in needs if n in stack.services and n not in chosen]
    return {
        name: wish(stack, name, body)
        for name, service in stack.services.items()
        if service.build is not None and (not chosen or name in chosen)
    }


def named(stack: Stack) -> Stack:
    """Services that are built and have no `image` get the name that compose gives it."""
    nameless = {
        name: service.model_copy(update={"image": image_name(stack, name)})
        for name, service in stack.services.items()
        if service.build is not None and not service.image
    }
    if not nameless:
        return stack
    return replace(stack, services={**stack.services, **nameless})


def with_builds(desired: Desired, stack: Stack, body: Mapping[str, Any]) -> Desired:
    """The same with each service's build, which is for a container: for this machine alone."""
    found = {n: wish(stack, n, body) for n, s in stack.services.items() if s.build is not None}
    found = {n: replace(w, platforms=_one_of(w.platforms)) for n, w in found.items()}
    if not found:
        return desired
    services = tuple(
        replace(s, build=found[s.name]) if s.name in found else s for s in desired.services
    )
    return replace(desired, services=services)


def image_name(stack: Stack, service: str) -> str:
    """What a service's built image is called: its `image`, or project-service."""
    found = stack.service(service)
    return (found.image if found else "") or stack.named(service)


def _build_of(stack: Stack, name: str) -> Build:
    """Of an enabled service, or of one that another build is based on."""
    service = stack.service(name)
    assert service is not None and service.build is not None, "checked with the file"
    return service.build


def wish(stack: Stack, name: str, body: Mapping[str, Any]) -> BuildRequest:
    build = _build_of(stack, name)
    given = body.get("build_args") or {}
    environment = (body.get("project") or {}).get("environment") or {}
    arguments = {
        key: environment.get(key) if value is None else value for key, value in build.args.items()
    }
    arguments.update(given)
    if "SOURCE_DATE_EPOCH" in environment:
        arguments.setdefault("SOURCE_DATE_EPOCH", environment["SOURCE_DATE_EPOCH"])
    base = stack.project_dir
    context = _path(base, build.context or ".")
    return BuildRequest(
        context=context,
        dockerfile=_dockerfile(context, build.dockerfile or "Dockerfile"),
        text=build.dockerfile_inline.encode() if build.dockerfile_inline else None,
        names=(image_name(stack, name), *build.tags),
        arguments={k: str(v) for k, v in arguments.items() if v is not None},
        target=build.target or "",
        labels={k: str(v) for k, v in build.labels.items()},
        contexts={k: _context(base, v) for k, v in build.additional_contexts.items()},
        secrets=_secrets(stack, name, environment),
        no_cache=bool(build.no_cache or body.get("no_cache")),
        no_cache_stages=tuple(build.no_cache_filter),
        # `up --pull WHEN` is about the images of services, but for "always".
        pull=bool(build.pull) or body.get("pull") in (True, "always"),
        platforms=_platforms(stack, name, build, environment),
        network=build.network or "default",
        privileged=bool(build.privileged),
        extra_hosts=_hosts(build.extra_hosts),
        shm_size=build.shm_size or 0,
        ulimits=tuple(
            Ulimit(name=name, soft=limit.soft, hard=limit.hard)
            for name, limit in build.ulimits.items()
        ),
        ssh={
            **{name: _agent(base, path, environment) for name, path in build.ssh.items()},
            **{key: tuple(map(str, paths)) for key, paths in (body.get("ssh") or {}).items()},
        },
        allow=tuple(build.entitlements),
        place=stack.places("services", name, "build"),
        bases=_bases(stack, name, body),
        cache_from=tuple(_cache(base, c) for c in build.cache_from),
        cache_to=tuple(_cache(base, c) for c in build.cache_to),
    )


def _platforms(
    stack: Stack, name: str, build: Build, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """Raises StackFileError when they lack the one that is usual for the caller."""
    service, usual = stack.service(name), environment.get("DOCKER_DEFAULT_PLATFORM")
    platforms = tuple(build.platforms)
    if usual and platforms and usual not in platforms and not (service and service.platform):
        raise StackFileError(
            f'the build of service "{name}" lacks the platform {usual[:60]}, which '
            "DOCKER_DEFAULT_PLATFORM asks for",
            place=stack.places("services", name, "build", "platforms"),
            hint="add it there, or unset the variable",
        )
    return platforms


def _one_of(platforms: tuple[str, ...]) -> tuple[str, ...]:
    """Of several it is for the machine's own, as with compose, which leaves it to the builder."""
    return platforms if len(platforms) == 1 else ()


def _bases(stack: Stack, name: str, body: Mapping[str, Any]) -> dict[str, BuildRequest]:
    """Services that the build of `name` is based on (additional_contexts: {x: service:name})."""
    build = _build_of(stack, name)
    values = [v for v in build.additional_contexts.values() if v.startswith(SERVICE)]
    others = [value.removeprefix(SERVICE) for value in values]
    return {other: wish(stack, other, body) for other in others}


def _agent(base: str, path: str | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """A key or an agent's socket; without a path the caller's agent (none: RUN is told)."""
    if path:
        return tuple(_path(base, each) for each in path.split(","))
    agent = environment.get("SSH_AUTH_SOCK")
    return (agent,) if agent else ()


def _path(base: str, path: str) -> str:
    if "://" in path or path.startswith(("git@", "github.com/")):
        return path
    return path if path.startswith("/") else f"{base}/{path}"


def _dockerfile(context: str, path: str) -> str:
    """Relative to the context, as in a stack file; absolute when it is outside of it, where
    the builder does not look."""
    found = posixpath.normpath(f"{context}/{path}")
    inside = posixpath.normpath(context).rstrip("/") + "/"
    is_here = context.startswith("/") and not path.startswith("/")
    return found if is_here and not found.startswith(inside) else path


def _context(base: str, value: str) -> str:
    layout = "oci-layout://"
    if value.startswith(layout):
        return layout + _path(base, value.removeprefix(layout))
    return value if value.startswith(SERVICE) else _path(base, value)


def _cache(base: str, text: str) -> str:
    """`type=local,src=DIR` with the directory made absolute."""
    fields = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key in ("src", "dest") and value and not value.startswith("/"):
            value = f"{base}/{value}"
        fields.append(f"{key}{equals}{value}")
    return ",".join(fields)


def _hosts(entries: list[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for entry in entries:
        name, mark, address = entry.partition("=" if "=" in entry else ":")
        if mark:
            found.append((name, address.strip("[]")))
    return tuple(found)


def _secrets(stack: Stack, service: str, environment: Mapping[str, str]) -> dict[str, bytes]:
    build = _build_of(stack, service)
    found = {}
    for each in build.secrets:
        source = each.source or ""
        secret = stack.secrets.get(source)
        if secret is None:
            raise StackFileError(
                f'service "{service}": the secret "{source}" of its build is not defined',
                hint="define it under the top-level `secrets`",
            )
        name = each.target or source
        found[name.rpartition("/")[2] or source] = _content(stack, source, secret, environment)
    return found


def _content(stack: Stack, name: str, secret: Any, environment: Mapping[str, str]) -> bytes:
    from pathlib import Path

    text = stack.contents.get(("secrets", name))
    if text is not None:
        return text.encode("utf-8", "surrogateescape")
    variable = getattr(secret, "environment", None)
    if variable:
        return str(environment.get(variable, "")).encode("utf-8", "surrogateescape")
    file = getattr(secret, "file", None)
    if file:
        try:
            return Path(_path(stack.project_dir, file)).read_bytes()
        except OSError as error:
            raise NotFound(f'the secret "{name}": {file}: {error.strerror}') from None
    content = getattr(secret, "content", None)
    return str(content or "").encode()
