"""What decides whether a container must be made anew, and the hash of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    # It is for `watch`, which reads the file.
    "develop",
)
#: Written out or not, it is the same container.
_USUAL: Mapping[str, Any] = {
    **dict.fromkeys(("init", "privileged", "read_only", "tty", "stdin_open"), False),
    **dict.fromkeys(("oom_kill_disable", "use_api_socket"), False),
    **dict.fromkeys(("cpus", "cpu_shares", "oom_score_adj"), 0),
    **dict.fromkeys(("mem_limit", "mem_reservation"), "0"),
    "restart": "no",
    "stop_grace_period": "10s",
    "attach": True,
    "ipc": "private",
    "cgroup": "private",
}

_ENCODE = json.JSONEncoder(sort_keys=True, default=str).encode


def config_hash(stack: Stack, service: Service) -> str:
    """The digest of what its containers are made of."""
    return digest_of_text(made_of(stack, service))


def made_of(stack: Stack, service: Service) -> str:
    """JSON: the service's own attributes, the full names of what it joins and mounts, and
    digests of what its secrets and configs hold, but for files that are mounted as they are.

    Not the image that its reference resolves to: the planner compares that
    by itself, and says so.
    """
    used = {
        "service": _attributes(service),
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
        f"{section}.{item.source}": digest
        for section, items in (("secrets", service.secrets), ("configs", service.configs))
        for item in items
        if (digest := _digest_of_content(stack, section, item.source))
    }
    # Only where there are any, so that other services keep the hash they have.
    return _ENCODE({**used, "contents": contents} if contents else used)


def _digest_of_content(stack: Stack, section: str, key: str) -> str:
    text = stack.contents.get((section, key))
    return digest_of(text) if text is not None else stack.copies.get((section, key), "")


def _attributes(service: Service) -> dict[str, Any]:
    found = service_data(service)
    deploy = {k: v for k, v in found.pop("deploy", {}).items() if k not in _NOT_HASHED}
    if deploy:
        found["deploy"] = deploy
    for key, part in found.items():
        if key == "volumes":
            found[key] = [_mount(one) for one in part]
        elif key == "ports":
            found[key] = [{**one, "mode": "ingress"} for one in part]  # as good as host
        elif key == "healthcheck":
            found[key] = _without(part, "disable")
    return {
        key: value
        for key, value in found.items()
        if key not in _NOT_HASHED
        and not key.startswith("x-")
        and (key not in _USUAL or value != _USUAL[key])
        and (value not in ({}, []) or key in ("command", "entrypoint"))
    }


def _mount(part: dict[str, Any]) -> dict[str, Any]:
    part = _without(part, "read_only")
    if part.get("type") == "volume":
        part["volume"] = _without(part.get("volume", {}), "nocopy")
    return part


def _without(part: dict[str, Any], key: str) -> dict[str, Any]:
    """The same, but for a key that says no, which goes without saying."""
    return {k: v for k, v in part.items() if k != key or v is not False}


def digest_of(value: Any) -> str:
    """SHA-256 of plain data; equal data give equal digests."""
    return digest_of_text(text_of(value))


def text_of(value: Any) -> str:
    """Plain data as JSON; equal data give equal text."""
    return _ENCODE(value)


def digest_of_text(text: str) -> str:
    import hashlib  # brings OpenSSL

    return hashlib.sha256(text.encode()).hexdigest()
