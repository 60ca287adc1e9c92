"""The hash that decides whether a container must be made anew."""

from __future__ import annotations

import json
from typing import Any

from stackctl.spec.dump import service_data
from stackctl.spec.model import Service, Stack

#: What may change without the containers having to be made anew (as compose has it).
_NOT_HASHED = (
    "build",
    "pull_policy",
    "pull_refresh_after",
    "scale",
    "replicas",
    "depends_on",
    "profiles",
    # What `watch` does; it reads the file itself.
    "develop",
)
#: Flags that are off anyway.
_FALSE = (
    *("init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"),
    "use_api_socket",
)

_ENCODE = json.JSONEncoder(sort_keys=True, default=str).encode


def config_hash(stack: Stack, service: Service) -> str:
    """Of the service's own attributes, the full names of what it joins and mounts, and the
    texts of its secrets and configs.

    Not of the image that its reference resolves to: the planner compares that
    by itself, and says so.
    """
    attributes = service_data(service)
    for key in _NOT_HASHED:
        attributes.pop(key, None)
    deploy = {k: v for k, v in attributes.pop("deploy", {}).items() if k not in _NOT_HASHED}
    if deploy:
        attributes["deploy"] = deploy
    attributes = {k: v for k, v in attributes.items() if not k.startswith("x-")}
    _without_defaults(attributes)
    used = {
        "service": attributes,
        "networks": {
            # With `config --no-consistency` one may be missing.
            key: stack.networks[key].name
            for key in service.networks
            if key in stack.networks
        },
        "volumes": {
            mount.source: stack.volumes[mount.source].name
            for mount in service.volumes
            if mount.type == "volume" and mount.source and mount.source in stack.volumes
        },
    }
    contents = {
        f"{section}.{item.source}": digest_of(stack.contents[section, item.source])
        for section, items in (("secrets", service.secrets), ("configs", service.configs))
        for item in items
        if (section, item.source) in stack.contents
    }
    # Only where there are any, so that other services keep the hash they have.
    return digest_of({**used, "contents": contents} if contents else used)


def _without_defaults(attributes: dict[str, Any]) -> None:
    """What is written out, and is so without being written, is no other configuration."""
    for key in _FALSE:
        if attributes.get(key) is False:
            del attributes[key]
    if attributes.get("restart") == "no":
        del attributes["restart"]
    if (attributes.get("healthcheck") or {}).get("disable") is False:
        attributes["healthcheck"] = {
            k: v for k, v in attributes["healthcheck"].items() if k != "disable"
        }
        if not attributes["healthcheck"]:
            del attributes["healthcheck"]
    if volumes := attributes.get("volumes"):
        attributes["volumes"] = [
            {k: v for k, v in mount.items() if k != "read_only" or v is not False}
            for mount in volumes
        ]


def digest_of(value: Any) -> str:
    """SHA-256 of plain data; equal data give equal digests."""
    import hashlib  # brings OpenSSL

    return hashlib.sha256(_ENCODE(value).encode()).hexdigest()
