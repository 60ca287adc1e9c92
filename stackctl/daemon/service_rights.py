"""Limits and rights of a service's containers. Pure; see stackctl.daemon.replica."""

from __future__ import annotations

from typing import TypeVar

from stackctl.model.container import Device, DeviceLimit, Limits, Logging, Security, Ulimit
from stackctl.spec import units
from stackctl.spec.resources import Blkio, BlkioLimit, BlkioWeight
from stackctl.spec.service import Service

T = TypeVar("T")

_NO_BLKIO = Blkio.model_validate({})
_USUAL_LOGGING = Logging()


def limits(service: Service) -> Limits:
    """A service's limits; deploy.resources says the same in other words."""
    resources = service.deploy.resources if service.deploy else None
    upper = resources.limits if resources else None
    lower = resources.reservations if resources else None
    pids = _first(service.pids_limit, upper.pids if upper else None)
    blkio = service.blkio_config or _NO_BLKIO
    return Limits(
        memory=_first(service.mem_limit, upper.memory if upper else None) or None,
        memory_reservation=_first(service.mem_reservation, lower.memory if lower else None) or None,
        memory_swap=service.memswap_limit or None,
        memory_swappiness=service.mem_swappiness if service.mem_swappiness != -1 else None,
        cpus=_first(service.cpus, upper.cpus if upper else None) or None,
        cpu_shares=service.cpu_shares or None,
        cpuset_cpus=service.cpuset or "",
        # Compose takes 0 for unlimited.
        pids=-1 if pids == 0 else pids,
        cpu_period=service.cpu_period or None,
        cpu_quota=service.cpu_quota or None,
        blkio_weight=blkio.weight,
        blkio_weight_device=tuple(map(_weight, blkio.weight_device)),
        device_read_bps=tuple(map(_rate, blkio.device_read_bps)),
        device_write_bps=tuple(map(_rate, blkio.device_write_bps)),
        device_read_iops=tuple(map(_rate, blkio.device_read_iops)),
        device_write_iops=tuple(map(_rate, blkio.device_write_iops)),
        oom_kill_disable=bool(service.oom_kill_disable),
    )


def _first(one: T | None, other: T) -> T:
    return other if one is None else one


def _weight(device: BlkioWeight) -> DeviceLimit:
    return DeviceLimit(path=device.path, value=device.weight)


def _rate(device: BlkioLimit) -> DeviceLimit:
    return DeviceLimit(path=device.path, value=device.rate)


def security(service: Service) -> Security:
    seccomp, apparmor = "default", ""
    no_new_privileges = unmasked = False
    label = []
    for option in service.security_opt:
        name, _, setting = option.replace("=", ":", 1).partition(":")
        match name:
            case "no-new-privileges":
                no_new_privileges = setting in ("", "true")
            case "seccomp":
                seccomp = "default" if setting == "builtin" else setting
            case "apparmor":
                apparmor = setting
            case "label":
                label.append(setting)
            case "systempaths":
                unmasked = setting == "unconfined"
    return Security(
        privileged=bool(service.privileged),
        cap_add=tuple(service.cap_add),
        cap_drop=tuple(service.cap_drop),
        seccomp=seccomp,
        no_new_privileges=no_new_privileges,
        userns=service.userns_mode or "private",
        unmasked=unmasked,
        apparmor=apparmor,
        label=tuple(label),
    )


def ulimits(service: Service) -> tuple[Ulimit, ...]:
    return tuple(
        Ulimit(name=name, soft=limit.soft, hard=limit.hard)
        for name, limit in service.ulimits.items()
    )


def devices(service: Service) -> tuple[Device, ...]:
    return tuple(
        Device(
            source=device.source,
            target=device.target or device.source,
            permissions=device.permissions or "rwm",
        )
        for device in service.devices
    )


def logging(service: Service) -> Logging:
    written = service.logging
    if written is None:
        return _USUAL_LOGGING
    size, count = written.options.get("max-size"), written.options.get("max-file")
    return Logging(
        driver=written.driver or "json-file",
        max_size=units.size(size) if size and size != "-1" else None,
        max_file=int(count) if count else None,
    )
