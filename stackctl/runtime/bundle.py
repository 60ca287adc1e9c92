"""StartRequest -> bundle: everything that the shim's child has to know, resolved. Pure.

The child decides nothing: it reads the bundle and walks its steps. It stays in
the container's run-time directory while it runs, for exec to read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol

from stackctl.errors import ContainerError
from stackctl.linux.process import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWNS
from stackctl.model.container import ContainerConfig
from stackctl.model.image import Snapshot
from stackctl.model.record import ContainerRecord, ProcessRef
from stackctl.model.rights import ID_COUNT
from stackctl.runtime import rootfs, settings
from stackctl.state.paths import Paths
from stackctl.values import dataclass

#: Directory of a container's run-time directory that its child mounts a staging tmpfs on.
STAGING = "stage"
GENERATED = {"/etc/hosts": "hosts", "/etc/resolv.conf": "resolv.conf", "/etc/hostname": "hostname"}
#: Docker's: whoever runs may bind low ports and ping, both within the container's own namespace.
SYSCTLS = (
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 65535"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A running container whose namespace another one shares."""

    process: ProcessRef
    #: First host id of its user namespace; 0: it has the host's.
    id_base: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What the engine knows when it starts a container.

    `volumes` maps volume names to host directories; `hosts` and `resolv_conf` are
    the texts of generated files, `hostname` is a name; `netns_blobs` are netlink
    messages for NETLINK_NETFILTER to send in the new network namespace.
    `partners` maps each of settings.partners(config) ("ipc", "pid", "uts",
    "network") to the container that it names.
    """

    record: ContainerRecord
    snapshot: Snapshot
    volumes: Mapping[str, str] = field(default_factory=dict)
    hosts: str = ""
    resolv_conf: str = ""
    hostname: str = ""
    netns_blobs: tuple[bytes, ...] = ()
    partners: Mapping[str, Partner] = field(default_factory=dict)
    #: Columns and rows of the terminal, if it is to have one; None: nobody says.
    size: tuple[int, int] | None = None


class Plan(Protocol):
    """A control group plan (runtime.cgroups)."""

    @property
    def dirs(self) -> tuple[str, ...]: ...
    @property
    def writes(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def procs(self) -> tuple[str, ...]: ...
    @property
    def into(self) -> str: ...
    @property
    def devices(self) -> bytes: ...
    @property
    def version(self) -> int: ...
    @property
    def hierarchies(self) -> tuple[tuple[str, tuple[str, ...]], ...]: ...


def bundle(
    request: StartRequest,
    paths: Paths,
    plan: Plan,
    capabilities: int,
    seccomp: bytes,
    *,
    processors: int = 1,
) -> dict[str, Any]:
    """The bundle of one start: numbers, texts, bytes, lists and dicts only.

    Raises ContainerError for a configuration that cannot be started.
    """
    record, config = request.record, request.record.config
    check_command(config)
    host_ids = shares_host_ids(config)
    own = settings.namespaces(config)
    partner = _partner(request)
    id_base = partner.id_base if partner is not None else record.id_base
    directory = paths.container(record.id)
    generated = {target: str(directory / name) for target, name in GENERATED.items()}
    namespaces = own | CLONE_NEWNS | (0 if config.cgroup == "host" else CLONE_NEWCGROUP)
    mounts = rootfs.rootfs(
        request.snapshot,
        config,
        volumes=request.volumes,
        generated=generated,
        processors=processors,
        groups=rootfs.ControlGroups(version=plan.version, hierarchies=plan.hierarchies),
        fresh=not record.started_at,
    )
    hostname = request.hostname or config.hostname or record.id[:12]
    id_map = f"0 {record.id_base} {ID_COUNT}\n"
    return {
        "id": record.id,
        "argv": list(config.argv),
        "env": list(config.env),
        "cwd": config.working_dir or "/",
        "user": config.user,
        "hostname": hostname,
        "tty": config.tty,
        "size": list(request.size) if request.size else None,
        "stdin": config.stdin_open,
        "init": config.init,
        "first": True,
        "groups": list(config.group_add),
        "userns": None if host_ids or partner is not None else [id_map, id_map],
        "own_ids": not host_ids and id_base != 0,
        "id_base": 0 if host_ids else id_base,
        "id_count": ID_COUNT,
        "namespaces": namespaces,
        "joins": [
            [settings.flag(kind), each.process.pid, each.process.start_time]
            for kind, each in request.partners.items()
        ],
        "cgroup": {
            "dirs": list(plan.dirs),
            "writes": [list(write) for write in plan.writes],
            "procs": list(plan.procs),
            "into": plan.into,
            "devices": plan.devices,
        },
        "files": [
            [generated["/etc/hosts"], request.hosts],
            [generated["/etc/resolv.conf"], request.resolv_conf],
            [generated["/etc/hostname"], f"{hostname}\n"],
        ],
        "mounts": rootfs.lowered(mounts),
        "staging": str(paths.container_run(record.id) / STAGING),
        "read_only": config.read_only,
        "sysctls": [
            *([list(pair) for pair in SYSCTLS] if own & CLONE_NEWNET else []),
            *settings.sysctls(config),
        ],
        "netns_blobs": list(request.netns_blobs),
        "capabilities": capabilities,
        "seccomp": seccomp,
        "no_new_privileges": config.security.no_new_privileges,
        "rlimits": settings.rlimits(config),
        "oom_score_adj": config.oom_score_adj,
        "apparmor": config.security.apparmor,
    }


def check_command(config: ContainerConfig) -> None:
    """Raises ContainerError when there is nothing that it could run."""
    if not config.argv:
        raise ContainerError(
            f'"{config.name}" has no command to run',
            hint="give the service a `command`, or use an image that has one",
        )


def _partner(request: StartRequest) -> Partner | None:
    """Whose user namespace it is in: to share a namespace is to share who owns it."""
    config = request.record.config
    wanted = settings.partners(config)
    if missing := set(wanted) - set(request.partners):
        names = ", ".join(wanted[kind] for kind in sorted(missing))
        raise ContainerError(
            f"{names} does not run, and its namespaces cannot be shared", hint="start it first"
        )
    owners = {each.id_base for each in request.partners.values()}
    if len(owners) > 1:
        raise ContainerError(
            f'"{config.name}" shares namespaces with two containers that have ids of their own',
            hint="share with one of them, or give all of them `userns_mode: host`",
        )
    partner = next(iter(request.partners.values()), None)
    if partner is not None and shares_host_ids(config) != (partner.id_base == 0):
        raise ContainerError(
            f'"{config.name}" has other user ids than the container whose namespace it shares',
            hint="give both `userns_mode: host`, or neither",
        )
    return None if partner is None or partner.id_base == 0 else partner


def shares_host_ids(config: ContainerConfig) -> bool:
    """No user namespace of its own: root in the container is the host's root."""
    return config.security.userns == "host" or config.security.privileged


def shim_name(record: ContainerRecord) -> str:
    """Which shim holds a container: one a stack; a single container has one of its own."""
    return record.config.project or record.id
