"""Docker's `filters` on containers, volumes and events. Pure.

A filter is name -> values; a thing passes when each name has a value that fits. Values of
`label` must all fit. Docker sends both {"name": ["a"]} and {"name": {"a": true}}.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from stackctl.daemon.patterns import Pattern
from stackctl.errors import UsageError
from stackctl.model.container import VolumeMount
from stackctl.model.record import ContainerRecord

Filters = dict[str, tuple[str, ...]]

_CONTAINER = (
    *("id", "name", "label", "exited", "status", "ancestor", "before", "since", "volume"),
    *("network", "publish", "expose", "health"),
)
_STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse(raw: object, known: Collection[str]) -> Filters:
    """Filters in one form. UsageError for one that is not among `known`."""
    if not raw:
        return {}
    if not isinstance(raw, dict):
        raise UsageError("filters are an object of lists")
    found: Filters = {}
    for name, values in raw.items():
        if name not in known:
            raise UsageError(f'there is no filter "{name}"', hint=f"use {', '.join(known)}")
        chosen = [k for k, on in values.items() if on] if isinstance(values, dict) else values
        found[name] = tuple(map(str, chosen))
    return found


def labels_fit(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """All of KEY or KEY=VALUE; also for `label!`, with `not`."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def moment(text: str) -> float:
    """Unix seconds of `10m` (ago), seconds, or an ISO date and time. UsageError."""
    parts = _AGO.findall(text)
    if parts and "".join(n + u for n, u in parts) == text:
        return time.time() - sum(float(n) * _SECONDS[u] for n, u in parts)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(
            f'"{text}" is not a time', hint="10m, a date and time, or seconds"
        ) from None


def prunable(raw: object) -> Callable[[float, Mapping[str, str]], bool]:
    """(made at, labels) -> may be pruned, for `until`, `label` and `label!`."""
    filters = parse(raw, ("until", "label", "label!", "all"))
    limits = [moment(text) for text in filters.get("until", ())]

    def wanted(made_at: float, labels: Mapping[str, str]) -> bool:
        return (
            all(made_at < limit for limit in limits)
            and labels_fit(labels, filters.get("label", ()))
            and not any(labels_fit(labels, [text]) for text in filters.get("label!", ()))
        )

    return wanted


def containers(
    raw: object, find: Callable[[str], ContainerRecord]
) -> tuple[Callable[[ContainerRecord], bool], bool]:
    """Whether a container passes; and whether ended ones are meant as well (as docker ps)."""
    filters = parse(raw, _CONTAINER)
    for status in filters.get("status", ()):
        if status not in _STATUSES:
            raise UsageError(f'"{status}" is no status', hint=f"one of {', '.join(_STATUSES)}")
    before = [find(text).created_at for text in filters.get("before", ())]
    since = [find(text).created_at for text in filters.get("since", ())]
    patterns = [_pattern(text) for text in filters.get("name", ())]

    def passes(record: ContainerRecord) -> bool:
        config = record.config
        return (
            _any(filters, "id", record.id.startswith)
            and (not patterns or any(_is_named(record, pattern) for pattern in patterns))
            and labels_fit(config.labels, filters.get("label", ()))
            and _any(filters, "exited", lambda v: _exited(record, v))
            and _any(filters, "status", lambda v: str(record.status) == v)
            and _any(filters, "ancestor", lambda v: _made_from(record, v))
            and all(record.created_at < limit for limit in before)
            and all(record.created_at > limit for limit in since)
            and _any(filters, "volume", lambda v: _mounts(record, v))
            and _any(filters, "network", lambda v: _in_network(record, v))
            and _any(filters, "publish", lambda v: _publishes(record, v))
            and _any(filters, "expose", lambda v: _port(v) in config.expose)
            and _any(filters, "health", lambda v: str(record.health) == v)
        )

    return passes, bool(filters.keys() & {"exited", "status"})


def _any(filters: Filters, name: str, fits: Callable[[str], bool]) -> bool:
    values = filters.get(name, ())
    return not values or any(fits(value) for value in values)


def _is_named(record: ContainerRecord, pattern: Pattern) -> bool:
    """With a slash, as Docker keeps names, or without."""
    return pattern.found_in(f"/{record.name}") or pattern.found_in(record.name)


def name_fits(name: str, wanted: Iterable[str]) -> bool:
    """Whether one of the expressions is found in it (all fit when there is none). UsageError."""
    patterns = [_pattern(text) for text in wanted]
    return not patterns or any(pattern.found_in(name) for pattern in patterns)


def _pattern(text: str) -> Pattern:
    try:
        return Pattern(text)
    except ValueError as error:
        raise UsageError(f'filter name="{text}": {error}') from None


def _exited(record: ContainerRecord, value: str) -> bool:
    return record.status.has_ended and str(record.exit_code) == value


def _made_from(record: ContainerRecord, image: str) -> bool:
    names = (record.config.image, record.config.image.rpartition(":")[0])
    return image in names or record.config.image_id.removeprefix("sha256:").startswith(
        image.removeprefix("sha256:")
    )


def _mounts(record: ContainerRecord, value: str) -> bool:
    return any(
        value in (m.target, m.volume if isinstance(m, VolumeMount) else getattr(m, "source", None))
        for m in record.config.mounts
    )


def _in_network(record: ContainerRecord, value: str) -> bool:
    if any(value == e.network or e.network_id.startswith(value) for e in record.endpoints):
        return True
    return record.config.network_mode == value


def _publishes(record: ContainerRecord, value: str) -> bool:
    number, _, protocol = _port(value).partition("/")
    return any(
        number in (str(p.host_port), str(p.container_port)) and p.protocol == protocol
        for p in record.ports
    )


def _port(value: str) -> str:
    return value if "/" in value else f"{value}/tcp"


def facts(filters: Any) -> Filters:
    """Events' filters: any name is allowed that Docker's events have."""
    return parse(
        filters,
        ("type", "event", "action", "container", "image", "label", "network", "volume", "daemon"),
    )
