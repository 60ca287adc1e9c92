"""A container's record in the shape of Docker's inspect and list answers. Pure.

Field names and units are those of the Docker Engine API (ContainerInspect,
ContainerSummary): times RFC 3339, durations nanoseconds, what is not set 0 or
empty and never missing, because clients read it without asking.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.daemon import names
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    Health,
    HealthCheck,
    Mount,
    Status,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.network import Endpoint, PublishedPort
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.net.options import pool_for
from stackctl.runtime.rootfs import MASKED, READ_ONLY

Shape = dict[str, Any]

#: Docker's way to say "never".
NEVER = "0001-01-01T00:00:00Z"
_NANO = 1_000_000_000


def pool_shape(record: NetworkRecord, subnet: str, gateway: str) -> dict[str, Any]:
    """One subnet as Docker's API has it."""
    pool: dict[str, Any] = {"Subnet": subnet, "Gateway": gateway}
    wanted = pool_for(record.config, subnet)
    if wanted.ip_range:
        pool["IPRange"] = wanted.ip_range
    if wanted.aux_addresses:
        pool["AuxiliaryAddresses"] = dict(wanted.aux_addresses)
    return pool


def timestamp(moment: float) -> str:
    """Unix seconds as RFC 3339 with nanoseconds in UTC; 0.0 is Docker's zero time."""
    if not moment:
        return NEVER
    whole = datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int(moment % 1 * _NANO):09d}Z"


def inspected(
    record: ContainerRecord,
    *,
    directory: Path,
    log: Path,
    volume_path: Callable[[str], str],
    exec_ids: Iterable[str] = (),
    health_log: Iterable[Mapping[str, Any]] = (),
) -> Shape:
    """GET /containers/{id}/json. `volume_path` gives a volume's host directory, or ""."""
    config = record.config
    argv = config.argv
    return {
        "Id": record.id,
        "Created": timestamp(record.created_at),
        "Path": argv[0] if argv else "",
        "Args": list(argv[1:]),
        "State": _state(record, health_log),
        "Image": config.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": str(log),
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": config.security.apparmor,
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": host_config(config),
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": str(directory / "rw")}},
        "Mounts": [mount_point(m, volume_path) for m in config.mounts],
        "Config": _config(record),
        "NetworkSettings": _network_settings(record),
    }


def _state(record: ContainerRecord, health_log: Iterable[Mapping[str, Any]]) -> Shape:
    status = record.seen_status
    state: Shape = {
        "Status": str(status),
        "Running": status.is_alive or status is Status.RESTARTING,
        "Paused": status is Status.PAUSED,
        "Restarting": status is Status.RESTARTING,
        "OOMKilled": record.oom_killed,
        "Dead": status is Status.DEAD,
        "Pid": record.process.pid if record.process and status.is_alive else 0,
        "ExitCode": record.exit_code or 0,
        "Error": record.error,
        "StartedAt": timestamp(record.started_at),
        "FinishedAt": timestamp(record.finished_at),
    }
    if record.config.health is not None:
        log = list(health_log)
        failing = 0
        for entry in reversed(log):
            if not entry["ExitCode"]:
                break
            failing += 1
        # Without a living process the check stands where it began.
        health = Health.STARTING if record.health is Health.NONE else record.health
        state["Health"] = {"Status": str(health), "FailingStreak": failing, "Log": log}
    return state


def _config(record: ContainerRecord) -> Shape:
    config = record.config
    asked = _asked(config)
    shape: Shape = {
        "Hostname": names.hostname(record),
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": {port: {} for port in exposed(config)},
        "Tty": config.tty,
        "OpenStdin": config.stdin_open,
        "StdinOnce": config.stdin_open and config.stdin_once,
        "Env": [*config.env, *asked.get("Env", ())],
        "Cmd": list(config.command) or None,
        "Image": config.image,
        "Volumes": {
            m.target: {} for m in config.mounts if isinstance(m, VolumeMount) and m.anonymous
        }
        or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "StopTimeout": int(config.stop_grace) if config.stop_grace < 1e9 else -1,
        **asked.get("Config", {}),
    }
    if config.health is not None:
        shape["Healthcheck"] = health_check(config.health)
    return shape


