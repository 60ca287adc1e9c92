"""What goes without saying, or changes nothing: left out of what is compared.

Works on plain data, in the form in which `config` shows them: what an older stackctl kept is
read so as well. Models may stand in them, for the data that they would be.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from functools import cache
from types import NoneType
from typing import Any

from stackctl.model.log_options import LOG_OPTIONS_WITHOUT_EFFECT
from stackctl.spec import plain


class _Any:
    """Every value."""

    def __contains__(self, value: object) -> bool:
        return True


_ANY = _Any()
_NO = (False,)
_NOTHING = (0, "0")
_SCALARS = frozenset((str, int, float, bool, NoneType))

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
#: The order of their items is nobody's matter.
_UNORDERED = ("cap_add", "cap_drop", "expose", "group_add", "ports", "security_opt")


def service(data: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a service that make a difference."""
    policy = data.get("deploy", {}).get("restart_policy")
    if policy is not None:
        # That there is one counts, even if it says what is usual.
        policy = {"condition": "any", **policy}
        data = {**data, "deploy": {**data["deploy"], "restart_policy": policy}}
    found = _telling(data, _service_rules())
    for key in plain.CLEARING:
        if key in data:
            found[key] = data[key]
    # A membership is one without saying anything.
    if "networks" in data:
        found["networks"] = {name: found.get("networks", {}).get(name) for name in data["networks"]}
    if limits := found.get("ulimits"):
        found["ulimits"] = {name: _limit(limit) for name, limit in limits.items()}
    for key in _UNORDERED:
        if len(found.get(key, ())) > 1:
            found[key] = sorted(found[key], key=json.dumps)
    return found


def _limit(limit: Any) -> Any:
    """One number where soft and hard are the same."""
    same = isinstance(limit, Mapping) and limit["soft"] == limit["hard"]
    return limit["soft"] if same else limit


def resource(data: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a network or a volume."""
    return _telling(data, _resource_rules())


class _Rule:
    """What is usual at one place, and the rules for what lies below it."""

    __slots__ = ("below", "usual")

    def __init__(self) -> None:
        self.usual: Container[Any] = ()
        self.below: dict[str, _Rule] = {}


_NO_RULE = _Rule()


def _rules(of: Mapping[str, Container[Any]]) -> _Rule:
    root = _Rule()
    for path, usual in of.items():
        rule = root
        for key in path.replace("[]", ".[]").split("."):
            rule = rule.below.setdefault(key, _Rule())
        rule.usual = usual
    return root


@cache
def _service_rules() -> _Rule:
    return _rules(_OF_SERVICE)


@cache
def _resource_rules() -> _Rule:
    return _rules(_OF_RESOURCE)


def _telling(data: Mapping[str, Any], rule: _Rule) -> dict[str, Any]:
    found = {}
    below = rule.below
    others = below.get("*", _NO_RULE)
    for key, value in data.items():
        inner = below.get(key, others)
        if type(value) not in _SCALARS:
            value = _inside(value, inner)
            if not value:
                continue
        if value not in inner.usual:
            found[key] = value
    return found


def _inside(value: Any, rule: _Rule) -> dict[str, Any] | list[Any]:
    """A mapping, a list or a model without what says nothing in it; a list keeps all its items."""
    if isinstance(value, dict):
        return _telling(value, rule)
    if isinstance(value, list):
        inner = rule.below.get("[]", _NO_RULE)
        return [item if type(item) in _SCALARS else _inside(item, inner) for item in value]
    return _telling(plain.opened(value), rule)
