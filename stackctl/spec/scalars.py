"""Leaf types of the model: what a single value may be, and how it is written back.

Values arrive canonical (see forms.py). Numbers, flags and sizes may also be
text, because an interpolated value is text.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import signal as signals
from functools import cache
from typing import Annotated, Any

from stackctl.model import addressing, hostnames
from stackctl.model.cpu_lists import ranges
from stackctl.spec import ports, units
from stackctl.spec.fields import AfterValidator, BeforeValidator, PlainSerializer

_TRUE = ("true", "y", "yes", "on", "1")
_FALSE = ("false", "n", "no", "off", "0")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise ValueError("must be true or false")


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    if not -(2**63) <= value < 2**63:
        raise ValueError("is too large")
    return value


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value) if len(value) < 40 else value
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if not -1e15 < value < 1e15:
        raise ValueError("is too large")
    return float(value)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a size such as 64m")
    return units.size(value)


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"needs a unit, e.g. {value}s")
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 1m30s")
    return units.duration(value)


def _microseconds(value: Any) -> int:
    if isinstance(value, str) and value[-1:].isalpha():
        return round(units.duration(value) * 1e6)
    return _integer(value)


def _port_number(value: Any) -> int:
    number = _integer(value)
    if not 1 <= number <= 65535:
        raise ValueError("must be within 1 to 65535")
    return number


def _exposed(value: str) -> str:
    """PORT[-END][/PROTOCOL]"""
    number, _, protocol = value.partition("/")
    ports.port_range(number)
    if protocol:
        _protocol(protocol)
    return value


def _published(value: Any) -> str:
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("must be a port or a range of ports")
    if value:
        ports.port_range(value, lowest=0)
    return value


def _not_negative(value: Any) -> Any:
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _limit(value: int) -> int:
    """A pids limit: -1 is unlimited, and compose takes 0 for that too."""
    if value < -1:
        raise ValueError("must be -1 (unlimited) or more")
    return value


def _ipv4(value: str) -> str:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f'"{value}" is not an IPv4 address') from None
    return value


def _ipv6(value: str) -> str:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        raise ValueError(f'"{value}" is not an IPv6 address') from None
    return value


def _address(value: str) -> str:
    ports.host_address(value or "0.0.0.0")
    return value


_PULLS = (
    "always",
    "never",
    "missing",
    "if_not_present",
    "build",
    "refresh",
    "daily",
    "weekly",
)
_PULL_EVERY = r"every_((?:[0-9]+[wdhms])+)"


def _pull_policy(value: str) -> str:
    if value not in _PULLS and not re.fullmatch(_PULL_EVERY, value):
        raise ValueError(
            f"must be one of {', '.join(_PULLS)}, or every_ and a duration (every_12h)"
        )
    return "missing" if value == "if_not_present" else value


def pull_age(policy: str) -> float | None:
    """Seconds after which a policy wants the image pulled again; None: it does not go by age."""
    if found := re.fullmatch(_PULL_EVERY, policy):
        return units.duration(found[1])
    return {"daily": 86400.0, "weekly": 604800.0}.get(policy)


def _ip_address(value: str) -> str:
    return ports.host_address(value)


def _extra_host(value: str) -> str:
    name, _, address = value.partition("=")
    if not name or not re.fullmatch(r"[a-zA-Z0-9._-]{1,255}", name):
        raise ValueError(f'"{value[:60]}" is not NAME=ADDRESS')
    bare = address.removeprefix("[").removesuffix("]")
    if bare != "host-gateway":
        ports.host_address(bare)
    return f"{name}={bare}"


def _device_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value or "/../" in f"{value}/":
        raise ValueError(f'"{value[:60]}" is not the absolute path of a device')
    return value


#: A device by the name that its vendor's driver hands it out by (Container Device Interface).
_HANDED_OUT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*/[A-Za-z0-9_.-]+=[A-Za-z0-9_.:-]+")


def is_handed_out(device: str) -> bool:
    """Whether it is no path, but vendor.com/class=name."""
    return bool(_HANDED_OUT.fullmatch(device))


def _device(value: str) -> str:
    return value if is_handed_out(value) else _device_path(value)


def _permissions(value: str) -> str:
    if not re.fullmatch("[rwm]{1,3}", value):
        raise ValueError(f'"{value[:10]}" is not made of r, w and m')
    return value


#: What belongs to a container's own namespaces (ipc, net, uts).
_SYSCTLS = r"(net|fs\.mqueue)\.[a-zA-Z0-9_./-]+|kernel\.(msg|shm)[a-z_]*|kernel\.sem"


def is_own_setting(name: str) -> bool:
    """Whether a container has this kernel setting for itself."""
    return bool(re.fullmatch(_SYSCTLS, name.replace("/", "."))) and ".." not in name


def _device_count(value: Any) -> Any:
    if value == "all":
        return -1
    try:
        return _integer(value)
    except ValueError:
        raise ValueError("must be all, or a number") from None


def _subnet(value: str) -> str:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'"{value}" is not a subnet such as 10.5.0.0/24') from None
    if str(network) != value and f"{network.network_address}" != value.partition("/")[0]:
        raise ValueError(f'"{value}" is not a subnet: it should be {network}')
    return value


def _mac(value: str) -> str:
    mac = value.lower().replace("-", ":")
    if problem := addressing.mac_problem(mac):
        raise ValueError(f'"{value}" {problem}')
    return mac


def _link_local(value: str) -> str:
    addressing.link_local(value)
    return value


def _interface(value: str) -> str:
    if problem := addressing.interface_problem(value):
        raise ValueError(f'"{value}" {problem}')
    return value


def _alias(value: str) -> str:
    if problem := hostnames.name_problem(value):
        raise ValueError(f'"{value[:60]}" {problem}')
    return value


def _domain(value: str) -> str:
    if problem := hostnames.domain_problem(value):
        raise ValueError(f'"{value[:60]}" {problem}')
    return value


def _resolver_option(value: str) -> str:
    if problem := hostnames.resolver_option_problem(value):
        raise ValueError(f'"{value[:60]}" {problem}')
    return value


def _link(value: str) -> str:
    """SERVICE[:ALIAS]"""
    _, colon, alias = value.partition(":")
    if colon:
        _alias(alias)
    return value


def _protocol(value: str) -> str:
    if value.lower() not in ports.PROTOCOLS:
        raise ValueError(f"must be one of {', '.join(ports.PROTOCOLS)}")
    return value.lower()


def _target(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f'"{value}" is not an absolute path in the container')
    if "\0" in value or len(value) > 4095:
        raise ValueError("is not a path")
    return value


def _mount_target(value: str) -> str:
    """In one way of writing, as compose has it: what is inherited goes by it."""
    return f"/{posixpath.normpath(_target(value)).lstrip('/')}"


def _cpu_list(value: str) -> str:
    ranges(value)
    return value


def _capability(value: str) -> str:
    name = value.upper().removeprefix("CAP_")
    if not re.fullmatch(r"[A-Z_]{3,32}", name):
        raise ValueError(f'"{value}" is not a capability such as NET_ADMIN')
    return name


_REALTIME = r"SIGRTM(IN\+|AX-)[0-9]{1,2}\Z"


@cache
def _signals() -> dict[str, int]:
    return {signal.name: signal.value for signal in signals.Signals}


def _signal(value: Any) -> str:
    """A signal's name; numbers become names where they have one."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str):
        raise ValueError("must be a signal such as SIGTERM")
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 64:
        return next((n for n, number in _signals().items() if number == int(text)), text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name not in _signals() and not re.match(_REALTIME, name):
        raise ValueError(f'"{text[:40]}" is not a signal such as SIGTERM')
    return name


def _file_mode(value: int) -> int:
    if not 0 <= value <= 0o7777:
        raise ValueError("is not a file mode such as 0440")
    return value


def whole_or_number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value


Flag = Annotated[bool, BeforeValidator(_flag)]
PullPolicy = Annotated[str, AfterValidator(_pull_policy)]
Integer = Annotated[int, BeforeValidator(_integer)]
DeviceCount = Annotated[int, BeforeValidator(_device_count)]
Count = Annotated[int, BeforeValidator(_integer), AfterValidator(_not_negative)]
Limit = Annotated[int, BeforeValidator(_integer), AfterValidator(_limit)]
Number = Annotated[
    float,
    BeforeValidator(_number),
    AfterValidator(_not_negative),
    PlainSerializer(whole_or_number),
]
#: Bytes; written back as text, as compose does.
Size = Annotated[int, BeforeValidator(_size), AfterValidator(_not_negative), PlainSerializer(str)]
#: Bytes, or -1 for unlimited.
SizeOrUnlimited = Annotated[
    int, BeforeValidator(_size), AfterValidator(_limit), PlainSerializer(str)
]
#: Seconds; written back as "1m30s".
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    AfterValidator(_not_negative),
    PlainSerializer(units.duration_text),
]
#: A whole number of them, or a duration; written back as the number, as compose does.
Microseconds = Annotated[int, BeforeValidator(_microseconds)]
PortNumber = Annotated[int, BeforeValidator(_port_number)]
Published = Annotated[str, BeforeValidator(_published)]
Protocol = Annotated[str, AfterValidator(_protocol)]
IPv4 = Annotated[str, AfterValidator(_ipv4)]
IPv6 = Annotated[str, AfterValidator(_ipv6)]
Address = Annotated[str, AfterValidator(_address)]
Subnet = Annotated[str, AfterValidator(_subnet)]
MacAddress = Annotated[str, AfterValidator(_mac)]
LinkLocal = Annotated[str, AfterValidator(_link_local)]
InterfaceName = Annotated[str, AfterValidator(_interface)]
Alias = Annotated[str, AfterValidator(_alias)]
Link = Annotated[str, AfterValidator(_link)]
Domain = Annotated[str, AfterValidator(_domain)]
ResolverOption = Annotated[str, AfterValidator(_resolver_option)]
ExposedPort = Annotated[str, AfterValidator(_exposed)]
ContainerPath = Annotated[str, AfterValidator(_target)]
MountTarget = Annotated[str, AfterValidator(_mount_target)]
Capability = Annotated[str, AfterValidator(_capability)]
CpuList = Annotated[str, AfterValidator(_cpu_list)]
Signal = Annotated[str, BeforeValidator(_signal)]
IPAddress = Annotated[str, AfterValidator(_ip_address)]
ExtraHost = Annotated[str, AfterValidator(_extra_host)]
DevicePath = Annotated[str, AfterValidator(_device_path)]
#: A path, or what no engine without such drivers has.
DeviceName = Annotated[str, AfterValidator(_device)]
Permissions = Annotated[str, AfterValidator(_permissions)]
#: A file mode, written back as octal text.
FileMode = Annotated[
    int,
    BeforeValidator(_integer),
    AfterValidator(_file_mode),
    PlainSerializer(lambda mode: f"0{mode:o}"),
]
