"""The engine as the API sees it: verbs by name, sessions, archives.

`build` makes the real parts, makes records and kernel agree, and gives a
Service that answers. Nothing heavy is imported before it is needed: the models,
the graph and netlink load while the socket already answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.daemon import names
from stackctl.daemon.committing import Committing
from stackctl.daemon.containers import Containers
from stackctl.daemon.creation import Creation
from stackctl.daemon.engine import Engine
from stackctl.daemon.events import Events
from stackctl.daemon.jobs import EMIT, Jobs, Message, warn
from stackctl.daemon.parts import Machine, Parts
from stackctl.daemon.projects import Projects
from stackctl.daemon.recovery import note_lost_port, recover
from stackctl.daemon.registry import Registry
from stackctl.daemon.sessions import OpenSession, Sessions
from stackctl.daemon.supervisor import Supervisor
from stackctl.daemon.uploads import Uploads
from stackctl.daemon.verbs.config import ConfigVerb
from stackctl.daemon.verbs.container import ContainerVerbs
from stackctl.daemon.verbs.container_show import ContainerShowVerbs
from stackctl.daemon.verbs.image import ImageVerbs
from stackctl.daemon.verbs.interactive import InteractiveVerbs
from stackctl.daemon.verbs.lifecycle import LifecycleVerbs
from stackctl.daemon.verbs.lock import LockVerb
from stackctl.daemon.verbs.logs import Logs
from stackctl.daemon.verbs.network import NetworkVerbs
from stackctl.daemon.verbs.plan import PlanVerb
from stackctl.daemon.verbs.run import RunVerb
from stackctl.daemon.verbs.show import ShowVerbs
from stackctl.daemon.verbs.stack import StackVerbs
from stackctl.daemon.verbs.system import SystemVerbs
from stackctl.daemon.verbs.volume import VolumeVerbs
from stackctl.daemon.volumes import Volumes
from stackctl.errors import NotFound, StackctlError
from stackctl.image.service import Images
from stackctl.model.container import BindMount
from stackctl.model.rights import ID_COUNT
from stackctl.net.service import Net
from stackctl.runtime.archive import Archive
from stackctl.runtime.container import Runtime
from stackctl.state.paths import Paths
from stackctl.state.records import Store

if TYPE_CHECKING:
    from stackctl.daemon.building import Builds
    from stackctl.daemon.docker import DockerOperations
    from stackctl.daemon.verbs.bundle import BundleVerbs
    from stackctl.model.build import BuildRequest

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]


log = logging.getLogger(__name__)


class Service:
    """Implements api.server.Handlers on the real engine."""

    def __init__(self, parts: Parts, containers: Containers, supervisor: Supervisor) -> None:
        self._parts = parts
        self._supervisor = supervisor
        self._containers = containers
        self._sessions = Sessions()
        self._uploads = Uploads(parts.paths.root)
        self._docker: DockerOperations | None = None
        self._attaching: asyncio.Future[None] | None = None
        self._builds: Builds | None = None
        self._jobs = Jobs()
        self._projects = projects = Projects(parts)
        engine = Engine(parts, containers, supervisor)
        engine.build = self._build_one
        #: For those who carry out plans without a verb (the engine's contract tests).
        self.engine = engine
        logs = Logs(parts, projects, self._jobs)
        stack = StackVerbs(parts, projects, engine, self._jobs, logs)
        lifecycle = LifecycleVerbs(parts, projects, containers, engine, self._jobs)
        self.creation = Creation(parts, containers, engine)
        show = ShowVerbs(parts, projects, self.creation)
        run = RunVerb(parts, projects, engine, self._jobs)
        self._interactive = InteractiveVerbs(parts, projects, containers, self._sessions)
        self._committing = Committing(parts, containers)
        self._single = ContainerVerbs(
            parts, containers, self.creation, self._committing, self._sessions
        )
        self._verbs: dict[str, Verb] = {
            "up": stack.up,
            "down": stack.down,
            "plan": PlanVerb(projects).plan,
            "run": run.run,
            "build": self._build,
            "start": lifecycle.start,
            "stop": lifecycle.stop,
            "restart": lifecycle.restart,
            "rm": lifecycle.rm,
            "kill": lifecycle.kill,
            "pause": lifecycle.pause,
            "unpause": lifecycle.unpause,
            "wait": lifecycle.wait,
            "logs": logs.logs,
            "ps": show.ps,
            "ls": show.ls,
            "port": show.port,
            "top": show.top,
            "events": show.events,
            "config": ConfigVerb(parts.images).config,
            "version": show.version,
            "info": show.info,
            "doctor": show.doctor,
            "remove": self._interactive.remove,
            "signal": self._interactive.signal,
            "session-wait": self._interactive.session_wait,
            "session-resize": self._interactive.session_resize,
            "session-detach": self._interactive.session_detach,
            **self._single.table(),
            **ContainerShowVerbs(parts, self.creation, supervisor, logs).table(),
            **ImageVerbs(parts, projects, engine).table(),
            "lock": LockVerb(parts.images, projects).lock,
            "bundle": lambda body: self._bundles().bundle(body),
            "unbundle": lambda body: self._bundles().unbundle(body),
            **VolumeVerbs(parts).table(),
            **SystemVerbs(parts, self.creation).table(),
            **NetworkVerbs(parts, containers, engine).table(),
        }

    @property
    def parts(self) -> Parts:
        return self._parts

    def builds(self) -> Builds:
        """The builder; made (and its code loaded) when the first build is asked for."""
        if self._builds is None:
            from stackctl.daemon.building import Builds

            self._builds = Builds(self._parts, self.engine)
        return self._builds

    async def _build_one(self, request: BuildRequest) -> object:
        from stackctl.daemon.verbs.build import build_all

        return await build_all(self.builds(), [request], EMIT.get() or (lambda message: None))

    def _build(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        from stackctl.daemon.verbs.build import BuildVerb

        return BuildVerb(self._projects, self.builds(), self._jobs).build(body)

    def _bundles(self) -> BundleVerbs:
        from stackctl.daemon.verbs.bundle import BundleVerbs

        return BundleVerbs(self._parts.images, self._projects, self.engine)

    def docker(self) -> DockerOperations:
        """What Docker's API needs; made when its first request comes."""
        if self._docker is None:
            from stackctl.daemon.docker import DockerOperations

            self._docker = DockerOperations(
                self._parts,
                self._containers,
                self.creation,
                self.engine,
                self._supervisor,
                self._interactive,
            )
        return self._docker

    def admits(self, uid: int) -> bool:
        """Whether this host uid belongs to a container that the socket was mounted into.

        A container's root is nobody outside: its credentials arrive as an id of its range.
        Who mounted engine.sock (or a directory above it) into the container has consented.
        """
        socket = self._parts.paths.socket
        return any(
            record.id_base <= uid < record.id_base + ID_COUNT
            and any(
                isinstance(mount, BindMount) and socket.is_relative_to(mount.source)
                for mount in record.config.mounts
            )
            for record in self._parts.registry.all()
            if record.id_base and record.status.is_alive
        )

    def listens(self) -> None:
        """The engine's socket is another one now: containers that have the former get it."""
        self._attaching = asyncio.ensure_future(self._attach_socket())

    async def _attach_socket(self) -> None:
        socket = str(self._parts.paths.socket)
        for record in self._parts.registry.all():
            for mount in record.config.mounts if record.status.is_alive else ():
                if isinstance(mount, BindMount) and mount.source == socket:
                    try:
                        await (await self._containers.archive(record)).attach(mount)
                    except (StackctlError, OSError) as error:
                        log.warning("%s keeps the former socket: %s", record.name, error)

    # -- api.server.Handlers

    def stream(self, verb: str, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The messages of a verb. Raises NotFound for one that does not exist."""
        found = self._verbs.get(verb)
        if found is None:
            raise NotFound(
                f'the engine has no verb "{verb}"',
                hint="the CLI and the engine are of different versions: restart the engine",
            )
        return self._with_uploads(found, body) if "uploads" in body else found(body)

    async def _with_uploads(self, verb: Verb, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        resolved = self._uploads.resolved(body)
        async for message in verb(resolved):
            yield message
        # Not when the caller has left: what it asked for may go on.
        self._uploads.discard(resolved["uploads"].values())

    async def upload(self, content: AsyncIterator[bytes]) -> str:
        """Keeps what a later request names under "uploads"; its id."""
        return await self._uploads.receive(content)

    async def open_session(self, verb: str, body: Mapping[str, Any]) -> OpenSession:
        """An interactive exec or attach."""
        match verb:
            case "exec":
                return await self._interactive.exec(body)
            case "attach":
                return await self._interactive.attach(body)
            case "container-run":
                return await self._single.run_session(body)
            case "container-start":
                return await self._single.start_session(body)
            case "container-attach":
                return await self._single.attach_session(body)
            case _:
                raise NotFound(f'the engine has no session verb "{verb}"')

    async def archive_stat(self, container: str, path: str) -> Message:
        """What is at `path`: name, size, mode (Go's bits), mtime, linkTarget."""
        return await (await self._archive(container)).stat(path)

    async def archive_get(self, container: str, path: str) -> tuple[Message, AsyncIterator[bytes]]:
        """The same, and a tar stream of it."""
        return await (await self._archive(container)).get(path)

    async def archive_put(
        self,
        container: str,
        path: str,
        content: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
    ) -> None:
        """Unpack a tar stream into a directory.

        Owners are the stream's, with `copy_uid_gid` the container's user, if it has one: what
        Docker makes of cp -a.
        """
        record = self._parts.registry.store.find_container(container)
        archive = await self._containers.archive(record)
        owner = record.config.user if copy_uid_gid else ""
        await archive.put(path, content, owner=owner, keep_kinds=no_overwrite_dir_non_dir)

    async def export(self, container: str) -> AsyncIterator[bytes]:
        """All files of the container as a tar stream, but for those of volumes and binds."""
        record = self._parts.registry.store.find_container(container)
        async with contextlib.aclosing(self._committing.export(record)) as content:
            async for piece in content:
                yield piece

    async def _archive(self, container: str) -> Archive:
        record = self._parts.registry.store.find_container(container)
        return await self._containers.archive(record)

    # -- daemon.lifetime

    def is_idle(self) -> bool:
        """Nothing runs, nothing is under way: an engine that the CLI started may leave."""
        return self._jobs.idle and not any(r.status.needs_stop for r in self._parts.registry.all())

    async def close(self) -> None:
        """Stop answering; containers, shims, names and ports go on."""
        await self._jobs.close()
        if self._attaching is not None:
            self._attaching.cancel()
        if self._docker is not None:
            self._docker.close()
        self._sessions.close()
        await self._supervisor.close()
        self._parts.events.close()
        store = self._parts.registry.store
        await self.creation.drop_default_network()
        if not store.containers() and not store.networks():
            # The engine is empty: the machine is left as it was found.
            await self._leave_nothing()
        await self._parts.runtime.close()
        await self._parts.net.close()
        store.close()

    async def _leave_nothing(self) -> None:
        """Firewall table, keeper, shims and control group of an engine without containers."""
        runtime, paths = self._parts.runtime, self._parts.paths
        await self._parts.net.stop()
        await runtime.close_all()
        await asyncio.to_thread(runtime.cgroups.remove_engine_group, paths.cgroup)


def _tell(registry: Registry, container_id: str, text: str) -> None:
    """A start went well, but not quite as asked: whoever asked for it hears so."""
    record = registry.find(container_id)
    name = record.name if record is not None else container_id[:12]
    log.warning("container %s: %s", name, text)
    warn(f"{name}: {text}")


async def build(paths: Paths, environment: Mapping[str, str] | None = None) -> Service:
    """Real parts, converged: records against kernel. Raises StackctlError."""
    env = os.environ if environment is None else environment
    registry = Registry(Store.open(paths))
    supervisor = Supervisor()
    parts = Parts(
        paths=paths,
        registry=registry,
        runtime=Runtime(
            paths,
            on_exit=supervisor.exited,
            on_notice=lambda container_id, text: _tell(registry, container_id, text),
        ),
        net=Net(
            paths,
            machine_id=_text(Path("/etc/machine-id")),
            title_of=lambda container_id: names.title(container_id, registry.find(container_id)),
            on_lost=lambda *port: note_lost_port(parts, *port),
        ),
        images=Images(paths),
        volumes=Volumes(paths, registry),
        events=Events(),
        machine=Machine(
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            resolver_lines=_resolver_lines(Path("/etc/resolv.conf")),
            publish_address=env.get("STACKCTL_PUBLISH_ADDR") or "0.0.0.0",
        ),
    )
    containers = Containers(parts, supervisor)
    supervisor.connect(parts, containers)
    await recover(parts, containers, supervisor)
    service = Service(parts, containers, supervisor)
    if (paths.root / "build" / "work").exists():
        await service.builds().recover()
    return service


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _resolver_lines(file: Path) -> tuple[str, ...]:
    """The lines of the host's resolver file that matter; none when it is missing."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ()
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and line[0] not in "#;")


def start_heavy_imports() -> asyncio.Future[None]:
    """Load what the first `up` needs in a thread, while the socket already answers."""

    def load() -> None:
        import stackctl.daemon.desired
        import stackctl.scheduler.executor
        import stackctl.scheduler.plan  # noqa: F401
        from stackctl.spec import loader

        loader.prepare()
        collect_seldom()

    return asyncio.get_running_loop().run_in_executor(None, load)


def collect_seldom() -> None:
    """What is loaded stays, so that the collector need not look at it again; a stack of hundreds
    of services is a tree without circles, through which it would go a dozen times."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
