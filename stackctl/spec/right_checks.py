"""What a service says of rights, ids and files of secrets that no container can have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stackctl.model.rights import ID_COUNT, NAMES
from stackctl.spec import volumes as volume_forms
from stackctl.spec.mistakes import Found, did_you_mean
from stackctl.spec.model import Service

#: The attributes that are looked at.
ABOUT = (
    *("cap_add", "cap_drop", "secrets", "configs"),
    *("network_mode", "ipc", "pid"),
)


def mistakes(service: Service, who: str, services: Mapping[str, Service]) -> Iterator[Found]:
    """All of one service, which messages call `who`; `services` are all of the file."""
    yield from _capabilities(service, who)
    for field in ("secrets", "configs"):
        yield from _files(service, field)
    yield from _two_owners(service, who, services)


def _capabilities(service: Service, who: str) -> Iterator[Found]:
    for field in ("cap_add", "cap_drop"):
        for i, name in enumerate(getattr(service, field)):
            plain = name.strip().upper().removeprefix("CAP_")
            if plain not in ("ALL", *NAMES):
                brief = f'there is no capability called "{name}" ({field} of {who})'
                yield (field, i), brief, did_you_mean(plain, NAMES)


def _files(service: Service, field: str) -> Iterator[Found]:
    """Ids that the container does not have would be nobody's."""
    all_ids = service.userns_mode == "host" or bool(service.privileged)
    for i, file in enumerate(getattr(service, field)):
        for key, number in (("uid", file.uid), ("gid", file.gid)):
            if number is not None and int(number) >= ID_COUNT and not all_ids:
                yield (
                    (field, i, key),
                    f"{key} {number} is beyond the container's {ID_COUNT} ids",
                    "userns_mode: host gives it all of the machine's",
                )
        target = file.target or ""
        if target.startswith("/") and (reason := volume_forms.forbidden(target)):
            yield (field, i), reason, "put it somewhere else"


def _two_owners(service: Service, who: str, services: Mapping[str, Service]) -> Iterator[Found]:
    """Who shares a namespace has the ids of its owner, and can have those of one only."""
    found: dict[str, str] = {}
    for field, other in _partners(service).items():
        if other in services:
            found.setdefault(_owner(other, services), field)
    if len(found) > 1:
        first, second, *_ = found.values()
        yield (
            (second,),
            f"{who} shares namespaces with two containers that have ids of their own "
            f"({first} and {second})",
            "share all of them with one, or give them userns_mode: host",
        )


def _partners(service: Service) -> dict[str, str]:
    """Attribute -> the service whose namespace it names."""
    named = {field: getattr(service, field) or "" for field in ("network_mode", "ipc", "pid")}
    return {
        field: text.removeprefix("service:")
        for field, text in named.items()
        if text.startswith("service:")
    }


def _owner(name: str, services: Mapping[str, Service], depth: int = 0) -> str:
    """The service whose ids it has; "" for the machine's."""
    service = services[name]
    for other in _partners(service).values():
        if other in services and depth < len(services):
            return _owner(other, services, depth + 1)
    return "" if service.userns_mode == "host" or service.privileged else name
