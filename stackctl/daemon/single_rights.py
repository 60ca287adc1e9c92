"""Docker's HostConfig -> limits and rights of one container. Pure; see stackctl.daemon.single."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from stackctl.errors import StackctlError, UsageError
from stackctl.model.container import (
    Device,
    DeviceLimit,
    Limits,
    Logging,
    Security,
    Ulimit,
)
from stackctl.model.cpu_lists import ranges
from stackctl.model.log_options import LOG_OPTIONS_WITHOUT_EFFECT
from stackctl.runtime import capabilities
from stackctl.spec import units
from stackctl.spec.units import LEAST_MEMORY

Wish = Mapping[str, Any]

#: 0-3,5: what the kernel reads as a list of processors, cpuset(7).
_CPUSET = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*")
#: Field, its word, and the modes besides another container's.
_MODES = (
    ("IpcMode", "IPC", ("", "none", "private", "shareable", "host")),
    ("PidMode", "PID", ("", "private", "host")),
    ("UTSMode", "UTS", ("", "private", "host")),
)


def _is_cpu_list(text: str) -> bool:
    try:
        ranges(text)
    except ValueError:
        return False
    return _CPUSET.fullmatch(text) is not None


def items(raw: object) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list | tuple):
        raise UsageError(f"{raw!r} is not a list")
    return list(raw)


def texts(raw: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in raw.items()} if isinstance(raw, dict) else {}


def check(host: Wish) -> None:
    """UsageError, in the words that Docker's clients look for, for values that nothing can be."""
    adjustment = int(host.get("OomScoreAdj") or 0)
    if not -1000 <= adjustment <= 1000:
        raise UsageError(f"Invalid value {adjustment}, range for oom score adj is [-1000, 1000]")
    if int(host.get("ShmSize") or 0) < 0:
        raise UsageError("SHM size can not be less than 0")
    weight = int(host.get("BlkioWeight") or 0)
    if weight and not 10 <= weight <= 1000:
        raise UsageError(f"Range of blkio weight is from 10 to 1000, and {weight} is not")
    for key in ("CapAdd", "CapDrop"):
        for name in items(host.get(key)):
            try:
                capabilities.normal(str(name))
            except UsageError as error:
                unknown = f'invalid {key}: unknown capability: "{name}"'
                raise UsageError(unknown, hint=error.hint) from None
    for key, what in (("CpusetCpus", "cpus"), ("CpusetMems", "mems")):
        text = str(host.get(key) or "")
        if text and not _is_cpu_list(text):
            raise UsageError(f"Invalid value {text[:60]} for cpuset {what}")
    for key, what, known in _MODES:
        mode = str(host.get(key) or "")
        shared = mode.partition(":")
        if mode not in known and not (key != "UTSMode" and shared[0] == "container" and shared[2]):
            raise UsageError(f"invalid {what} mode: {mode}")
    if "" in texts(host.get("Annotations")):
        raise UsageError(
            "invalid Annotations: the empty string is not permitted as an annotation key"
        )


def limits(host: Wish, base: Limits | None = None) -> Limits:
    """HostConfig's limits; 0 and what is missing leave `base` as it is."""
    base = base or Limits()
    memory = int(host.get("Memory") or 0) or base.memory
    if memory is not None and memory < LEAST_MEMORY:
        # The beginning is Docker's.
        raise UsageError("Minimum memory limit allowed is 6MB")
    swap = int(host.get("MemorySwap") or 0) or base.memory_swap
    if swap is not None and swap > 0 and memory is not None and swap < memory:
        raise UsageError("--memory-swap is memory and swap together: less than --memory it is not")
    if 0 < int(host.get("Memory") or 0) < int(host.get("MemoryReservation") or 0):
        # Docker's words; what was set before is nothing that it compares with.
        raise UsageError(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
            hint="--memory-reservation is a part of --memory",
        )
    swappiness = host.get("MemorySwappiness")
    return Limits(
        memory=memory,
        memory_reservation=int(host.get("MemoryReservation") or 0) or base.memory_reservation,
        memory_swap=swap,
        memory_swappiness=base.memory_swappiness if swappiness in (None, -1) else int(swappiness),
        cpus=_cpus(host) or base.cpus,
        cpu_shares=int(host.get("CpuShares") or 0) or base.cpu_shares,
        cpuset_cpus=str(host.get("CpusetCpus") or base.cpuset_cpus),
        cpuset_mems=str(host.get("CpusetMems") or base.cpuset_mems),
        pids=_pids(host.get("PidsLimit"), base.pids),
        cpu_period=int(host.get("CpuPeriod") or 0) or base.cpu_period,
        cpu_quota=int(host.get("CpuQuota") or 0) or base.cpu_quota,
        blkio_weight=int(host.get("BlkioWeight") or 0) or base.blkio_weight,
        blkio_weight_device=_device_limits(host, "BlkioWeightDevice", "Weight"),
        device_read_bps=_device_limits(host, "BlkioDeviceReadBps"),
        device_write_bps=_device_limits(host, "BlkioDeviceWriteBps"),
        device_read_iops=_device_limits(host, "BlkioDeviceReadIOps"),
        device_write_iops=_device_limits(host, "BlkioDeviceWriteIOps"),
        oom_kill_disable=bool(host.get("OomKillDisable")) or base.oom_kill_disable,
    )


