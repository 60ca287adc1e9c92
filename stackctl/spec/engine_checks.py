"""What a right file names that this engine does not have: drivers, options, secrets of others.

Each is refused, not a mistake: such a file can be shown, built and taken down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stackctl.model.log_options import LOG_OPTIONS_WITHOUT_EFFECT
from stackctl.spec import scalars, units
from stackctl.spec import volumes as volume_forms
from stackctl.spec.mistakes import Found, Mistakes, did_you_mean
from stackctl.spec.model import NETWORK_DRIVERS, Network, Service, StackFile, Volume
from stackctl.spec.nodes import Path
from stackctl.spec.written import Written

#: json-file and local are the same here.
_LOG_DRIVERS = ("json-file", "local", "none")
#: What they do with a container's output: a size, and how many files of that size.
_LOG_OPTIONS = ("max-size", "max-file")

_FOREIGN_MOUNTS = {
    "npipe": "named pipes exist for Windows only",
    "cluster": "there is one machine, not a cluster that has volumes",
}


def refuse(
    file: StackFile, services: Mapping[str, Service], written: Written, mistakes: Mistakes
) -> None:
    """Adds to `mistakes.refusals` what these services, and the file's resources, cannot have."""
    holders: list[tuple[str, str, Iterator[Found]]] = [
        *(("networks", key, _network(key, network)) for key, network in file.networks.items()),
        *(("volumes", key, _volume(key, volume)) for key, volume in file.volumes.items()),
        *(("services", name, _service(name, s, file)) for name, s in services.items()),
    ]
    for section, key, found in holders:
        for path, brief, hint in found:
            mistakes.refuse((section, key), brief, written.at(section, key, *path), hint=hint)


def _network(key: str, network: Network) -> Iterator[Found]:
    if network.external:
        return
    label = f"networks.{key}.driver"
    yield from _driver(("driver",), label, network.driver, NETWORK_DRIVERS)
    if network.ipam is not None:
        label = f"networks.{key}.ipam.driver"
        yield from _driver(("ipam", "driver"), label, network.ipam.driver, ("default",))


def _volume(key: str, volume: Volume) -> Iterator[Found]:
    if volume.external:
        return
    yield from _driver(("driver",), f"volumes.{key}.driver", volume.driver, ("local",))
    if volume.driver in (None, "local"):
        try:
            volume_forms.local_options(volume.driver_opts)
        except ValueError as error:
            yield ("driver_opts",), f"volumes.{key}.driver_opts: {error}", ""


def _service(name: str, service: Service, file: StackFile) -> Iterator[Found]:
    driver = service.logging.driver if service.logging else None
    yield from _driver(
        ("logging", "driver"), f"services.{name}.logging.driver", driver, _LOG_DRIVERS
    )
    if service.logging is not None and driver in (None, "json-file", "local"):
        for option, value in service.logging.options.items():
            if problem := _log_option(option, value):
                brief = f"services.{name}.logging.options: {problem}"
                yield ("logging", "options", option), brief, ""
    check = service.healthcheck
    if check and check.start_interval is not None and check.start_period is None:
        brief = f"services.{name}.healthcheck: start_interval means nothing without start_period"
        yield ("healthcheck", "start_interval"), brief, "say how long its start may take"
    for setting in service.sysctls:
        if not scalars.is_own_setting(setting):
            brief = (
                f'services.{name}.sysctls: "{setting[:60]}" is a setting of the whole machine; a '
                "container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.shm* and kernel.sem"
            )
            yield ("sysctls", setting), brief, ""
    for i, device in enumerate(service.devices):
        if scalars.is_handed_out(device.source):
            brief = f'the device "{device.source[:60]}" is not supported: there is no driver of it'
            yield ("devices", i), brief, "devices are paths here: /dev/..."
    if service.isolation not in (None, "", "default"):
        yield ("isolation",), f'isolation "{service.isolation[:60]}" exists for Windows only', ""
    for i, mount in enumerate(service.volumes):
        if reason := _FOREIGN_MOUNTS.get(mount.type, ""):
            yield ("volumes", i), f'a mount of type "{mount.type}" is not supported: {reason}', ""
    for section, used in (("secrets", service.secrets), ("configs", service.configs)):
        defined = getattr(file, section)
        for i, each in enumerate(used):
            if each.source in defined and defined[each.source].external:
                yield (
                    (section, i),
                    f'service "{name}" uses {section[:-1]} "{each.source}", which is external: '
                    f"the engine keeps no {section} of its own",
                    f"give the {section[:-1]} a file, or an environment variable",
                )


def _driver(path: Path, label: str, driver: str | None, known: tuple[str, ...]) -> Iterator[Found]:
    if driver is not None and driver not in known:
        there = f"there is {known[0]}" if len(known) == 1 else f"there are {', '.join(known)}"
        brief = f'{label} "{driver[:60]}" is not supported: {there}'
        yield path, brief, did_you_mean(driver, known)


def _log_option(name: str, text: str) -> str:
    """What is wrong with it, or ""."""
    if name == "max-size" and text != "-1":
        try:
            units.size(text)
        except ValueError as error:
            return str(error)
    elif name == "max-file" and (not text.isdecimal() or int(text) < 1):
        return f'max-file: "{text[:60]}" is not a number of files'
    elif name not in (*_LOG_OPTIONS, *LOG_OPTIONS_WITHOUT_EFFECT):
        known = ", ".join(_LOG_OPTIONS)
        return f'"{name[:60]}" is not an option of this driver; there are {known}'
    return ""