def health_check(health: HealthCheck) -> Shape:
    test = list(health.test)
    shell = test[:2] == ["/bin/sh", "-c"] and len(test) == 3
    return {
        "Test": ["CMD-SHELL", test[2]] if shell else ["CMD", *test],
        "Interval": int(health.interval * _NANO),
        "Timeout": int(health.timeout * _NANO),
        "Retries": health.retries,
        "StartPeriod": int(health.start_period * _NANO),
        "StartInterval": int((health.start_interval or 0) * _NANO),
    }


def host_config(config: ContainerConfig) -> Shape:
    """HostConfig: what was asked for, in the fields that clients compare and copy."""
    limits, security = config.limits, config.security
    bare = security.privileged or security.unmasked
    asked = _asked(config)
    return {
        "Binds": [_bind(m) for m in config.mounts if not isinstance(m, TmpfsMount) and _named(m)]
        or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": config.logging.driver, "Config": _log_options(config)},
        "NetworkMode": network_mode(config),
        "PortBindings": _port_bindings(config),
        "RestartPolicy": {
            "Name": str(config.restart.mode),
            "MaximumRetryCount": config.restart.max_retries,
        },
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": None,
        "ConsoleSize": [0, 0],
        "CapAdd": list(security.cap_add) or None,
        "CapDrop": list(security.cap_drop) or None,
        "CgroupnsMode": config.cgroup,
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options or ()),
        "DnsSearch": list(config.dns_search or ()),
        "ExtraHosts": [f"{name}:{address}" for name, address in config.extra_hosts] or None,
        "GroupAdd": list(config.group_add) or None,
        "IpcMode": config.ipc or "private",
        "Cgroup": "",
        "Links": [f"/{target}:/{config.name}/{alias}" for alias, target in config.links] or None,
        "OomScoreAdj": config.oom_score_adj or 0,
        "PidMode": config.pid,
        "Privileged": security.privileged,
        "PublishAllPorts": False,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": _security_options(config) or None,
        "Tmpfs": {m.target: _tmpfs_options(m) for m in config.mounts if isinstance(m, TmpfsMount)},
        "UTSMode": config.uts,
        "UsernsMode": "" if security.userns == "private" else security.userns,
        "ShmSize": config.shm_size,
        "Sysctls": dict(config.sysctls),
        "Runtime": "runc",
        "Isolation": "",
        "Init": config.init,
        "CpuShares": limits.cpu_shares or 0,
        "Memory": limits.memory or 0,
        "NanoCpus": int((limits.cpus or 0) * _NANO),
        "CgroupParent": "",
        "BlkioWeight": limits.blkio_weight or 0,
        "CpuPeriod": limits.cpu_period or 0,
        "CpuQuota": limits.cpu_quota or 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "Devices": [
            {
                "PathOnHost": d.source,
                "PathInContainer": d.target,
                "CgroupPermissions": d.permissions,
            }
            for d in config.devices
        ],
        "DeviceCgroupRules": list(config.device_cgroup_rules) or None,
        "DeviceRequests": None,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwap": limits.memory_swap or 0,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in config.ulimits],
        "Mounts": None,
        "MaskedPaths": [] if bare else list(MASKED),
        "ReadonlyPaths": [] if bare else list(READ_ONLY),
        "Annotations": dict(config.annotations),
        **asked.get("HostConfig", {}),
    }


def _asked(config: ContainerConfig) -> dict[str, Any]:
    """What a client asked for in its own words; see stackctl.daemon.wish."""
    found: dict[str, Any] = json.loads(config.asked) if config.asked else {}
    return found


