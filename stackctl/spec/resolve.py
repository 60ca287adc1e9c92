"""Validated file -> Stack: names, absolute paths, environment, profiles.

Reads environment files through the function it is given, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from collections.abc import Mapping as Variables
from typing import Any, TypeVar

from stackctl.errors import StackFileError
from stackctl.spec.build import Build
from stackctl.spec.dotenv import Unset
from stackctl.spec.existence import tell_missing
from stackctl.spec.implied import implied_dependencies
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.model import (
    Config,
    Network,
    Places,
    Secret,
    Service,
    Stack,
    StackFile,
    Volume,
    files_of,
)
from stackctl.spec.nodes import Mapping, Mark, mark_at
from stackctl.spec.paths import absolute
from stackctl.spec.profiles import is_enabled
from stackctl.spec.project import separator
from stackctl.spec.service import EnvFile, ServiceFile, ServiceNetwork
from stackctl.values import dataclass

_Resource = TypeVar("_Resource", Network, Volume, Secret, Config)
_DEFAULT_MEMBERSHIP = ServiceNetwork.model_validate({})

#: Path, whether it is taken literally, variables, who is told of those that are not set -> its
#: variables; None: it does not exist.
ReadEnvFile = Callable[[str, bool, Variables[str, str], Unset], dict[str, str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a file does not say itself."""

    name: str
    directory: str
    files: tuple[str, ...]
    #: Those that were named in the place of .env.
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...]
    variables: Variables[str, str]
    #: Texts of secrets and configs that were variables of included projects.
    given: Variables[tuple[str, str], str]
    #: By file, what it was filled in with; others with `variables`.
    filled_with: Variables[str, Variables[str, str]]
    read_env_file: ReadEnvFile
    #: Also what no service uses is wanted.
    all_resources: bool = False
    #: What the file leaves out is added: names, the default network, what is implied.
    normalize: bool = True
    #: Files of variables are read, and bare names get their values.
    environment: bool = True
    #: Services whose files have to be there, and right.
    wanted: Collection[str] = ()
    #: The text of a file. Raises StackFileError.
    read_file: Callable[[str], str]
    #: The digest of a file; "" for what is no file.
    digest: Callable[[str], str]


def resolve(
    file: StackFile, root: Mapping, surroundings: Surroundings, mistakes: Mistakes
) -> Stack:
    """The stack; environment files that are missing or wrong are added to `mistakes`."""
    resolver = _Resolver(root, surroundings, mistakes)
    services = {name: resolver.service(name, s) for name, s in file.services.items()}
    profiles = surroundings.profiles
    enabled = {n: s for n, s in services.items() if is_enabled(s, profiles)}
    return Stack(
        name=surroundings.name,
        services=enabled,
        disabled={n: s for n, s in services.items() if not is_enabled(s, profiles)},
        networks=resolver.networks(file, services),
        volumes={key: resolver.named(key, v) for key, v in file.volumes.items()},
        secrets={key: resolver.named(key, s) for key, s in file.secrets.items()},
        configs={key: resolver.named(key, c) for key, c in file.configs.items()},
        models=dict(file.models),
        contents=resolver.contents(file, services),
        copies=resolver.copies(file, services),
        refusals=mistakes.refusals,
        all_resources=surroundings.all_resources,
        extensions=dict(file.model_extra or {}),
        profiles=profiles,
        separator=separator(surroundings.variables),
        project_dir=surroundings.directory,
        files=surroundings.files,
        env_files=surroundings.env_files,
        places=Places(root),
    )


