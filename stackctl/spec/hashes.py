"""What decides whether a container must be made anew, and the hash of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stackctl.spec import dump, plain, usual
from stackctl.spec.model import Service, Stack, Volume, files_of

#: What may change without the containers having to be made anew (as compose has it).
_NOT_HASHED = frozenset(
    (
        "build",
        "pull_policy",
        "pull_refresh_after",
        "scale",
        "depends_on",
        "profiles",
        # It is for `watch`, which reads the file.
        "develop",
    )
)

# What comes from a file has no circles in it: looking for them would take a fifth of the time.
_ENCODE = json.JSONEncoder(sort_keys=True, default=str, check_circular=False).encode


def config_hash(stack: Stack, service: Service) -> str:
    """The digest of what its containers are made of."""
    return digest_of_text(made_of(stack, service))


def made_of(stack: Stack, service: Service) -> str:
    """JSON: the service's own attributes, the full names of what it joins and mounts, where on
    the host that is, and digests of what its secrets and configs hold, but for files that are
    mounted as they are.

    Not the image that its reference resolves to: the planner compares that
    by itself, and says so.
    """
    mounted = {
        mount.source: stack.volumes[mount.source]
        for mount in service.volumes
        if mount.type == "volume" and mount.source and mount.source in stack.volumes
    }
    used = {
        "service": _attributes(service),
        "networks": {
            # With `config --no-consistency` one may be missing.
            key: stack.networks[key].name
            for key in service.networks
            if key in stack.networks
        },
        "volumes": {key: volume.name for key, volume in mounted.items()},
        "sources": _sources(stack, service, mounted),
    }
    contents = {
        f"{section}.{item.source}": digest
        for section, items in (("secrets", service.secrets), ("configs", service.configs))
        for item in items
        if (digest := _digest_of_content(stack, section, item.source))
    }
    # Only where there are any, so that other services keep the hash they have.
    return _ENCODE({**used, "contents": contents} if contents else used)


def _sources(stack: Stack, service: Service, mounted: Mapping[str, Volume]) -> dict[str, Any]:
    """What is mounted for a key of the file, by section and key: its options, or a file."""
    found: dict[str, dict[str, Any]] = {}
    for key, volume in mounted.items():
        if volume.driver_opts and not volume.external:
            found.setdefault("volumes", {})[key] = {"driver_opts": volume.driver_opts}
    for section, item, origin in files_of(stack, (service,)):
        if origin.file and not item.is_copy:
            found.setdefault(section, {})[item.source] = {"file": origin.file}
    return found


def _digest_of_content(stack: Stack, section: str, key: str) -> str:
    text = stack.contents.get((section, key))
    return digest_of(text) if text is not None else stack.copies.get((section, key), "")


def _attributes(service: Service) -> dict[str, Any]:
    data = plain.given(service, _NOT_HASHED | service.model_extra.keys(), of_models=None)
    if service.deploy:
        # A policy in it counts if it says nothing (see usual), other parts do not.
        data["deploy"] = dump.only_said(plain.plain(service.deploy))
    data |= {key: value for key in plain.CLEARING if (value := getattr(service, key)) is not None}
    return usual.service(data)


def digest_of(value: Any) -> str:
    """SHA-256 of plain data; equal data give equal digests."""
    return digest_of_text(text_of(value))


def text_of(value: Any) -> str:
    """Plain data as JSON; equal data give equal text."""
    return _ENCODE(value)


def digest_of_text(text: str) -> str:
    import hashlib  # brings OpenSSL

    return hashlib.sha256(text.encode()).hexdigest()
