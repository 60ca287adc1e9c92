"""Limits, devices and input/output of a service's containers."""

from typing import Annotated, Any

from stackctl.spec import forms
from stackctl.spec.fields import AfterValidator, Attributes, BeforeValidator, Field
from stackctl.spec.scalars import DeviceCount, DeviceName, DevicePath, Integer, Permissions, Size


def _ordered(value: "Ulimit") -> "Ulimit":
    hard = float("inf") if value.hard == -1 else value.hard
    soft = float("inf") if value.soft == -1 else value.soft
    if soft > hard:
        raise ValueError("soft is above hard")
    return value


_Amount = Annotated[Integer, Field(ge=-1)]


class Ulimit(Attributes):
    """A limit of each process; -1 is unlimited."""

    soft: _Amount = Field(description="What a process has.")
    hard: _Amount = Field(description="What it may ask for.")


def _for_both(value: Any) -> Any:
    """One number is soft and hard at once; `config` shows it as it was given."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        return {"soft": value, "hard": value, "single": True}
    return value


#: The names that setrlimit(2) and Docker have, as Docker writes them.
ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
    *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)


def _known_ulimits(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if name not in ULIMITS:
            raise ValueError(f'"{name}" is no limit; there are {", ".join(ULIMITS)}')
    return value


_Limit = Annotated[Ulimit, forms.ULIMIT, BeforeValidator(_for_both), AfterValidator(_ordered)]
Ulimits = Annotated[dict[str, _Limit], AfterValidator(_known_ulimits)]


class Device(Attributes):
    """A device of the host in the container."""

    source: DeviceName = Field(description="The device on the host, or a directory of devices.")
    target: DeviceName | None = Field(None, description="Where it is in the container.")
    permissions: Permissions | None = Field(
        None, description="r (read), w (write), m (make): `rwm` when absent."
    )


class BlkioLimit(Attributes):
    """A rate for one device."""

    path: DevicePath = Field(description="The device, e.g. /dev/sda.")
    rate: Size = Field(description="Bytes or operations a second.")


_Weight = Annotated[Integer, Field(ge=10, le=1000)]


class BlkioWeight(Attributes):
    """A weight for one device."""

    path: DevicePath = Field(description="The device, e.g. /dev/sda.")
    weight: _Weight = Field(description="10 to 1000.")


_Rates = Annotated[list[BlkioLimit], forms.BY_PATH]


class Blkio(Attributes):
    """Input and output of block devices."""

    weight: _Weight | None = Field(None, description="Share against others, 10 to 1000.")
    weight_device: Annotated[list[BlkioWeight], forms.BY_PATH] = Field(
        default_factory=list, description="Shares for single devices."
    )
    device_read_bps: _Rates = Field(default_factory=list, description="Bytes read a second.")
    device_write_bps: _Rates = Field(default_factory=list, description="Bytes written a second.")
    device_read_iops: _Rates = Field(default_factory=list, description="Reads a second.")
    device_write_iops: _Rates = Field(default_factory=list, description="Writes a second.")


def _counted(value: "DeviceRequest") -> "DeviceRequest":
    """Who says neither how many nor which ones means all."""
    if value.count is not None and value.device_ids:
        raise ValueError("count and device_ids exclude each other")
    if value.count is None and not value.device_ids:
        return value.model_copy(update={"count": -1})
    return value


def _capable(value: "DeviceRequest") -> "DeviceRequest":
    if not value.capabilities:
        raise ValueError("needs capabilities, e.g. [gpu]")
    return value


class DeviceRequest(Attributes):
    """A wish for devices that a driver hands out, such as graphics processors."""

    capabilities: list[str] | None = Field(None, description="What it must be able to do.")
    count: DeviceCount | None = Field(None, description="How many, or `all`.")
    device_ids: list[str] | None = Field(None, description="Which ones.")
    driver: str | None = Field(None, description="Whose driver.")
    options: Annotated[dict[str, str] | None, forms.KEYED] = Field(
        None, description="Options of that driver."
    )


Gpu = Annotated[DeviceRequest, AfterValidator(_counted)]
ReservedDevice = Annotated[DeviceRequest, AfterValidator(_capable), AfterValidator(_counted)]
