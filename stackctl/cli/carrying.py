"""An engine on another machine: what its commands need of this one's files goes along.

    stack files, env_files, configs, secrets    in the request's "project" part, as contents
    build contexts, archives of images          sent ahead; the request names them
    binds of this machine's paths               refused: by us for single containers, by the
                                                engine, with their places, for stacks

A wrapper of a client, as `readonly`: commands know nothing of it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.cli.archive import Chunks, pack_each
from stackctl.cli.connection import Client, Message, Messages, RawSession
from stackctl.errors import (
    DockerfileError,
    MachineError,
    NotFound,
    Place,
    StackctlError,
    UsageError,
)

if TYPE_CHECKING:
    from stackctl.spec.project import LoadRequest

#: Verbs that read a whole project; the others want its name.
_LOADING = frozenset(("up", "down", "plan", "run", "build", "config", "image-pull", "image-push"))
_BUILDING = frozenset(("up", "run", "build"))
#: Verbs that write files, or read many, where the engine is.
_HERE = frozenset(("lock", "bundle", "unbundle"))
#: A request holds 16 MiB; contents take a third more in it.
_MOST = 10 << 20


class Carrying:
    def __init__(
        self,
        client: Client,
        engine: str,
        telling: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Files are read within `telling` (see waits)."""
        self._client = client
        self._telling = telling
        self._engine = engine
        self._carried: dict[str, dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def stream(self, verb: str, body: Message) -> Messages:
        return self._client.stream(verb, self._complete(verb, body))

    def call(self, verb: str, body: Message) -> Message:
        if verb == "image-save":
            return self._save(body)
        return self._client.call(verb, self._complete(verb, body))

    def open_session(self, verb: str, body: Message) -> RawSession:
        return self._client.open_session(verb, self._complete(verb, body))

    # -- requests

    def _complete(self, verb: str, body: Message) -> Message:
        if verb in ("login", "logout"):
            raise UsageError(
                f"credentials are kept on this machine, not with {self._engine}",
                hint=f"stackctl --context default {verb}; they go along with pulls and pushes",
            )
        if verb in _HERE:
            raise UsageError(
                f'"{verb}" works with files of the engine\'s own machine',
                hint=f"run it there, or on this machine's engine: --context default {verb}",
            )
        if "wish" in body:
            self._refuse_binds(body["wish"])
        if verb in ("image-load", "image-import"):
            path = str(body["input"])
            return {**body, "uploads": {path: self._send_file(path)}}
        if isinstance(body.get("builds"), list):
            uploads: dict[str, str] = {}
            for build in body["builds"]:
                self._send(build, uploads)
            return {**body, "uploads": uploads}
        project = body.get("project")
        if not isinstance(project, dict):
            return body
        if verb == "run":
            self._refuse_volumes(body.get("volumes") or ())
        request = {**body, "project": self._project(verb, project)}
        if verb in _BUILDING:
            request["uploads"] = self._contexts(verb, request)
        return request

    def _project(self, verb: str, project: Message) -> Message:
        """With the contents of its files, and with the caller's credentials for registries."""
        from stackctl.spec.project import LoadRequest

        whole = verb in _LOADING
        key = json.dumps([whole, {k: v for k, v in project.items() if k != "environment"}])
        if key not in self._carried:
            with self._telling():
                found = _recorded(LoadRequest.of(project), whole)
            size = sum(map(len, found.values()))
            if size > _MOST:
                raise MachineError(
                    f"the project's files have {size >> 20} MiB: too much for a remote engine",
                    hint="large files belong into an image",
                )
            self._carried[key] = {p: base64.b64encode(c).decode() for p, c in found.items()}
        environment = dict(project["environment"])
        if credentials := _credentials(environment):
            environment["DOCKER_AUTH_CONFIG"] = credentials
        return {**project, "environment": environment, "carried": self._carried[key]}

    # -- what is sent ahead

    def _contexts(self, verb: str, request: Message) -> dict[str, str]:
        """Contexts of the services that will be built: `up` and `run` ask the engine which."""
        from stackctl.daemon.build_wishes import named, wish
        from stackctl.daemon.carried import filled, source
        from stackctl.spec import loader, profiles
        from stackctl.spec.project import LoadRequest

        files = source(request["project"])
        services = list(request.get("services") or ())
        if service := request.get("service"):
            services = [service]
        try:
            loaded = loader.load(LoadRequest.of(request["project"], files))
            stack = filled(named(profiles.enable(loaded.stack, services)), files)
        except StackctlError:
            return {}  # the engine finds the same, and says so
        chosen = {n for n, s in stack.services.items() if s.build is not None}
        if not chosen:
            return {}
        if verb == "build":
            chosen &= set(services) or chosen
        else:
            planned = self._client.stream("plan", {**request, "services": services})
            steps = [s for m in planned if m["type"] == "plan" for s in m["steps"]]
            wanted = {step["service"] for step in steps if step["op"] == "BuildImage"}
            images = {step["target"] for step in steps if step["op"] == "BuildImage"}
            chosen = {n for n in chosen if n in wanted or stack.services[n].image in images}
        uploads: dict[str, str] = {}
        for name in sorted(chosen):
            each = wish(stack, name, request)
            fields = {"context": each.context, "contexts": each.contexts, "text": each.text}
            self._send({**fields, "dockerfile": each.dockerfile}, uploads)
        return uploads

    def _send(self, build: Mapping[str, Any], uploads: dict[str, str]) -> None:
        """The local files of one build, each once."""
        dockerfile = "" if build.get("text") is not None else str(build.get("dockerfile") or "")
        contexts = {str(build["context"]): dockerfile}
        contexts |= {str(path): "" for path in (build.get("contexts") or {}).values()}
        for path, below in contexts.items():
            if path.startswith("/") and path not in uploads:
                if Path(path).is_dir():
                    uploads[path] = self._client.upload(Chunks(packed(Path(path), below)))
                else:
                    uploads[path] = self._send_file(path)
        if dockerfile.startswith("/") and dockerfile not in uploads:
            uploads[dockerfile] = self._send_file(dockerfile)

    def _send_file(self, path: str) -> str:
        try:
            with open(path, "rb") as file:
                return self._client.upload(file)
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}") from None

    def _save(self, body: Message) -> Message:
        target = Path(body["output"])
        partial = target.with_name(f".{target.name}-{os.getpid()}.part")
        try:
            with closing(self._client.images(body["names"])) as answer, partial.open("xb") as file:
                while piece := answer.read(1 << 18):
                    file.write(piece)
            partial.rename(target)
        except OSError as error:
            raise MachineError(f"cannot write {target}: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
        return {"type": "result", "exit_code": 0}

    # -- what cannot go along

    def _refuse_binds(self, wish: Mapping[str, Any]) -> None:
        host = wish.get("HostConfig") or {}
        self._refuse_volumes(host.get("Binds") or ())
        for mount in host.get("Mounts") or ():
            if mount.get("Type") == "bind":
                raise self._elsewhere(str(mount.get("Source")))

    def _refuse_volumes(self, specs: Iterable[str]) -> None:
        for spec in specs:
            path = spec.partition(":")[0]
            if path.startswith(("/", ".", "~")) and ":" in spec:
                raise self._elsewhere(path)

    def _elsewhere(self, path: str) -> UsageError:
        return UsageError(
            f"{path} is on this machine, and {self._engine} is on another",
            hint="copy it into a named volume (stackctl container cp), or build it into an image",
        )


def _recorded(request: LoadRequest, whole: bool) -> dict[str, bytes]:
    """Contents of all files that the engine will read for this project."""
    from stackctl.spec import loader
    from stackctl.spec.files import DISK, Recorded

    files = Recorded(DISK)
    request = replace(request, source=files)
    try:
        if not whole:
            loader.project_name(request)
            return files.contents
        stack = loader.load(request).stack
    except StackctlError:
        return files.contents  # the engine finds the same, and says so
    lock = str(Path(stack.files[0]).with_suffix(".lock")) if stack.files else None
    named = (
        [lock] + [s.file for s in stack.secrets.values()] + [c.file for c in stack.configs.values()]
    )
    for path in filter(None, named):
        try:
            files.read(path, _MOST + 1)
        except OSError:
            continue  # told with its place, if a service uses it
    return files.contents


def _credentials(environment: Mapping[str, str]) -> str:
    """The auths of the caller's config.json as text, or "": helpers do not go along."""
    if given := environment.get("DOCKER_AUTH_CONFIG"):
        return given
    home = environment.get("HOME") or "/root"
    file = Path(environment.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json")
    try:
        auths = json.loads(file.read_bytes()).get("auths")
    except (OSError, ValueError, AttributeError):
        return ""
    return json.dumps({"auths": auths}) if isinstance(auths, dict) and auths else ""


def packed(context: Path, dockerfile: str = "") -> Iterator[bytes]:
    """A context as a tar stream, without what its ignore file hides.

    The ignore file and the Dockerfile go along even so, as docker sends them.
    """
    from stackctl.image.build import ignore

    patterns = ignore.Ignore()
    always = {".dockerignore", dockerfile, f"{dockerfile}.dockerignore"}
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        try:
            content = (context / name).read_bytes()
        except OSError:
            continue
        try:
            patterns = ignore.Ignore(ignore.read(content))
        except ignore.PatternError as error:
            raise DockerfileError(str(error), place=Place(str(context / name))) from None
        break

    def walk(directory: Path, inside: str) -> Iterator[tuple[Path, str]]:
        for child in sorted(directory.iterdir()):
            name = f"{inside}{child.name}"
            is_directory = child.is_dir() and not child.is_symlink()
            hidden = patterns.hides(name)
            if not hidden or name in always:
                yield child, name
            if is_directory and not (hidden and patterns.hides_all_below(name)):
                yield from walk(child, f"{name}/")

    try:
        yield from pack_each(walk(context, ""))
    except OSError as error:
        raise NotFound(f"the context {context}: {error.filename}: {error.strerror}") from None
