"""What goes without saying, or changes nothing: left out of what is compared.

Works on plain data, in the form in which `config` shows them: what an older stackctl kept is
read so as well.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from stackctl.model.log_options import LOG_OPTIONS_WITHOUT_EFFECT


class _Any:
    """Every value."""

    def __contains__(self, value: object) -> bool:
        return True


_ANY = _Any()
_NO = (False,)
_NOTHING = (0, "0")
_EMPTY: tuple[object, ...] = ({}, [])

#: By path (`[]` is a list's item, `*` a name that the user has chosen): values that are no
#: other than none.
_OF_SERVICE: Mapping[str, Container[Any]] = {
    **dict.fromkeys(("init", "privileged", "read_only", "tty", "stdin_open"), _NO),
    **dict.fromkeys(("oom_kill_disable", "use_api_socket"), _NO),
    **dict.fromkeys(("cpus", "cpu_shares", "oom_score_adj"), _NOTHING),
    "cpu_quota": (-1, *_NOTHING),
    **dict.fromkeys(("mem_limit", "mem_reservation", "memswap_limit"), _NOTHING),
    **dict.fromkeys(("ipc", "pid", "uts", "cgroup"), ("private",)),
    "cpuset": ("",),
    "mem_swappiness": ("-1", -1),
    "shm_size": ("67108864", *_NOTHING),
    "restart": ("no",),
    "stop_grace_period": ("10s",),
    "attach": (True,),
    # The engine is its own runtime, its containers lie in its own control group; for which
    # machine an image is says the image.
    **dict.fromkeys(("isolation", "runtime", "cgroup_parent", "platform"), _ANY),
    "healthcheck.disable": _NO,
    "networks.*.priority": _NOTHING,
    "networks.*.gw_priority": _NOTHING,
    "logging.driver": ("json-file",),
    **{f"logging.options.{name}": _ANY for name in LOG_OPTIONS_WITHOUT_EFFECT},
    "ports[].mode": _ANY,
    "ports[].name": _ANY,
    "ports[].app_protocol": _ANY,
    "ports[].host_ip": ("",),
    "ports[].published": ("", *_NOTHING),
    "volumes[].read_only": _NO,
    "volumes[].consistency": _ANY,
    "volumes[].volume.nocopy": _NO,
    "volumes[].volume.labels": _ANY,
    "volumes[].bind.create_host_path": (True,),
    "volumes[].bind.propagation": ("rprivate",),
    "volumes[].bind.recursive": ("enabled",),
    "devices[].permissions": ("rwm",),
    **{f"{hook}[].privileged": _NO for hook in ("pre_start", "post_start", "pre_stop")},
    **{f"{hook}[].user": ("",) for hook in ("pre_start", "post_start", "pre_stop")},
    "pre_start[].per_replica": _NO,
    # How many there are and how they are replaced is no matter of a container's own.
    **{
        f"deploy.{key}": _ANY
        for key in (
            *("mode", "replicas", "labels", "placement", "endpoint_mode"),
            *("update_config", "rollback_config"),
        )
    },
    **{f"deploy.resources.limits.{key}": _NOTHING for key in ("cpus", "memory")},
    "deploy.resources.reservations.memory": _NOTHING,
    "deploy.resources.reservations.cpus": _ANY,
    "deploy.resources.reservations.generic_resources": _ANY,
    "deploy.restart_policy.max_attempts": _NOTHING,
    "deploy.restart_policy.delay": _ANY,
    "deploy.restart_policy.window": _ANY,
}
#: Of networks and volumes.
_OF_RESOURCE: Mapping[str, Container[Any]] = {
    "driver": ("bridge", "local"),
    "internal": _NO,
    # Any container may join, always.
    "attachable": _ANY,
    "enable_ipv4": (True,),
    "enable_ipv6": _NO,
    "ipam.driver": ("default",),
    "ipam.options": _ANY,
}
#: Empty is not absent: it clears what the image has.
_TELLING = ("command", "entrypoint")
#: The order of their items is nobody's matter.
_UNORDERED = ("cap_add", "cap_drop", "expose", "group_add", "ports", "security_opt")


def service(data: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a service that make a difference."""
    policy = data.get("deploy", {}).get("restart_policy")
    if policy is not None:
        # That there is one counts, even if it says what is usual.
        policy = {"condition": "any", **policy}
        data = {**data, "deploy": {**data["deploy"], "restart_policy": policy}}
    found = _telling(data, _OF_SERVICE, "")
    for key in _TELLING:
        if key in data:
            found[key] = data[key]
    # A membership is one without saying anything.
    if "networks" in data:
        found["networks"] = {name: found.get("networks", {}).get(name) for name in data["networks"]}
    if limits := found.get("ulimits"):
        found["ulimits"] = {name: _limit(limit) for name, limit in limits.items()}
    for key in _UNORDERED:
        if key in found:
            found[key] = sorted(found[key], key=json.dumps)
    return found


def _limit(limit: Any) -> Any:
    """One number where soft and hard are the same."""
    same = isinstance(limit, Mapping) and limit["soft"] == limit["hard"]
    return limit["soft"] if same else limit


def resource(data: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a network or a volume."""
    return _telling(data, _OF_RESOURCE, "")


def _telling(
    data: Mapping[str, Any], rules: Mapping[str, Container[Any]], path: str
) -> dict[str, Any]:
    found = {}
    named = "*" if path == "networks." else ""
    for key, value in data.items():
        where = f"{path}{named or key}"
        said = _said(value, rules, where)
        if said not in _EMPTY and not (where in rules and said in rules[where]):
            found[key] = said
    return found


def _said(value: Any, rules: Mapping[str, Container[Any]], where: str) -> Any:
    if isinstance(value, Mapping):
        return _telling(value, rules, f"{where}.")
    if isinstance(value, list):
        return [_said(item, rules, f"{where}[]") for item in value]
    return value
