"""Flags of `container run` and `create` -> Docker's create request. Reads --env-file & co.

What the engine can check it checks; here is only what needs the caller's files, working
directory and environment, or the flags' own notation. Raises UsageError.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stackctl.cli.project import current_directory
from stackctl.cli.values import duration, variables
from stackctl.errors import UsageError
from stackctl.spec import units

#: Flags that docker has and we have not, and why.
REFUSED = {
    "gpus": "no device is handed out by its kind; name it with --device",
    "storage_opt": "a container's layer has no size of its own",
    "cgroup_parent": "containers lie in the engine's own control group",
    "cpu_rt_period": "no real-time time slices are given out",
    "cpu_rt_runtime": "no real-time time slices are given out",
    "kernel_memory": "kernels have no such limit any more",
    "isolation": "it is for Windows",
    "cpu_count": "it is for Windows",
    "cpu_percent": "it is for Windows",
    "io_maxbandwidth": "it is for Windows",
    "io_maxiops": "it is for Windows",
}

Wish = dict[str, Any]


def wish(
    image: str, command: Sequence[str], flags: Mapping[str, Any], environment: Mapping[str, str]
) -> Wish:
    """The body of POST /containers/create, with what was given only."""
    for name, reason in REFUSED.items():
        if flags.get(name):
            raise UsageError(f"--{name.replace('_', '-')} is not supported: {reason}")
    publish: Iterable[str] = flags.get("publish") or ()
    bindings, exposed = _bindings(publish, environment) if publish else ({}, [])
    exposed += [port for text in flags.get("expose") or () for port in _exposed(text)]
    binds, anonymous = _binds(flags.get("volumes") or ())
    network, endpoints = _networks(flags)
    made: Wish = {
        "Image": image,
        "Cmd": list(command) or None,
        "Entrypoint": None if flags.get("entrypoint") is None else [flags["entrypoint"]],
        "Env": _environment(flags, environment),
        "User": flags.get("user"),
        "WorkingDir": flags.get("workdir"),
        "Hostname": flags.get("hostname"),
        "Domainname": flags.get("domainname"),
        "Labels": _labels(flags),
        "Tty": flags.get("tty"),
        "OpenStdin": flags.get("interactive"),
        "ExposedPorts": {port: {} for port in exposed},
        "Volumes": {target: {} for target in anonymous},
        "StopSignal": flags.get("stop_signal"),
        "StopTimeout": flags.get("stop_timeout"),
        "Healthcheck": _health(flags),
        "HostConfig": {
            **_limits(flags),
            **_rights(flags),
            "AutoRemove": flags.get("remove"),
            "Binds": binds,
            "Mounts": [_mount(text) for text in flags.get("mounts") or ()],
            "Tmpfs": dict(_pair(text, ":") for text in flags.get("tmpfs") or ()),
            "VolumesFrom": flags.get("volumes_from"),
            "VolumeDriver": flags.get("volume_driver"),
            "PortBindings": bindings,
            "PublishAllPorts": flags.get("publish_all"),
            "NetworkMode": network,
            "RestartPolicy": restart_policy(flags.get("restart")),
            "Dns": flags.get("dns"),
            "DnsSearch": flags.get("dns_search"),
            "DnsOptions": flags.get("dns_option"),
            "ExtraHosts": flags.get("add_host"),
            "Links": flags.get("link"),
            "Init": flags.get("init"),
            "Runtime": flags.get("runtime"),
            "Annotations": dict(_pair(text, "=") for text in flags.get("annotation") or ()),
            "LogConfig": {
                "Type": flags.get("log_driver") or "",
                "Config": dict(_pair(text, "=") for text in flags.get("log_opt") or ()),
            },
        },
        "NetworkingConfig": {"EndpointsConfig": endpoints},
    }
    made["HostConfig"] = _given(made["HostConfig"])
    return _given(made)


def _given(raw: Wish) -> Wish:
    """What was said; 0 is something."""
    return {
        key: value
        for key, value in raw.items()
        if value is not None and value is not False and value not in ("", [], {})
    }


def _pair(text: str, separator: str) -> tuple[str, str]:
    key, _, value = text.partition(separator)
    return key, value


def size(flag: str, text: str | None) -> int | None:
    """Bytes of 64m, 1.5g, or a number; -1 stays."""
    if text is None:
        return None
    try:
        return units.size(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None


def file_lines(flag: str, files: Iterable[str]) -> list[str]:
    found = []
    for file in files:
        try:
            text = Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"{flag} {file}: {why}") from None
        lines = (line.lstrip() for line in text.splitlines())
        found += [line for line in lines if line and not line.startswith("#")]
    return found


def _environment(flags: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """--env-file first; a name without a value takes the caller's, if there is one."""
    lines = file_lines("--env-file", flags.get("env_file") or ())
    return variables([*lines, *(flags.get("env") or ())], environment)