def console_size(config: ContainerConfig) -> tuple[int, int]:
    """Height and width that a terminal shall begin with; 0 is unknown."""
    height, width = _asked(config).get("HostConfig", {}).get("ConsoleSize") or (0, 0)
    return max(0, min(height, 0xFFFF)), max(0, min(width, 0xFFFF))


def network_mode(config: ContainerConfig) -> str:
    if config.network_mode:
        return config.network_mode
    return config.networks[0].network if config.networks else "none"


def _named(mount: Mount) -> bool:
    return not (isinstance(mount, VolumeMount) and mount.anonymous)


def _bind(mount: BindMount | VolumeMount) -> str:
    source = mount.source if isinstance(mount, BindMount) else mount.volume
    return f"{source}:{mount.target}:{'ro' if mount.read_only else 'rw'}"


def _tmpfs_options(mount: TmpfsMount) -> str:
    found = ["ro"] if mount.read_only else []
    if mount.size is not None:
        found.append(f"size={mount.size}")
    if mount.mode is not None:
        found.append(f"mode={mount.mode:o}")
    return ",".join(found)


def _log_options(config: ContainerConfig) -> dict[str, str]:
    found = {"max-size": config.logging.max_size, "max-file": config.logging.max_file}
    return {name: str(value) for name, value in found.items() if value is not None}


def _security_options(config: ContainerConfig) -> list[str]:
    security, found = config.security, []
    if security.no_new_privileges:
        found.append("no-new-privileges")
    if security.seccomp != "default":
        found.append(f"seccomp={security.seccomp}")
    if security.apparmor:
        found.append(f"apparmor={security.apparmor}")
    found.extend(f"label={part}" for part in security.label)
    return found


def mount_point(mount: Mount, volume_path: Callable[[str], str]) -> Shape:
    """One of Mounts."""
    match mount:
        case BindMount():
            return {
                "Type": "bind",
                "Source": mount.source,
                "Destination": mount.target,
                "Mode": "ro" if mount.read_only else "",
                "RW": not mount.read_only,
                "Propagation": mount.propagation,
            }
        case VolumeMount():
            return {
                "Type": "volume",
                "Name": mount.volume,
                "Source": volume_path(mount.volume),
                "Destination": mount.target,
                "Driver": "local",
                "Mode": "ro" if mount.read_only else "z",
                "RW": not mount.read_only,
                "Propagation": "",
            }
        case TmpfsMount():
            return {
                "Type": "tmpfs",
                "Source": "",
                "Destination": mount.target,
                "Mode": "",
                "RW": not mount.read_only,
                "Propagation": "",
            }


# -- networks and ports


def _network_settings(record: ContainerRecord) -> Shape:
    lives = record.status.is_alive
    networks = {e.network: endpoint(record, e) for e in record.endpoints}
    if record.config.network_mode in ("none", "host"):
        networks = {record.config.network_mode: _nothing()}
    # The fields at the top are those of the default network, as old clients read them.
    first = networks.get("bridge") or _nothing()
    return {
        "Bridge": "",
        "SandboxID": record.id if lives else "",
        "SandboxKey": f"/proc/{record.process.pid}/ns/net" if lives and record.process else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "Ports": port_map(record) if lives else {},
        **{
            key: first[key]
            for key in (
                "EndpointID",
                "Gateway",
                "GlobalIPv6Address",
                "GlobalIPv6PrefixLen",
                "IPAddress",
                "IPPrefixLen",
                "IPv6Gateway",
                "MacAddress",
            )
        },
        "Networks": networks,
    }


def _nothing() -> Shape:
    return {
        "IPAMConfig": None,
        "Links": [],
        "Aliases": [],
        "MacAddress": "",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": [],
    }


