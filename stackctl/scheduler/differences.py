"""What is different between the container that there is and the one that is wanted, in words.

Names alone: values may be secret. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from stackctl.model.container import ContainerConfig, ImageMount, Mount, VolumeMount

#: Fields -> what their attribute is called in a stack file; others are called as they are.
_ATTRIBUTES = {
    "argv": "command",
    "cgroup": "cgroup",
    "dns_options": "dns_opt",
    "env": "environment",
    "files": "secrets or configs",
    "health": "healthcheck",
    "init_hooks": "pre_start",
    "limits": "resources",
    "mounts": "volumes",
    "security": "rights",
    "stop_grace": "stop_grace_period",
}
#: Not the user's own, or told by others.
_PASSED_BY = frozenset(
    (
        *("name", "image_id", "config_hash", "entrypoint", "command", "project", "service"),
        *("number", "oneoff", "auto_remove", "asked", "stdin_once", "volumes_from"),
    )
)
_OURS = "com.docker.compose."
#: So many names are told; more are no help.
_MOST = 4


def differences(old: ContainerConfig, new: ContainerConfig) -> str:
    """`environment (A, B), restart`; "" when the two are the same as far as can be seen."""
    found = list(_differences(old, new))
    return ", ".join(found[:_MOST]) + (", ..." if len(found) > _MOST else "")


def _differences(old: ContainerConfig, new: ContainerConfig) -> Iterator[str]:
    for field in fields(old):
        if field.name in _PASSED_BY:
            continue
        before, after = getattr(old, field.name), getattr(new, field.name)
        match field.name:
            case "env":
                names = _changed(_variables(before), _variables(after))
            case "labels":
                names = [n for n in _changed(before, after) if not n.startswith(_OURS)]
            case "mounts":
                wanted = _mounts(after, new)
                there = _mounts(before, new)
                if new.volumes_from:
                    there = {k: v for k, v in there.items() if k in wanted}
                names = _changed(there, wanted)
            case "files":
                same = [replace(f, content="") for f in before] == [
                    replace(f, content="") for f in after
                ]
                names = [] if same else [""]
            case _:
                names = [] if before == after else [""]
        if names:
            attribute = _ATTRIBUTES.get(field.name, field.name)
            yield f"{attribute} ({_listed(names)})" if all(names) else attribute


def _variables(env: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in env)}


def _mounts(mounts: Iterable[Mount], new: ContainerConfig) -> dict[str, Mount]:
    """By target; what is drawn or found when a container is made is no difference, nor are
    the mounts that it has from others and for its files."""
    made = {file.target for file in new.files} | {"/var/run/docker.sock"}
    return {m.target: _as_wanted(m) for m in mounts if m.target not in made}


def _as_wanted(mount: Mount) -> Mount:
    if isinstance(mount, VolumeMount) and mount.anonymous:
        return replace(mount, volume="")
    return replace(mount, image_id="") if isinstance(mount, ImageMount) else mount


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")
