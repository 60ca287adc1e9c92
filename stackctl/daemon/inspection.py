"""A container's record in the shape of Docker's inspect and list answers. Pure.

Field names and units are those of the Docker Engine API (ContainerInspect,
ContainerSummary): times RFC 3339, durations nanoseconds, what is not set 0 or
empty and never missing, because clients read it without asking.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.daemon import inspected_networks, names, wish
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    DeviceLimit,
    Health,
    HealthCheck,
    ImageMount,
    Mount,
    Status,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.record import ContainerRecord
from stackctl.runtime.rootfs import MASKED, READ_ONLY
from stackctl.spec import units

Shape = dict[str, Any]

#: Docker's way to say "never".
NEVER = "0001-01-01T00:00:00Z"
_NANO = 1_000_000_000


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
        "Mounts": mount_points(config, volume_path),
        "Config": _config(record),
        "NetworkSettings": inspected_networks.settings(record),
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
    asked = wish.given_back(config.asked)
    shape: Shape = {
        "Hostname": names.hostname(record),
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": {port: {} for port in inspected_networks.exposed(config)},
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
    shell = test[:2] == ["/bin/sh", "-c"] and len(test) > 2
    return {
        "Test": ["CMD-SHELL", *test[2:]] if shell else ["CMD", *test],
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
    asked = wish.given_back(config.asked)
    return {
        "Binds": [
            _bind(m)
            for m in config.mounts
            if isinstance(m, BindMount) or (isinstance(m, VolumeMount) and not m.anonymous)
        ]
        or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": config.logging.driver, "Config": _log_options(config)},
        "NetworkMode": network_mode(config),
        "PortBindings": inspected_networks.port_bindings(config),
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
        "BlkioWeightDevice": _device_limits(limits.blkio_weight_device, "Weight"),
        "BlkioDeviceReadBps": _device_limits(limits.device_read_bps, "Rate"),
        "BlkioDeviceWriteBps": _device_limits(limits.device_write_bps, "Rate"),
        "BlkioDeviceReadIOps": _device_limits(limits.device_read_iops, "Rate"),
        "BlkioDeviceWriteIOps": _device_limits(limits.device_write_iops, "Rate"),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
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
        # As much swap as memory, when nothing is said: what the limit is, and Docker shows.
        "MemorySwap": limits.memory_swap or 2 * (limits.memory or 0),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids and max(limits.pids, 0),
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in config.ulimits],
        "Mounts": None,
        "MaskedPaths": [] if bare else list(MASKED),
        "ReadonlyPaths": [] if bare else list(READ_ONLY),
        "Annotations": dict(config.annotations),
        **asked.get("HostConfig", {}),
    }


def _device_limits(found: tuple[DeviceLimit, ...], what: str) -> list[Shape]:
    return [{"Path": each.path, what: each.value} for each in found]


def console_size(config: ContainerConfig) -> tuple[int, int]:
    """Height and width that a terminal shall begin with; 0 is unknown."""
    height, width = wish.given_back(config.asked).get("HostConfig", {}).get("ConsoleSize") or (0, 0)
    return max(0, min(height, 0xFFFF)), max(0, min(width, 0xFFFF))


def network_mode(config: ContainerConfig) -> str:
    if config.network_mode:
        return config.network_mode
    return config.networks[0].network if config.networks else "none"


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
    size, count = config.logging.max_size, config.logging.max_file
    found = {} if size is None else {"max-size": units.size_text(size)}
    return found if count is None else {**found, "max-file": str(count)}


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


def mount_points(config: ContainerConfig, volume_path: Callable[[str], str]) -> list[Shape]:
    """Mounts. What came as HostConfig.Tmpfs is not one of them, as in Docker."""
    host = wish.given_back(config.asked).get("HostConfig", {})
    hidden = {posixpath.normpath(target) for target in host.get("Tmpfs") or ()}
    modes = dict(_mode(spec) for spec in host.get("Binds") or ())
    found = []
    for mount in config.mounts:
        target = posixpath.normpath(mount.target)
        # The words of a bind's third part; those of a stack's are host_config's.
        mode = modes.get(target, "ro" if mount.read_only and not host else "")
        if not (isinstance(mount, TmpfsMount) and target in hidden):
            found.append(_mount_point(mount, mode, volume_path))
    return found


def _mode(bind: str) -> tuple[str, str]:
    """The target of SOURCE:TARGET[:MODE], and the mode."""
    parts = bind.split(":")
    target = parts[1] if len(parts) > 1 else parts[0]
    return posixpath.normpath(target), parts[2] if len(parts) > 2 else ""


def _mount_point(mount: Mount, mode: str, volume_path: Callable[[str], str]) -> Shape:
    match mount:
        case BindMount():
            return {
                "Type": "bind",
                "Source": mount.source,
                "Destination": mount.target,
                "Mode": mode,
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
                "Mode": mode or "z",
                "RW": not mount.read_only,
                "Propagation": "",
            }
        case ImageMount():
            return {
                "Type": "image",
                "Name": mount.image,
                "Source": mount.image_id,
                "Destination": mount.target,
                "Mode": "",
                "RW": False,
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


def listed(record: ContainerRecord, volume_path: Callable[[str], str]) -> Shape:
    """An entry of GET /containers/json, without Status, which changes as time goes by."""
    config = record.config
    settings = inspected_networks.settings(record)
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": config.image,
        "ImageID": config.image_id,
        "Command": command_line(config.argv),
        "Created": int(record.created_at),
        "Ports": inspected_networks.listed_ports(record),
        "Labels": dict(config.labels),
        "State": str(record.seen_status),
        "HostConfig": {
            "NetworkMode": network_mode(config),
            # Without any, as in Docker: the field is left out.
            **({"Annotations": dict(config.annotations)} if config.annotations else {}),
        },
        "NetworkSettings": {"Networks": settings["Networks"]},
        "Mounts": mount_points(config, volume_path),
    }


def command_line(argv: Sequence[str]) -> str:
    """As Docker lists it."""
    return " ".join(_quoted(word) for word in argv)


def _quoted(word: str) -> str:
    return f"'{word}'" if not word or " " in word else word
