"""What a create request in Docker's form may say, field by field. Pure.

Every field of ContainerConfig, HostConfig and EndpointSettings of the API is in a table:
of which JSON type it is, whether it changes nothing here (the client is warned), and
whether inspect gives it back in the words that it came in. What is carried out is in
stackctl.daemon.single; what cannot be is refused there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stackctl.errors import UsageError
from stackctl.model import addressing
from stackctl.model.log_options import LOG_OPTIONS_WITHOUT_EFFECT
from stackctl.runtime.rootfs import MASKED, READ_ONLY

Wish = Mapping[str, Any]
#: str, int, bool: a value; [x]: a list of; {"": x}: an object with any names; {...}: a
#: struct, whose unknown names are left alone, and whose names in "*" have to be there; a
#: tuple: one of several.
Form = Any

_DEVICE_RATE = [{"Path": str, "Rate": int, "*": ("Path", "Rate")}]
_ENDPOINT = {
    "IPAMConfig": {"IPv4Address": str, "IPv6Address": str, "LinkLocalIPs": [str]},
    "Links": [str],
    "Aliases": [str],
    "MacAddress": str,
    "DriverOpts": {"": str},
    "GwPriority": int,
    # What inspect says of an endpoint and copies of it bring along.
    "NetworkID": str,
    "EndpointID": str,
    "Gateway": str,
    "IPAddress": str,
    "IPPrefixLen": int,
    "IPv6Gateway": str,
    "GlobalIPv6Address": str,
    "GlobalIPv6PrefixLen": int,
    "DNSNames": [str],
}
_MOUNT = {
    "Target": str,
    "Source": str,
    "Type": str,
    "ReadOnly": bool,
    "Consistency": str,
    "BindOptions": {
        "Propagation": str,
        "NonRecursive": bool,
        "CreateMountpoint": bool,
        "ReadOnlyNonRecursive": bool,
        "ReadOnlyForceRecursive": bool,
    },
    "VolumeOptions": {
        "NoCopy": bool,
        "Labels": {"": str},
        "DriverConfig": {"Name": str, "Options": {"": str}},
        "Subpath": str,
    },
    "ImageOptions": {"Subpath": str},
    "TmpfsOptions": {"SizeBytes": int, "Mode": int, "Options": [[str]]},
}
HOST_CONFIG: Mapping[str, Form] = {
    "CpuShares": int,
    "Memory": int,
    "CgroupParent": str,
    "BlkioWeight": int,
    "BlkioWeightDevice": [{"Path": str, "Weight": int, "*": ("Path", "Weight")}],
    "BlkioDeviceReadBps": _DEVICE_RATE,
    "BlkioDeviceWriteBps": _DEVICE_RATE,
    "BlkioDeviceReadIOps": _DEVICE_RATE,
    "BlkioDeviceWriteIOps": _DEVICE_RATE,
    "CpuPeriod": int,
    "CpuQuota": int,
    "CpuRealtimePeriod": int,
    "CpuRealtimeRuntime": int,
    "CpusetCpus": str,
    "CpusetMems": str,
    "Devices": [
        {
            "PathOnHost": str,
            "PathInContainer": str,
            "CgroupPermissions": str,
            "*": ("PathOnHost",),
        }
    ],
    "DeviceCgroupRules": [str],
    "DeviceRequests": [
        {
            "Driver": str,
            "Count": int,
            "DeviceIDs": [str],
            "Capabilities": [[str]],
            "Options": {"": str},
        }
    ],
    "KernelMemoryTCP": int,
    "MemoryReservation": int,
    "MemorySwap": int,
    "MemorySwappiness": int,
    "NanoCpus": int,
    "OomKillDisable": bool,
    "Init": bool,
    "PidsLimit": int,
    "Ulimits": [{"Name": str, "Soft": int, "Hard": int, "*": ("Name", "Soft", "Hard")}],
    "CpuCount": int,
    "CpuPercent": int,
    "IOMaximumIOps": int,
    "IOMaximumBandwidth": int,
    "Binds": [str],
    "ContainerIDFile": str,
    "LogConfig": {"Type": str, "Config": {"": str}},
    "NetworkMode": str,
    "PortBindings": {"": [{"HostIp": str, "HostPort": str}]},
    "RestartPolicy": {"Name": str, "MaximumRetryCount": int},
    "AutoRemove": bool,
    "VolumeDriver": str,
    "VolumesFrom": [str],
    "Mounts": [_MOUNT],
    "ConsoleSize": [int],
    "Annotations": {"": str},
    "CapAdd": [str],
    "CapDrop": [str],
    "CgroupnsMode": str,
    "Dns": [str],
    "DnsOptions": [str],
    "DnsSearch": [str],
    "ExtraHosts": [str],
    "GroupAdd": [str],
    "IpcMode": str,
    "Cgroup": str,
    "Links": [str],
    "OomScoreAdj": int,
    "PidMode": str,
    "Privileged": bool,
    "PublishAllPorts": bool,
    "ReadonlyRootfs": bool,
    "SecurityOpt": [str],
    "StorageOpt": {"": str},
    "Tmpfs": {"": str},
    "UTSMode": str,
    "UsernsMode": str,
    "ShmSize": int,
    "Sysctls": {"": str},
    "Runtime": str,
    "Isolation": str,
    "MaskedPaths": [str],
    "ReadonlyPaths": [str],
}
CONFIG: Mapping[str, Form] = {
    "Hostname": str,
    "Domainname": str,
    "User": str,
    "AttachStdin": bool,
    "AttachStdout": bool,
    "AttachStderr": bool,
    "ExposedPorts": {"": {}},
    "Tty": bool,
    "OpenStdin": bool,
    "StdinOnce": bool,
    "Env": [str],
    "Cmd": (str, [str]),
    "Healthcheck": {
        "Test": [str],
        "Interval": int,
        "Timeout": int,
        "Retries": int,
        "StartPeriod": int,
        "StartInterval": int,
    },
    "ArgsEscaped": bool,
    "Image": str,
    "Volumes": {"": {}},
    "WorkingDir": str,
    "Entrypoint": (str, [str]),
    "NetworkDisabled": bool,
    "MacAddress": str,
    "OnBuild": [str],
    "Labels": {"": str},
    "StopSignal": str,
    "StopTimeout": int,
    "Shell": (str, [str]),
}
CREATE: Mapping[str, Form] = {
    **CONFIG,
    "HostConfig": HOST_CONFIG,
    "NetworkingConfig": {"EndpointsConfig": {"": _ENDPOINT}},
}
ENDPOINT: Mapping[str, Form] = _ENDPOINT
EXEC: Mapping[str, Form] = {
    "AttachStdin": bool,
    "AttachStdout": bool,
    "AttachStderr": bool,
    "ConsoleSize": [int],
    "DetachKeys": str,
    "Tty": bool,
    "Env": [str],
    "Cmd": [str],
    "Privileged": bool,
    "User": str,
    "WorkingDir": str,
}
NETWORK: Mapping[str, Form] = {
    "Name": str,
    "Driver": str,
    "Scope": str,
    "Internal": bool,
    "Attachable": bool,
    "Ingress": bool,
    "ConfigOnly": bool,
    "ConfigFrom": {"Network": str},
    "IPAM": {
        "Driver": str,
        "Config": [
            {"Subnet": str, "IPRange": str, "Gateway": str, "AuxiliaryAddresses": {"": str}}
        ],
        "Options": {"": str},
    },
    "EnableIPv4": bool,
    "EnableIPv6": bool,
    "Options": {"": str},
    "Labels": {"": str},
}
NETWORK_CONNECT: Mapping[str, Form] = {"Container": str, "EndpointConfig": _ENDPOINT}
NETWORK_DISCONNECT: Mapping[str, Form] = {"Container": str, "Force": bool}
VOLUME: Mapping[str, Form] = {
    "Name": str,
    "Driver": str,
    "DriverOpts": {"": str},
    "Labels": {"": str},
    "ClusterVolumeSpec": {},
}
EXEC_START: Mapping[str, Form] = {"Detach": bool, "Tty": bool, "ConsoleSize": [int]}

#: Fields that change nothing here, and why; the client is told when it sets one.
_NO_EFFECT = {
    "ArgsEscaped": "it is for Windows",
    "HostConfig.CpuCount": "it is for Windows",
    "HostConfig.CpuPercent": "it is for Windows",
    "HostConfig.IOMaximumIOps": "it is for Windows",
    "HostConfig.IOMaximumBandwidth": "it is for Windows",
    "HostConfig.KernelMemoryTCP": "kernels have no such limit any more",
    "HostConfig.CpuRealtimePeriod": "no real-time time slices are given out",
    "HostConfig.CpuRealtimeRuntime": "no real-time time slices are given out",
}
#: Fields that inspect gives back as they came: what the model keeps in other words, or what
#: only clients read.
_GIVEN_BACK = (*("OnBuild", "Shell", "MacAddress"),)
_ATTACHED = ("AttachStdin", "AttachStdout", "AttachStderr")
_GIVEN_BACK_HOST = (
    *("Binds", "Mounts", "VolumesFrom", "Tmpfs", "PublishAllPorts", "ContainerIDFile"),
    *("ConsoleSize", "VolumeDriver", "Isolation", "GroupAdd", "ExtraHosts", "CapAdd", "CapDrop"),
)
#: The driver options of an endpoint that have an effect.
ENDPOINT_OPTIONS = (addressing.ENDPOINT_NAME, addressing.ENDPOINT_SETTINGS)


def checked(wish: Any, form: Form = CREATE, place: str = "") -> None:
    """UsageError, with its place, for the first value that is of another type than its field."""
    if wish is None:
        return
    match form:
        case tuple():
            if not any(_fits(wish, each) for each in form):
                raise UsageError(f"{place}: a text or a list of texts is expected")
            if isinstance(wish, list):
                checked(wish, [str], place)
        case list():
            if not isinstance(wish, list):
                raise UsageError(f"{place}: a list is expected, not {_shown(wish)}")
            for number, value in enumerate(wish):
                if value is None:
                    raise UsageError(f"{place}[{number}] is null")
                checked(value, form[0], f"{place}[{number}]")
        case Mapping():
            if not isinstance(wish, Mapping):
                raise UsageError(f"{place}: an object is expected, not {_shown(wish)}")
            for name in form.get("*", ()):
                if wish.get(name) is None:
                    raise UsageError(f"{place}.{name} is missing")
            for name, value in wish.items():
                inner = form.get(name, form.get("")) if name != "*" else None
                if inner is not None:
                    checked(value, inner, f"{place}.{name}" if place else name)
        case _:
            if not _fits(wish, form):
                raise UsageError(f"{place}: {_TYPES[form]} is expected, not {_shown(wish)}")


def canonical(body: Wish, form: Mapping[str, Form]) -> dict[str, Any]:
    """The same with the fields' names as they are written here.

    Docker's server reads names in any case, and docker-py counts on it ("detachKeys").
    """
    known = {name.lower(): name for name in form}
    found = {n: v for n, v in body.items() if n in form or n.lower() not in known}
    for name, value in body.items():
        found.setdefault(known.get(name.lower(), name), value)
    return found


_TYPES = {str: "a text", int: "a whole number", bool: "true or false"}


def _fits(value: Any, form: Form) -> bool:
    if isinstance(form, list):
        return isinstance(value, list)
    if form is int:
        # JSON's numbers have no bounds, what they become here has.
        return type(value) is int and -(1 << 63) <= value < 1 << 63
    return type(value) is form


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def is_odd_probe(health: Wish) -> bool:
    """Whether a health check is of no kind that anybody knows."""
    test = health.get("Test") or ["NONE"]
    return test[0] not in ("NONE", "CMD", "CMD-SHELL")


def warnings(wish: Wish) -> list[str]:
    """What the request sets and nothing comes of."""
    found = []
    for place, reason in _NO_EFFECT.items():
        owner, _, name = place.rpartition(".")
        if ((wish.get(owner) or {}) if owner else wish).get(name):
            found.append(f"{name} has no effect: {reason}")
    if is_odd_probe(wish.get("Healthcheck") or {}):
        found.append("Healthcheck.Test begins with neither CMD nor CMD-SHELL: no check is run")
    log = (wish.get("HostConfig") or {}).get("LogConfig") or {}
    found += [
        f"the log option {name} has no effect"
        for name in log.get("Config") or ()
        if name in LOG_OPTIONS_WITHOUT_EFFECT
    ]
    host = wish.get("HostConfig") or {}
    for name, usual in (("MaskedPaths", MASKED), ("ReadonlyPaths", READ_ONLY)):
        # Both empty lift the protection (see single); less than the usual ones cannot be had.
        if host.get(name) and not set(usual) <= set(host[name]):
            found.append(f"{name}: the usual paths that are not named are protected, too")
    mode = host.get("NetworkMode")
    if mode in ("host", "none") and (host.get("PortBindings") or host.get("PublishAllPorts")):
        found.append(f"Published ports are discarded when using {mode} network mode")
    for network, settings in endpoints(wish).items():
        found += endpoint_warnings(network, settings)
    return found


def endpoint_warnings(network: str, settings: Wish) -> list[str]:
    return [
        f"network {network}: the driver option {name} has no effect"
        for name in settings.get("DriverOpts") or ()
        if name not in ENDPOINT_OPTIONS
    ]


def endpoints(wish: Wish) -> dict[str, Wish]:
    """EndpointsConfig, without its nulls."""
    networking = wish.get("NetworkingConfig") or {}
    return {n: s or {} for n, s in (networking.get("EndpointsConfig") or {}).items()}


def asked(wish: Wish) -> str:
    """What inspect shall give back in the client's own words, as JSON; "" when there is none."""
    host: Wish = wish.get("HostConfig") or {}
    bare = [e for e in wish.get("Env") or () if "=" not in e]
    attached = {name: bool(wish.get(name)) for name in _ATTACHED}
    kept = {
        "Config": attached | _chosen(wish, _GIVEN_BACK),
        "HostConfig": _chosen(host, _GIVEN_BACK_HOST),
        "Endpoints": {n: asked_endpoint(s) for n, s in endpoints(wish).items()},
        #: Variables of the image that were taken away.
        "Env": bare,
    }
    found = {name: value for name, value in kept.items() if value}
    return json.dumps(found, separators=(",", ":")) if found else ""


def given_back(text: str) -> dict[str, Any]:
    """What `asked` has kept; empty for ""."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def with_endpoint(text: str, network: str, settings: Wish | None) -> str:
    """`asked` after a connection, or (None) without what was asked of that network."""
    kept = json.loads(text) if text else {}
    found = {n: s for n, s in kept.get("Endpoints", {}).items() if n != network}
    if settings is not None:
        found[network] = asked_endpoint(settings)
    return json.dumps({**kept, "Endpoints": found}, separators=(",", ":"))


def asked_endpoint(settings: Wish) -> dict[str, Any]:
    return _chosen(settings, ("IPAMConfig", "Links", "DriverOpts", "MacAddress"))


def _chosen(wish: Wish, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: wish[name] for name in names if wish.get(name) not in (None, "")}