class _Resolver:
    def __init__(self, root: Mapping, surroundings: Surroundings, mistakes: Mistakes) -> None:
        self._root = root
        self._around = surroundings
        self._mistakes = mistakes

    def named(self, key: str, resource: _Resource) -> _Resource:
        """The network, volume, secret or config with its full name."""
        if resource.name or not self._around.normalize:
            return resource
        name = key if resource.external else f"{self._around.name}_{key}"
        return resource.model_copy(update={"name": name})

    def networks(self, file: StackFile, services: dict[str, Service]) -> dict[str, Network]:
        networks = dict(file.networks)
        needs_default = self._around.normalize and any(
            "default" in s.networks or (not s.networks and not s.network_mode)
            for s in services.values()
        )
        if needs_default:
            networks.setdefault("default", Network.model_validate({}))
        return {key: self.named(key, network) for key, network in networks.items()}

    def service(self, name: str, service: Service) -> Service:
        update: dict[str, Any] = self._normal(service) if self._around.normalize else {}
        if service.label_file:
            update |= {"label_file": [], "labels": self._labels(name, service)}
        if any("seccomp" in option for option in service.security_opt):
            update["security_opt"] = [
                self._security_option(name, i, option)
                for i, option in enumerate(service.security_opt)
            ]
        if self._around.environment:
            environment = self._environment(name, service)
            if environment != service.environment:
                update["environment"] = environment
            if service.env_file:
                update["env_file"] = []
        return service.model_copy(update=update) if update else service

    def _normal(self, service: Service) -> dict[str, Any]:
        """What the service takes for granted."""
        update: dict[str, Any] = {}
        if not service.networks and not service.network_mode:
            update["networks"] = {"default": _DEFAULT_MEMBERSHIP}
        if implied := implied_dependencies(service):
            update["depends_on"] = {**implied, **service.depends_on}
        if service.build is not None:
            update["build"] = self._build(service.build)
        if any(secret.target is None for secret in service.secrets):
            update["secrets"] = [_in_its_place(secret) for secret in service.secrets]
        return update

    def _build(self, build: Build) -> Build:
        """With what compose takes for granted, and the values of arguments that are only named."""
        variables = self._around.variables
        update: dict[str, Any] = {
            "context": build.context or self._around.directory,
            "args": {
                key: variables.get(key) if value is None else value
                for key, value in build.args.items()
                if value is not None or key in variables
            },
        }
        if build.dockerfile is None and build.dockerfile_inline is None:
            update["dockerfile"] = "Dockerfile"
        return build.model_copy(update=update)

    def contents(self, file: StackFile, services: dict[str, Service]) -> dict[tuple[str, str], str]:
        """Texts of the secrets and configs that services and their builds use; none for a
        variable not set.
        """
        found: dict[tuple[str, str], str] = {}
        used: list[tuple[tuple[str, str], Secret | Config]] = [
            ((section, item.source), origin)
            for section, item, origin in files_of(file, services.values())
        ]
        for service in services.values():
            for secret in service.build.secrets if service.build else ():
                if secret.source in file.secrets:
                    used.append((("secrets", secret.source), file.secrets[secret.source]))
        for key, origin in used:
            if key in found:
                continue
            text = getattr(origin, "content", None)
            if origin.environment is not None:
                text = self._around.given.get(key, self._around.variables.get(origin.environment))
            if text is not None:
                found[key] = text
        return found

    def copies(self, file: StackFile, services: dict[str, Service]) -> dict[tuple[str, str], str]:
        """Digests of the files that containers get a copy of."""
        paths = {
            (section, item.source): origin.file
            for section, item, origin in files_of(file, services.values())
            if item.is_copy and origin.file
        }
        return {key: self._around.digest(self._absolute(path)) for key, path in paths.items()}

    def _absolute(self, path: str) -> str:
        return absolute(path, self._around.directory, self._around.variables)

    def _known_in(self, where: Mark) -> Variables[str, str]:
        """What a file that is named there may refer to."""
        return self._around.filled_with.get(where[0], self._around.variables)

    def _labels(self, name: str, service: Service) -> dict[str, str]:
        """`labels` over the files of labels."""
        merged: dict[str, str] = {}
        for i, path in enumerate(service.label_file):
            where = mark_at(self._root, ("services", name, "label_file", i))
            try:
                found = self._around.read_env_file(
                    self._absolute(path), False, self._known_in(where), self._mistakes.unset
                )
            except StackFileError as error:
                if name in self._around.wanted:
                    self._mistakes.collect(error, where)
                continue
            if found is None and name in self._around.wanted:
                self._mistakes.add(f"the label file {path} does not exist", where)
            merged.update(found or {})
        return {**merged, **service.labels}

    def _security_option(self, name: str, index: int, option: str) -> str:
        """A file of system call rules becomes its text, as docker's client sends it."""
        head, _, profile = option.replace("=", ":", 1).partition(":")
        if head != "seccomp" or profile in ("unconfined", "builtin") or profile.startswith("{"):
            return option
        path = self._absolute(profile)
        try:
            text = self._around.read_file(path)
            return f"seccomp={json.dumps(json.loads(text), separators=(',', ':'))}"
        except StackFileError as error:
            problem = error.brief
        except ValueError as error:
            problem = f"{path} is not JSON: {error}"
        if name in self._around.wanted:
            where = mark_at(self._root, ("services", name, "security_opt", index))
            self._mistakes.add(problem, where, hint="a seccomp profile in Docker's JSON format")
        return option

    def _environment(self, name: str, service: Service) -> dict[str, str | None]:
        """`environment` over its files; a bare name gets the caller's value, if there is one."""
        variables = self._around.variables
        merged: dict[str, str] = {}
        own = {
            key: variables.get(key) if value is None else value
            for key, value in service.environment.items()
        }
        # What files refer to: the project's variables, those of the service, and earlier files'.
        known = {k: v for k, v in own.items() if v is not None} if service.env_file else {}
        for i, env_file in enumerate(service.env_file):
            merged.update(self._env_file(name, i, env_file, {**merged, **known}))
        return {**merged, **own}

    def _env_file(
        self, name: str, index: int, env_file: EnvFile, known: Variables[str, str]
    ) -> dict[str, str]:
        where = mark_at(self._root, ("services", name, "env_file", index))
        variables = {**known, **self._known_in(where)}
        path = self._absolute(env_file.path)
        try:
            found = self._around.read_env_file(
                path, env_file.format == "raw", variables, self._mistakes.unset
            )
        except StackFileError as error:
            if name in self._around.wanted:
                self._mistakes.collect(error, where)
            return {}
        if found is None and env_file.required and name in self._around.wanted:
            tell_missing(path, where, self._mistakes)
        self._mistakes.spend(where, copies=len(found or ()))
        return found or {}


def _in_its_place(secret: ServiceFile) -> ServiceFile:
    """A secret is a file of its name below /run/secrets unless something else is said."""
    if secret.target is not None:
        return secret
    return secret.model_copy(update={"target": f"/run/secrets/{secret.source}"})