def endpoint(record: ContainerRecord, leased: Endpoint) -> Shape:
    """One of NetworkSettings.Networks; addresses only while it lives, as Docker has it."""
    shape = _nothing()
    shape["NetworkID"] = leased.network_id
    shape["GwPriority"] = leased.gw_priority
    aliases = [*leased.aliases, names.short_id(record.id)]
    shape["Aliases"] = list(dict.fromkeys(aliases))
    shape["DNSNames"] = list(names.names_on_network(record, leased))
    for attachment in record.config.networks:
        if attachment.network != leased.network:
            continue
        shape["MacAddress"] = attachment.mac_address
        if attachment.ipv4_address or attachment.ipv6_address:
            shape["IPAMConfig"] = {
                key: value
                for key, value in (
                    ("IPv4Address", attachment.ipv4_address),
                    ("IPv6Address", attachment.ipv6_address),
                )
                if value
            }
    asked = _asked(record.config).get("Endpoints", {})
    shape.update(asked.get(leased.network) or asked.get("default", {}))
    if not record.status.is_alive:
        return shape
    ipv4, _, prefix4 = leased.ipv4.partition("/")
    ipv6, _, prefix6 = leased.ipv6.partition("/")
    shape.update(
        EndpointID=f"{leased.network_id[:32]}{record.id[:32]}",
        MacAddress=leased.mac,
        Gateway=leased.gateway4,
        IPAddress=ipv4,
        IPPrefixLen=int(prefix4 or 0),
        IPv6Gateway=leased.gateway6,
        GlobalIPv6Address=ipv6,
        GlobalIPv6PrefixLen=int(prefix6 or 0),
    )
    return shape


def exposed(config: ContainerConfig) -> list[str]:
    bound = (f"{p.container_port}/{p.protocol}" for p in config.ports)
    return list(dict.fromkeys((*config.expose, *bound)))


def port_map(record: ContainerRecord) -> dict[str, list[dict[str, str]] | None]:
    """NetworkSettings.Ports: exposed ports, those that are published with where."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed(record.config))
    for port in record.ports:
        key = f"{port.container_port}/{port.protocol}"
        where = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        found[key] = [*(found.get(key) or ()), where]
    return found


def _port_bindings(config: ContainerConfig) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in config.ports:
        first, last = port.host_port or (0, 0)
        text = "" if not first else str(first) if first == last else f"{first}-{last}"
        where = {"HostIp": port.host_ip, "HostPort": text}
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(where)
    return found


def listed_ports(record: ContainerRecord) -> list[Shape]:
    """Ports of a list's entry: one a published address, one an exposed port without."""
    if not record.status.is_alive:
        return []
    published: list[Shape] = [_listed_port(port) for port in record.ports]
    taken = {(p.container_port, p.protocol) for p in record.ports}
    for text in exposed(record.config):
        number, _, protocol = text.partition("/")
        if number.isdigit() and (int(number), protocol) not in taken:
            published.append({"PrivatePort": int(number), "Type": protocol})
    return published


def _listed_port(port: PublishedPort) -> Shape:
    return {
        "IP": port.host_ip,
        "PrivatePort": port.container_port,
        "PublicPort": port.host_port,
        "Type": port.protocol,
    }


def listed(record: ContainerRecord, volume_path: Callable[[str], str]) -> Shape:
    """An entry of GET /containers/json, without Status, which changes as time goes by."""
    config = record.config
    settings = _network_settings(record)
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": config.image,
        "ImageID": config.image_id,
        "Command": " ".join(_quoted(word) for word in config.argv),
        "Created": int(record.created_at),
        "Ports": listed_ports(record),
        "Labels": dict(config.labels),
        "State": str(record.seen_status),
        "HostConfig": {"NetworkMode": network_mode(config)},
        "NetworkSettings": {"Networks": settings["Networks"]},
        "Mounts": [mount_point(m, volume_path) for m in config.mounts],
    }


def _quoted(word: str) -> str:
    return f"'{word}'" if not word or " " in word else word