def _labels(flags: Mapping[str, Any]) -> dict[str, str]:
    lines = file_lines("--label-file", flags.get("label_file") or ())
    return dict(_pair(text, "=") for text in [*lines, *(flags.get("labels") or ())])


# -- ports and networks


def _bindings(
    specs: Iterable[str], environment: Mapping[str, str]
) -> tuple[dict[str, list[dict[str, str]]], list[str]]:
    # Half the commands publish nothing.
    from stackctl.spec import ports

    bindings: dict[str, list[dict[str, str]]] = {}
    usual = ports.usual_address(environment)
    for spec in specs:
        try:
            found = ports.parse(spec)
        except ValueError as error:
            raise UsageError(f"--publish {spec}: {error}") from None
        for port in found:
            bindings.setdefault(f"{port.target}/{port.protocol}", []).append(
                {"HostIp": port.host_ip or usual, "HostPort": port.published}
            )
    return bindings, list(bindings)


def _exposed(text: str) -> list[str]:
    """PORT[-END][/PROTOCOL] -> each port of it."""
    from stackctl.spec import ports

    number, _, protocol = text.partition("/")
    try:
        first, last = ports.port_range(number)
    except ValueError as error:
        raise UsageError(f"invalid range format for --expose: {text}, error: {error}") from None
    return [f"{port}/{protocol or 'tcp'}" for port in range(first, last + 1)]