def _pids(asked: int | None, before: int | None) -> int | None:
    """0 and less are no limit: -1 takes one away that there was."""
    if asked is None or asked > 0:
        return asked or before
    return None if before is None else -1


def _device_limits(host: Wish, key: str, what: str = "Rate") -> tuple[DeviceLimit, ...]:
    found = items(host.get(key))
    return tuple(DeviceLimit(path=str(raw["Path"]), value=int(raw[what])) for raw in found)


def ulimit(raw: Wish) -> Ulimit:
    return Ulimit(name=str(raw["Name"]), soft=int(raw["Soft"]), hard=int(raw["Hard"]))


def device(raw: Wish) -> Device:
    source = str(raw["PathOnHost"])
    return Device(
        source=source,
        target=str(raw.get("PathInContainer") or source),
        permissions=str(raw.get("CgroupPermissions") or "rwm"),
    )


def logging(raw: Wish) -> Logging:
    driver, options = str(raw.get("Type") or "json-file"), texts(raw.get("Config"))
    if driver not in ("json-file", "local", "none"):
        # Docker's words, that clients compare.
        raise StackctlError(f"logger: no log driver named '{driver}' is registered")
    try:
        size = units.size(options["max-size"]) if "max-size" in options else None
        count = int(options["max-file"]) if "max-file" in options else None
    except ValueError as error:
        raise UsageError(f"log options: {error}") from None
    for name in options:
        if name not in ("max-size", "max-file", *LOG_OPTIONS_WITHOUT_EFFECT):
            raise StackctlError(f'log option "{name}" is not supported')
    return Logging(driver=driver, max_size=size, max_file=count)


def _cpus(host: Wish) -> float | None:
    nano = int(host.get("NanoCpus") or 0)
    if nano and any(int(host.get(key) or 0) > 0 for key in ("CpuQuota", "CpuPeriod")):
        raise UsageError("--cpus says what --cpu-quota and --cpu-period say: give one of them")
    most = os.cpu_count() or 1
    if nano and not 0.01 <= nano / 1e9 <= most:
        # Docker's words.
        raise UsageError(
            f"range of CPUs is from 0.01 to {most}.00, as there are only {most} CPUs available"
        )
    return nano / 1e9 if nano else None


def security(host: Wish, *, unmasked: bool = False) -> Security:
    seccomp, no_new_privileges, apparmor = "default", False, ""
    label: list[str] = []
    for option in map(str, host.get("SecurityOpt") or ()):
        key, _, value = option.replace(":", "=", 1).partition("=")
        match key:
            case "no-new-privileges":
                no_new_privileges = value in ("", "true")
            case "seccomp":
                # The text of a profile has been read by the client, as docker does.
                seccomp = option.partition("=")[2] or value
            case "apparmor":
                apparmor = value
            case "label":
                label.append(value)
            case "systempaths" if value == "unconfined":
                unmasked = True
            case _:
                raise StackctlError(f'--security-opt "{option}" is not supported')
    userns = str(host.get("UsernsMode") or "private")
    if userns not in ("private", "host"):
        raise StackctlError(f'the user namespace mode "{userns}" is not supported')
    return Security(
        privileged=bool(host.get("Privileged")),
        cap_add=_capabilities(host.get("CapAdd")),
        cap_drop=_capabilities(host.get("CapDrop")),
        seccomp="default" if seccomp == "builtin" else seccomp,
        no_new_privileges=no_new_privileges,
        userns=userns,
        unmasked=unmasked,
        apparmor=apparmor,
        label=tuple(label),
    )


def _capabilities(raw: object) -> tuple[str, ...]:
    return tuple(str(name).upper().removeprefix("CAP_") for name in items(raw))
