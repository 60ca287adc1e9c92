"""What a create request in Docker's form asks of volumes that do not exist yet. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from stackctl.model.container import ContainerConfig, VolumeMount
from stackctl.model.network import VolumeConfig


def asked(wish: Mapping[str, Any], config: ContainerConfig) -> dict[str, VolumeConfig]:
    """By name; `config` is what became of `wish`.

    HostConfig.VolumeDriver is for Binds and Volumes; a mount of Mounts says it itself.
    """
    host = wish.get("HostConfig") or {}
    driver = str(host.get("VolumeDriver") or "")
    options = {
        posixpath.normpath(str(raw.get("Target") or "")): raw.get("VolumeOptions") or {}
        for raw in host.get("Mounts") or ()
    }
    found = {}
    for mount in config.mounts:
        if not isinstance(mount, VolumeMount):
            continue
        given = options.get(posixpath.normpath(mount.target))
        if given is None:
            own = VolumeConfig(name=mount.volume, driver=driver or "local")
        else:
            how = given.get("DriverConfig") or {}
            own = VolumeConfig(
                name=mount.volume,
                driver=str(how.get("Name") or "local"),
                driver_opts={str(k): str(v) for k, v in (how.get("Options") or {}).items()},
                labels={str(k): str(v) for k, v in (given.get("Labels") or {}).items()},
            )
        found[mount.volume] = own
    return found
