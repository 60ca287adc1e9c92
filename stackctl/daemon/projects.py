"""From a request's "project" part to what the scheduler compares.

The caller hands over files, environment and flags; the daemon, which is local
and has the models loaded, reads the files (measured: half the time of loading
them in the CLI).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from stackctl.daemon import carried
from stackctl.daemon.apart import apart
from stackctl.daemon.names import short_id
from stackctl.daemon.parts import Parts
from stackctl.daemon.providers import Providers
from stackctl.errors import (
    ImageError,
    NotFound,
    StackctlError,
    StackFileError,
    StackFileErrors,
    UsageError,
)
from stackctl.image import lockfile
from stackctl.model.container import ContainerConfig
from stackctl.model.image import Image, ImageConfig
from stackctl.model.record import ContainerRecord
from stackctl.model.reference import parse
from stackctl.scheduler.desired import Desired, Observed
from stackctl.scheduler.survey import check_names, used_volumes
from stackctl.spec.files import Files
from stackctl.values import dataclass

if TYPE_CHECKING:
    # Models take a while to import; they load in a thread, once the socket answers.
    from stackctl.spec.loader import LoadRequest, Notice
    from stackctl.spec.model import Stack
    from stackctl.spec.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project as its files say, with the warnings of reading them.

    `publish_address`: the caller's, for ports that name none; "" is everywhere.
    """

    stack: Stack
    warnings: tuple[Notice, ...]
    publish_address: str = ""
    #: The caller's, and below them those of .env or --env-file.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: COMPOSE_REMOVE_ORPHANS, COMPOSE_IGNORE_ORPHANS.
    remove_orphans: bool = False
    ignore_orphans: bool = False
    #: Its files are on another machine.
    carried: bool = False

    @property
    def name(self) -> str:
        return self.stack.name

    def told(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request with what the project's variables say of orphans. Raises UsageError."""
        removed = body.get("remove_orphans")
        if self.ignore_orphans and removed:
            raise UsageError("COMPOSE_IGNORE_ORPHANS and --remove-orphans do not go together")
        if removed is None:
            removed = self.remove_orphans and not self.ignore_orphans
        return {**body, "remove_orphans": removed, "ignore_orphans": self.ignore_orphans}

    def given(self, environment: Iterable[str]) -> list[str]:
        """KEY=VALUE as it is; a bare KEY takes the project's value, and is left out without."""
        found = []
        for entry in environment:
            if "=" in entry:
                found.append(entry)
            elif entry in self.variables:
                found.append(f"{entry}={self.variables[entry]}")
        return found

    @property
    def has_providers(self) -> bool:
        return any(service.provider for service in self.stack.services.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The services of a project's files, by whether an active profile wants them."""

    active: frozenset[str]
    resting: frozenset[str]


def load_request(body: Mapping[str, Any]) -> LoadRequest:
    """The request to the loader in a body's "project" part."""
    from stackctl.spec.loader import LoadRequest

    raw = body.get("project")
    if not isinstance(raw, dict):
        raise UsageError('the request has no "project" part')
    return LoadRequest.of(raw, carried.source(raw))


def lockable(stack: Stack) -> dict[str, str]:
    """The image of each service whose image a lock file can hold: pulled by a name."""
    return {
        name: service.image or ""
        for name, service in stack.services.items()
        if service.build is None and lockfile.lockable(service.image or "")
    }


def locked(project: Project, files: Files) -> Project:
    """With what the lock file says, if there is one; images that it lacks are warned of.

    Raises UsageError for a file that is none.
    """
    from stackctl.spec.loader import Notice

    stack = project.stack
    path = lockfile.path_of(stack.files[0]) if stack.is_in_files else None
    found = (
        lockfile.read(path, lambda path: files.read(str(path), 1 << 24).decode()) if path else None
    )
    if path is None or found is None:
        return project
    images = lockable(stack)
    pins = lockfile.pins(images.values(), found)
    missing = tuple(
        Notice(
            text=f'{path.name} does not have image "{image}" of service "{name}": its tag is '
            "taken as it is; `stackctl lock` adds it",
            place=stack.places("services", name, "image"),
        )
        for name, image in images.items()
        if image not in pins
    )
    pinned = replace(stack, pins=pins)
    return replace(project, stack=pinned, warnings=(*project.warnings, *missing))


def _no_image(reference: str) -> Image:
    """Stands for one that is not here: good enough to plan its pull."""
    return Image(id="", reference=reference, config=ImageConfig())


def _check_images(stack: Stack) -> None:
    """Only where images are wanted: a file with an unset tag can be shown, and taken down."""
    from stackctl.spec.images import further

    mistakes = []
    for name, service in stack.services.items():
        own: list[tuple[tuple[str | int, ...], str]] = [(("image",), service.image or "")]
        for path, image in own * bool(service.image) + [*further(service)]:
            try:
                parse(image)
            except ImageError as error:
                place = stack.places("services", name, *path)
                mistakes.append(StackFileError(error.brief, hint=error.hint, place=place))
    if mistakes:
        raise StackFileErrors(tuple(mistakes))


class Projects:
    """Loads projects and observes them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._providers = Providers(parts.paths)

    async def load(
        self,
        body: Mapping[str, Any],
        *,
        activate: Sequence[str] = (),
        for_containers: bool = True,
    ) -> Project:
        """Read and validate the stack file; `activate` names services whose profiles count,
        `for_containers` is False where none is made: what only they need may be missing.

        A lock file beside it says what images are, unless the request has "no_lock". Raises
        StackFileErrors with all mistakes, NotFound for an unknown service.
        """
        request = load_request(body)

        def read() -> Project:
            from stackctl.daemon.build_wishes import named
            from stackctl.spec import loader, ports
            from stackctl.spec.project import is_true, setting

            address = ports.usual_address(request.environment)
            # Who takes containers away, or wants images, need not wait for files of variables.
            steps = loader.Steps(environment=for_containers)
            loaded = loader.load(
                request, services=activate, for_containers=for_containers, steps=steps
            )
            stack = named(loaded.stack)
            if address:
                stack = _published_at(stack, address)
            is_carried = carried.is_carried(body["project"])
            if is_carried:
                stack = carried.filled(stack, request.source)
            found = Project(
                stack=stack,
                warnings=loaded.warnings,
                publish_address=address,
                variables=loaded.variables,
                remove_orphans=is_true(setting(loaded.variables, "REMOVE_ORPHANS")),
                ignore_orphans=is_true(setting(loaded.variables, "IGNORE_ORPHANS")),
                carried=is_carried,
            )
            return found if body.get("no_lock") else locked(found, request.source)

        return await apart(read)

    async def name(self, body: Mapping[str, Any]) -> str:
        """Only the project's name: a stack that runs needs no file to be listed or stopped."""
        request = load_request(body)

        def read() -> str:
            from stackctl.spec import loader

            return loader.project_name(request)

        return await apart(read)

    async def desired(
        self, project: Project, *, scale: Mapping[str, int], services: Sequence[str]
    ) -> Desired:
        """Desired state; services whose images are not here know their reference only."""
        return (await self.resolved(project, scale=scale, services=services))[0]

    async def resolved(
        self, project: Project, *, scale: Mapping[str, int], services: Sequence[str]
    ) -> tuple[Desired, frozenset[str]]:
        """Desired state, and the references of images that are here.

        An image that is not here counts as an empty one. Raises StackFileErrors for what is
        no reference of an image.
        """
        from stackctl.daemon.desired import desired

        _check_images(project.stack)
        if project.carried:
            carried.refuse_binds(project.stack)
        images = await self._images(project)
        stack = self._with_variables(project)

        def image_of(reference: str) -> Image:
            return images.get(reference) or _no_image(reference)

        found = desired(stack, image_of, scale=scale, services=tuple(services))
        mounted = {r: images[r].id for s in found.services for r in s.mounted if r in images}
        return replace(found, mounted_images=mounted), frozenset(images)

    def provided(self, project: Project) -> Project:
        """The project with what providers have set for those that depend on them."""
        return replace(project, stack=self._with_variables(project))

    def _with_variables(self, project: Project) -> Stack:
        """The stack with what providers have set for those that depend on them."""
        known = self._providers.of_project(project.name) if project.has_providers else {}
        if not known:
            return project.stack
        from stackctl.daemon.companions import with_variables

        return with_variables(project.stack, {k: v.variables for k, v in known.items()})

    async def _images(self, project: Project) -> dict[str, Image]:
        from stackctl.spec.images import further

        stack = project.stack
        references = {stack.reference(s) for s in stack.services.values() if s.image}
        others = [image for s in stack.services.values() for _, image in further(s)]
        references |= {stack.pins.get(image, image) for image in others}
        images: dict[str, Image] = {}
        for reference in sorted(references):
            with contextlib.suppress(NotFound):
                images[reference] = await self._parts.images.resolve(reference)
        return images

    async def image(self, project: Project, service: str) -> Image:
        """What a service is made from; an empty one as long as it is not here."""
        stack = project.stack
        reference = stack.reference(stack.services[service])
        return (await self._images(project)).get(reference) or _no_image(reference)

    async def completed(self, project: Project, config: ContainerConfig) -> ContainerConfig:
        """The container of a replica whose image has come since it was planned."""
        from stackctl.daemon.desired import completed

        reference = project.stack.pins.get(config.image, config.image)
        stack = self._with_variables(project)
        return completed(stack, config, await self._parts.images.resolve(reference))

    async def completed_init(self, project: Project, config: ContainerConfig) -> ContainerConfig:
        """The container of a pre_start hook whose image has come since it was planned."""
        from stackctl.daemon.desired import completed_init

        images = await self._images(project)
        return completed_init(self._with_variables(project), config, images.__getitem__)

    def has_image(self, reference: str) -> bool:
        """Whether a reference resolves. Raises ImageError for what is none."""
        return self._parts.images.exists(reference)

    def observe(
        self, name: str, references: Iterable[str] = (), aged: Iterable[str] = ()
    ) -> Observed:
        """Records of the project, looked at once. `references` are images that resolve, `aged`
        those of them whose age somebody asks about."""
        images = self._parts.images
        store = self._parts.registry.store
        networks, volumes = tuple(store.networks()), tuple(store.volumes())
        return Observed(
            project=name,
            containers=self._parts.registry.of_project(name),
            networks=tuple(n for n in networks if n.config.project == name),
            volumes=tuple(v for v in volumes if v.config.project == name),
            images=frozenset(references),
            image_ages={reference: images.age(reference) for reference in aged},
            providers=tuple(p.request for p in self._providers.of_project(name).values()),
            strangers=self._strangers(name),
            other_networks={n.config.name: n.id for n in networks if n.config.project != name},
            other_volumes=frozenset(v.config.name for v in volumes if v.config.project != name),
            other_containers=frozenset(
                known
                for record in self._parts.registry.all()
                if record.config.project != name
                for known in (record.name, short_id(record.id))
            ),
        )

    def _strangers(self, project: str) -> dict[tuple[str, str], str]:
        """Who lives outside the project and uses what may be its."""
        return {
            use: record.name
            for record in self._parts.registry.all()
            if record.config.project != project and record.status.needs_stop
            for use in (
                *(("network", endpoint.network) for endpoint in record.endpoints),
                *(("volume", volume) for volume in used_volumes(record.config)),
            )
        }

    async def scope(self, body: Mapping[str, Any]) -> Scope | None:
        """What a command is about that names no services: those that its files have and active
        profiles want. None, which is all of the project, where no file counts (`of_files`).

        Who has read the files already says so ("active")."""
        if (active := body.get("active")) is not None:
            return Scope(active=frozenset(map(str, active)), resting=frozenset())
        project = await self.of_files(body)
        if project is None:
            return None
        stack = project.stack
        return Scope(active=frozenset(stack.services), resting=frozenset(stack.disabled))

    async def of_files(self, body: Mapping[str, Any], *, strict: bool = False) -> Project | None:
        """The project as its files have it, for commands that need none; services that are named
        count with their profiles. None: there are no files, they are wrong (StackFileError when
        `strict`), or -p alone says which project it is (as with compose)."""
        raw = body.get("project")
        if isinstance(raw, dict) and raw.get("name") and not raw.get("files"):
            return None
        named = tuple(body.get("services") or ())
        for activate in dict.fromkeys((named, ())):  # one that is named may be no file's
            try:
                return await self.load(body, activate=activate, for_containers=False)
            except StackFileError:
                if strict:
                    raise
            except StackctlError:
                pass
        return None

    async def known(
        self, body: Mapping[str, Any], name: str, services: Sequence[str]
    ) -> frozenset[str]:
        """Services of the project that there are: with containers, and, when one is named that
        has none, all of the caller's files. What is wrong with these is no concern here."""
        here = frozenset(r.config.service for r in self._parts.registry.of_project(name))
        if here.issuperset(services):
            return here
        with contextlib.suppress(StackctlError):
            stack = (await self.load(body, for_containers=False)).stack
            return here | stack.services.keys() | stack.disabled.keys()
        return here

    async def meant(
        self, body: Mapping[str, Any], *, oneoff: bool = False
    ) -> list[ContainerRecord]:
        """Containers of the services that a request names, without any of those in its `scope`;
        with "remove_orphans" also of those that its files do not have."""
        found = await self.chosen(body, oneoff=oneoff)
        scope = None if body.get("services") else await self.scope(body)
        if scope is None:
            return found
        orphans = bool(body.get("remove_orphans"))
        return [
            r
            for r in found
            if r.config.service in scope.active
            or (orphans and r.config.service not in scope.resting)
        ]

    async def chosen(
        self, body: Mapping[str, Any], *, all: bool = True, oneoff: bool = False
    ) -> list[ContainerRecord]:
        """Containers of the services that a request names (of all without any), as `select`.

        A service that has none is no mistake (as in compose). NotFound for what is no service.
        """
        name, services = await self.name(body), tuple(body.get("services") or ())
        check_names(services, await self.known(body, name, services))
        found = self.select(name, (), all=all, oneoff=oneoff)
        return [r for r in found if not services or r.config.service in services]

    def select(
        self, name: str, services: Sequence[str], *, all: bool = True, oneoff: bool = False
    ) -> list[ContainerRecord]:
        """Containers of these services (all services when empty), by service and number.

        Raises NotFound for a service that has no container.
        """
        records = [
            r
            for r in self._parts.registry.of_project(name)
            if (oneoff or not r.config.oneoff) and (all or r.status.is_alive)
        ]
        known = {r.config.service for r in records}
        for service in services:
            if service not in known:
                raise NotFound(
                    f'service "{service}" has no container in the project "{name}"',
                    hint=f"it has: {', '.join(sorted(known))}" if known else "bring it up first",
                )
        chosen = [r for r in records if not services or r.config.service in services]
        return sorted(chosen, key=lambda r: (r.config.service, r.config.number, r.created_at))

    def one(self, name: str, service: str, index: int = 0) -> ContainerRecord:
        """The container of a service that commands such as exec speak to.

        The lowest running number, or number `index`; a one-off where nothing else runs, as
        compose has it. Raises NotFound.
        """
        records = self.select(name, [service], oneoff=True)
        if index:
            records = [r for r in records if r.config.number == index]
            if not records:
                raise NotFound(f'service "{service}" has no container number {index}')
        alive = [r for r in records if r.status.is_alive]
        alive.sort(key=lambda record: record.config.oneoff)
        if not alive:
            raise NotFound(
                f'service "{service}" is not running',
                hint=f"start it with `stackctl up -d {service}`",
            )
        return alive[0]


def _published_at(stack: Stack, address: str) -> Stack:
    """The same with an address for each port that names none."""

    def one(service: Service) -> Service:
        changed = [
            port if port.host_ip else port.model_copy(update={"host_ip": address})
            for port in service.ports
        ]
        return service.model_copy(update={"ports": changed}) if changed else service

    return replace(
        stack,
        services={name: one(service) for name, service in stack.services.items()},
        disabled={name: one(service) for name, service in stack.disabled.items()},
    )
