"""Docker's HostConfig -> limits and rights of one container. Pure; see stackctl.daemon.single."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackctl.errors import StackctlError, UsageError
from stackctl.model.container import (
    LOG_OPTIONS_WITHOUT_EFFECT,
    Device,
    DeviceLimit,
    Limits,
    Logging,
    Security,
    Ulimit,
)
from stackctl.spec import units
from stackctl.spec.units import LEAST_MEMORY

Wish = Mapping[str, Any]


def items(raw: object) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list | tuple):
        raise UsageError(f"{raw!r} is not a list")
    return list(raw)


def texts(raw: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in raw.items()} if isinstance(raw, dict) else {}


def limits(host: Wish, base: Limits | None = None) -> Limits:
    """HostConfig's limits; 0 and what is missing leave `base` as it is."""
    base = base or Limits()
    memory = int(host.get("Memory") or 0) or base.memory
    if memory is not None and memory < LEAST_MEMORY:
        raise UsageError("a container needs 6 MB of memory at least")
    swap = int(host.get("MemorySwap") or 0) or base.memory_swap
    if swap is not None and swap > 0 and memory is not None and swap < memory:
        raise UsageError("--memory-swap is memory and swap together: less than --memory it is not")
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
        pids=int(host.get("PidsLimit") or 0) or base.pids,
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
    if nano and (host.get("CpuQuota") or host.get("CpuPeriod")):
        raise UsageError("--cpus says what --cpu-quota and --cpu-period say: give one of them")
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