def _networks(flags: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """NetworkMode and the endpoints' settings; --ip and the like are for the first network."""
    given: list[str] = flags.get("network") or []
    endpoints: dict[str, Any] = {}
    for text in given:
        name, settings = _network(text)
        endpoints[name] = settings
    first = next(iter(endpoints), "default")
    settings = endpoints.setdefault(first, {})
    settings["Aliases"] = [*settings.get("Aliases", ()), *(flags.get("network_alias") or ())]
    ipam = {
        "IPv4Address": flags.get("ip"),
        "IPv6Address": flags.get("ip6"),
        "LinkLocalIPs": flags.get("link_local_ip"),
    }
    settings["IPAMConfig"] = {**settings.get("IPAMConfig", {}), **_given(ipam)}
    settings["MacAddress"] = flags.get("mac_address") or settings.get("MacAddress")
    shared = first in ("none", "host") or first.startswith("container:")
    if shared and (len(endpoints) > 1 or any(_given(settings))):
        raise UsageError(f'"{first}" does not go with other networks, aliases or addresses')
    return first, {} if shared else {n: s for n, s in map(_cleaned, endpoints.items()) if n}


def _cleaned(item: tuple[str, Wish]) -> tuple[str, Wish]:
    return item[0], _given(item[1])


def _network(text: str) -> tuple[str, Wish]:
    """NAME, or name=NAME,alias=X,ip=X,ip6=X,mac-address=X,gw-priority=N and so on."""
    if "=" not in text:
        return text, {}
    name, settings, ipam = "", {}, {}
    aliases: list[str] = []
    options: dict[str, str] = {}
    local: list[str] = []
    for part in next(csv.reader([text])):
        key, value = _pair(part, "=")
        match key:
            case "name":
                name = value
            case "alias":
                aliases.append(value)
            case "ip":
                ipam["IPv4Address"] = value
            case "ip6":
                ipam["IPv6Address"] = value
            case "mac-address":
                settings["MacAddress"] = value
            case "link-local-ip":
                local.append(value)
            case "driver-opt":
                option, setting = _pair(value, "=")
                options[option] = setting
            case "gw-priority" if value.lstrip("-").isdecimal():
                settings["GwPriority"] = int(value)  # type: ignore[assignment]
            case _:
                raise UsageError(f'--network "{text}": "{key}" is not known')
    more = _given({"Aliases": aliases, "DriverOpts": options})
    return name, {**settings, **more, "IPAMConfig": _given({**ipam, "LinkLocalIPs": local})}


# -- mounts


def _binds(specs: Iterable[str]) -> tuple[list[str], list[str]]:
    """Binds with absolute host paths, and the targets of anonymous volumes."""
    binds, anonymous = [], []
    for spec in specs:
        if ":" not in spec:
            anonymous.append(spec)
            continue
        source, rest = _pair(spec, ":")
        if source[:1] in ("~", "."):
            source = os.path.normpath(Path(current_directory(), Path(source).expanduser()))
        binds.append(f"{source}:{rest}")
    return binds, anonymous


_MOUNT_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


def _mount(text: str) -> Wish:
    """type=bind,source=/a,target=/b,readonly -> a Mount of Docker's API."""
    mount: Wish = {"Type": "volume"}
    bind: Wish = {}
    volume: Wish = {}
    driver: Wish = {}
    tmpfs: Wish = {}
    image: Wish = {}
    # A value with a comma in it is quoted, as in CSV files.
    for part in next(csv.reader([text])) if '"' in text else text.split(","):
        key, equals, value = part.partition("=")
        yes = not equals or value in ("true", "1")
        match _MOUNT_NAMES.get(key, key):
            case "type":
                mount["Type"] = value
            case "source":
                mount["Source"] = value
            case "target":
                mount["Target"] = value
            case "readonly":
                mount["ReadOnly"] = yes
            case "bind-propagation":
                bind["Propagation"] = value
            case "bind-create-src":
                bind["CreateMountpoint"] = yes
            case "bind-nonrecursive":
                bind["NonRecursive"] = yes
            case "bind-recursive" if value in ("enabled", "disabled", "writable", "readonly"):
                bind["NonRecursive"] = value == "disabled"
                bind["ReadOnlyNonRecursive"] = value == "writable"
            case "volume-nocopy":
                volume["NoCopy"] = yes
            case "volume-subpath":
                volume["Subpath"] = value
            case "image-subpath":
                image["Subpath"] = value
            case "volume-label":
                name, said = _pair(value, "=")
                volume.setdefault("Labels", {})[name] = said
            case "volume-driver":
                driver["Name"] = value
            case "volume-opt":
                name, said = _pair(value, "=")
                driver.setdefault("Options", {})[name] = said
            case "tmpfs-size":
                tmpfs["SizeBytes"] = size("--mount tmpfs-size", value)
            case "tmpfs-mode" if value and not set(value) - set("01234567"):
                tmpfs["Mode"] = int(value, 8)
            case "consistency":
                pass  # of other systems
            case _:
                raise UsageError(f'--mount "{text}": "{part}" is not known')
    if not mount.get("Target"):
        raise UsageError(f'--mount "{text}" has no target')
    if mount["Type"] == "bind" and mount.get("Source"):
        mount["Source"] = os.path.normpath(Path(current_directory(), mount["Source"]))
    if driver:
        volume["DriverConfig"] = driver
    options = {
        "BindOptions": bind,
        "VolumeOptions": volume,
        "TmpfsOptions": tmpfs,
        "ImageOptions": image,
    }
    return {**mount, **_given(options)}


# -- limits, rights, life


def _limits(flags: Mapping[str, Any]) -> Wish:
    return {
        **limits(flags),
        "BlkioWeightDevice": _rates(flags, "blkio_weight_device", "Weight"),
        "BlkioDeviceReadBps": _rates(flags, "device_read_bps"),
        "BlkioDeviceWriteBps": _rates(flags, "device_write_bps"),
        "BlkioDeviceReadIOps": _rates(flags, "device_read_iops"),
        "BlkioDeviceWriteIOps": _rates(flags, "device_write_iops"),
        "MemorySwappiness": flags.get("memory_swappiness"),
        "OomKillDisable": flags.get("oom_kill_disable"),
        "OomScoreAdj": flags.get("oom_score_adj"),
        "ShmSize": size("--shm-size", flags.get("shm_size")),
        "Ulimits": [_ulimit(text) for text in flags.get("ulimits") or ()],
    }


def limits(flags: Mapping[str, Any]) -> Wish:
    """The limits that `update` changes as well."""
    return {
        "Memory": size("--memory", flags.get("memory")),
        "MemoryReservation": size("--memory-reservation", flags.get("memory_reservation")),
        "MemorySwap": size("--memory-swap", flags.get("memory_swap")),
        "NanoCpus": _nano_cpus(flags.get("cpus")),
        "CpuShares": flags.get("cpu_shares"),
        "CpuPeriod": flags.get("cpu_period"),
        "CpuQuota": flags.get("cpu_quota"),
        "CpusetCpus": flags.get("cpuset_cpus"),
        "CpusetMems": flags.get("cpuset_mems"),
        "PidsLimit": flags.get("pids_limit"),
        "BlkioWeight": flags.get("blkio_weight"),
    }


def _nano_cpus(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return round(float(text) * 1e9)
    except ValueError:
        raise UsageError(f'--cpus "{text}" is not a number', hint="--cpus 1.5") from None


def _rates(flags: Mapping[str, Any], name: str, what: str = "Rate") -> list[Wish]:
    flag = f"--{name.replace('_', '-')}"
    return [
        {"Path": path, what: size(flag, rate)}
        for path, rate in (_pair(text, ":") for text in flags.get(name) or ())
    ]


def _ulimit(text: str) -> Wish:
    name, value = _pair(text, "=")
    soft, _, hard = value.partition(":")
    try:
        low = -1 if soft == "unlimited" else int(soft)
        high = low if not hard else -1 if hard == "unlimited" else int(hard)
    except ValueError:
        raise UsageError(f'--ulimit "{text}" is not NAME=SOFT[:HARD]', hint="nofile=1024") from None
    return {"Name": name, "Soft": low, "Hard": high}


def _rights(flags: Mapping[str, Any]) -> Wish:
    return {
        "Privileged": flags.get("privileged"),
        "CapAdd": flags.get("cap_add"),
        "CapDrop": flags.get("cap_drop"),
        "SecurityOpt": [_security(text) for text in flags.get("security_opt") or ()],
        "ReadonlyRootfs": flags.get("read_only"),
        "UsernsMode": flags.get("userns"),
        "IpcMode": flags.get("ipc"),
        "PidMode": flags.get("pid"),
        "UTSMode": flags.get("uts"),
        "CgroupnsMode": flags.get("cgroupns"),
        "GroupAdd": flags.get("group_add"),
        "Sysctls": dict(_pair(text, "=") for text in flags.get("sysctls") or ()),
        "Devices": [_device(text) for text in flags.get("devices") or ()],
        "DeviceCgroupRules": flags.get("device_cgroup_rules"),
    }


def _security(text: str) -> str:
    """A seccomp profile is sent as its text: the engine does not open the caller's files."""
    key, _, value = text.replace(":", "=", 1).partition("=")
    if key != "seccomp" or value in ("unconfined", "builtin"):
        return text
    try:
        return "seccomp=" + Path(value).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--security-opt {text}: {why}") from None


def _device(text: str) -> Wish:
    parts = text.split(":")
    inside, permissions = parts[0], "rwm"
    if len(parts) > 1 and parts[1].startswith("/"):
        inside = parts[1]
        permissions = parts[2] if len(parts) > 2 else permissions
    elif len(parts) > 1:
        permissions = parts[1]
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": permissions}


def restart_policy(text: str | None) -> Wish:
    if not text:
        return {}
    name, colon, retries = text.partition(":")
    if colon and not retries.isdecimal():
        raise UsageError(f'--restart "{text}": "{retries}" is not a number')
    return {"Name": name, "MaximumRetryCount": int(retries or 0)}


def _health(flags: Mapping[str, Any]) -> Wish:
    interval = flags.get("health_start_interval")
    own = {
        "Test": ["CMD-SHELL", flags["health_cmd"]] if flags.get("health_cmd") else None,
        "Interval": _nanoseconds("--health-interval", flags.get("health_interval")),
        "Timeout": _nanoseconds("--health-timeout", flags.get("health_timeout")),
        "Retries": flags.get("health_retries"),
        "StartPeriod": _nanoseconds("--health-start-period", flags.get("health_start_period")),
        "StartInterval": _nanoseconds("--health-start-interval", interval),
    }
    if not flags.get("no_healthcheck"):
        return _given(own)
    if _given(own):
        raise UsageError("--no-healthcheck does not go with the other --health-... flags")
    return {"Test": ["NONE"]}


def _nanoseconds(flag: str, text: str | None) -> int | None:
    if text is None:
        return None
    seconds = 0.0 if text == "0" else duration(text)
    if seconds is None:
        raise UsageError(f'{flag} "{text}" is not a duration', hint="30s, 1m30s, 500ms")
    return round(seconds * 1e9)
