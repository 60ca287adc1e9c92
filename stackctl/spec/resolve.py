"""Validated file -> Stack: names, absolute paths, environment, profiles.

Reads environment files through the function it is given, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Variables
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any, TypeVar

from stackctl.errors import StackFileError
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.model import Network, Places, Service, Stack, StackFile, Volume
from stackctl.spec.nodes import Mapping, mark_at
from stackctl.spec.profiles import is_enabled
from stackctl.spec.service import EnvFile, ServiceNetwork, ServiceVolume

_Resource = TypeVar("_Resource", Network, Volume)
_DEFAULT_MEMBERSHIP = ServiceNetwork.model_validate({})

#: Path, whether it is taken literally, variables -> its variables; None: it does not exist.
ReadEnvFile = Callable[[str, bool, Variables[str, str]], dict[str, str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a file does not say itself."""

    name: str
    directory: str
    files: tuple[str, ...]
    profiles: tuple[str, ...]
    variables: Variables[str, str]
    read_env_file: ReadEnvFile


def resolve(
    file: StackFile, root: Mapping, surroundings: Surroundings, mistakes: Mistakes
) -> Stack:
    """The stack; environment files that are missing or wrong are added to `mistakes`."""
    resolver = _Resolver(root, surroundings, mistakes)
    services = {name: resolver.service(name, s) for name, s in file.services.items()}
    profiles = surroundings.profiles
    return Stack(
        name=surroundings.name,
        services={n: s for n, s in services.items() if is_enabled(s, profiles)},
        disabled={n: s for n, s in services.items() if not is_enabled(s, profiles)},
        networks=resolver.networks(file, services),
        volumes={key: resolver.named(key, v) for key, v in file.volumes.items()},
        extensions=dict(file.model_extra or {}),
        profiles=profiles,
        project_dir=surroundings.directory,
        files=surroundings.files,
        places=Places(root),
    )


def host_path(source: str, directory: str, variables: Variables[str, str]) -> str:
    """An absolute host path: `~` is the caller's home, others start at `directory`."""
    if source == "~" or source.startswith("~/"):
        home = variables.get("HOME") or "/root"
        return normpath(f"{home}/{source[2:]}")
    return normpath(PurePosixPath(directory, source))


class _Resolver:
    def __init__(self, root: Mapping, surroundings: Surroundings, mistakes: Mistakes) -> None:
        self._root = root
        self._around = surroundings
        self._mistakes = mistakes

    def named(self, key: str, resource: _Resource) -> _Resource:
        """The network or volume with its full name."""
        if resource.name:
            return resource
        name = key if resource.external else f"{self._around.name}_{key}"
        return resource.model_copy(update={"name": name})

    def networks(self, file: StackFile, services: dict[str, Service]) -> dict[str, Network]:
        networks = dict(file.networks)
        needs_default = any(
            "default" in s.networks or (not s.networks and not s.network_mode)
            for s in services.values()
        )
        if needs_default:
            networks.setdefault("default", Network.model_validate({}))
        return {key: self.named(key, network) for key, network in networks.items()}

    def service(self, name: str, service: Service) -> Service:
        update: dict[str, Any] = {}
        if service.volumes:
            update["volumes"] = [self._mount(mount) for mount in service.volumes]
        if not service.networks and not service.network_mode:
            update["networks"] = {"default": _DEFAULT_MEMBERSHIP}
        if service.env_file:
            update["env_file"] = []
        environment = self._environment(name, service)
        if environment != service.environment:
            update["environment"] = environment
        return service.model_copy(update=update) if update else service

    def _mount(self, mount: ServiceVolume) -> ServiceVolume:
        if mount.type != "bind" or not mount.source:
            return mount
        source = host_path(mount.source, self._around.directory, self._around.variables)
        return mount.model_copy(update={"source": source})

    def _environment(self, name: str, service: Service) -> dict[str, str | None]:
        """`environment` over its files; a bare name gets the caller's value, if there is one."""
        variables = self._around.variables
        merged: dict[str, str | None] = {}
        for i, env_file in enumerate(service.env_file):
            merged.update(self._env_file(name, i, env_file))
        for key, value in service.environment.items():
            merged[key] = variables.get(key) if value is None else value
        return merged

    def _env_file(self, name: str, index: int, env_file: EnvFile) -> dict[str, str]:
        where = mark_at(self._root, ("services", name, "env_file", index))
        path = host_path(env_file.path, self._around.directory, self._around.variables)
        try:
            found = self._around.read_env_file(
                path, env_file.format == "raw", self._around.variables
            )
        except StackFileError as error:
            self._mistakes.collect(error)
            return {}
        if found is None and env_file.required:
            self._mistakes.add(
                f"the environment file {path} does not exist",
                where,
                hint="create it, or say required: false",
            )
        return found or {}
