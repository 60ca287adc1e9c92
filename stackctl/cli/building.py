"""What the two build commands share: values of their flags, the exchange, the last words."""

from __future__ import annotations

import os

from stackctl.cli.output import chosen
from stackctl.cli.steps import watch
from stackctl.errors import MachineError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from stackctl.cli.invocation import Invocation

_LAYOUT = "oci-layout://"
_OUTPUTS = ("local", "tar", "docker", "oci", "image", "registry", "cacheonly")
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def carry_out_build(run: Invocation, body: dict[str, Any], progress: str) -> dict[str, Any]:
    """Send the build, show what happens, give back the result. Raises what the engine raised."""
    display = chosen.build(run.console, progress)
    try:
        return dict(watch(run, run.client.stream("build", body), display))
    finally:
        display.close()


_REFUSED = {
    "cgroup_parent": "RUN has a control group below the engine's",
    "security_opt": "RUN --security=insecure asks for more rights, --allow grants them",
    "squash": "`FROM scratch` and `COPY --from=STAGE / /` make one layer",
    "isolation": "it is for Windows",
}


def refuse_limits(limits: Sequence[str], **others: object) -> None:
    """Docker's flags of the classic builder, which would change nothing here."""
    if any(limits):
        raise UsageError(
            "memory and processors of a build are not limited by flags",
            hint="limits of the engine's service (MemoryMax=, CPUQuota=) count for what RUN does",
        )
    for name, given in others.items():
        if given:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is not supported: {_REFUSED[name]}")


def checked(run: Invocation, result: dict[str, Any]) -> int:
    """The last word of --check, and its exit code."""
    count = int(result.get("findings") or 0)
    words = {0: "no warnings have", 1: "1 warning has"}.get(count, f"{count} warnings have")
    run.console.out(f"Check complete, {words} been found.")
    return int(result.get("exit_code") or 0)


def pairs(flag: str, values: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """NAME=VALUE, or NAME for the caller's own value (left out when it has none)."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name:
            raise UsageError(f"{flag} {value!r} has no name")
        if equals:
            found[name] = text
        elif name in environment:
            found[name] = environment[name]
    return found


def labels(values: Sequence[str]) -> dict[str, str]:
    return {name: text for name, _, text in (value.partition("=") for value in values)}


def hosts(values: Sequence[str]) -> list[list[str]]:
    """name:address or name=address."""
    found = []
    for value in values:
        name, mark, address = value.partition("=" if "=" in value else ":")
        if not (name and mark and address):
            raise UsageError(f"--add-host {value!r} is not of the form name:address")
        found.append([name, address.strip("[]")])
    return found


def size(text: str) -> int:
    """64m in bytes; 0 for nothing."""
    plain = text.strip().lower().removesuffix("b")
    unit = plain[-1:] if plain[-1:] in ("k", "m", "g") else ""
    number = plain.removesuffix(unit) if unit else plain
    if not text:
        return 0
    if not number.isdecimal():
        raise UsageError(f"{text!r} is not a size", hint="for example 64m")
    return int(number) * _SIZES[unit]


def secrets(values: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """id=NAME,src=FILE or id=NAME,env=VARIABLE: contents by id."""
    found = {}
    for value in values:
        fields = dict(part.partition("=")[::2] for part in value.split(","))
        name = fields.get("id", "")
        if not name:
            raise UsageError(
                f"--secret {value!r} has no id", hint="for example --secret id=token,src=token.txt"
            )
        kind, variable = fields.get("type", ""), fields.get("env", "")
        source = fields.get("src") or fields.get("source") or ""
        if kind == "env" or variable or (not source and name in environment):
            variable = variable or source or name
            if variable not in environment:
                raise UsageError(f"--secret {name}: the variable {variable} is not set")
            found[name] = environment[variable]
            continue
        try:
            with open(source or name, "rb") as file:
                content = file.read()
        except OSError as error:
            raise UsageError(f"--secret {name}: {source or name}: {error.strerror}") from None
        found[name] = content.decode("utf-8", "surrogateescape")
    return found


def agents(values: Sequence[str], environment: Mapping[str, str]) -> dict[str, list[str]]:
    """default, or id=SOCKET, or id=KEY,KEY: absolute paths by id; none: the caller's agent."""
    found: dict[str, list[str]] = {}
    for value in values:
        name, equals, places = value.partition("=")
        if not name:
            raise UsageError(f"--ssh {value!r} has no id", hint="for example --ssh default")
        if equals and places:
            found[name] = [absolute(place) for place in places.split(",")]
        elif agent := environment.get("SSH_AUTH_SOCK"):
            found[name] = [absolute(agent)]
        else:
            raise UsageError(
                f"--ssh {value}: there is no agent (SSH_AUTH_SOCK is not set)",
                hint="start one (eval $(ssh-agent); ssh-add), or name a key: --ssh default=FILE",
            )
    return found


def ulimits(values: Sequence[str]) -> list[dict[str, Any]]:
    """name=soft[:hard]."""
    found = []
    for value in values:
        name, _, limits = value.partition("=")
        soft, _, hard = limits.partition(":")
        try:
            found.append({"name": name, "soft": int(soft), "hard": int(hard or soft)})
        except ValueError:
            raise UsageError(
                f"--ulimit {value!r} is not of the form name=soft[:hard]",
                hint="for example --ulimit nofile=1024:2048",
            ) from None
    return found


def outputs(values: Sequence[str]) -> list[dict[str, Any]]:
    """type=TYPE,dest=PATH,...; or DIR for files in a directory, or - for an archive of them."""
    return [_output(value) for value in values]


def _output(value: str) -> dict[str, Any]:
    if "=" not in value:
        kind = "tar" if value == "-" else "local"
        return {"type": kind, "dest": value if value == "-" else absolute(value)}
    fields = dict(part.strip().partition("=")[::2] for part in value.split(","))
    kind, dest = fields.pop("type", ""), fields.pop("dest", "")
    if kind not in _OUTPUTS:
        said = f": there is no type {kind!r}" if kind else " has no type"
        raise UsageError(f"--output {value!r}{said}", hint=f"types are {', '.join(_OUTPUTS)}")
    found: dict[str, Any] = {"type": "image" if kind == "registry" else kind}
    found["push"] = kind == "registry" or _true(fields.pop("push", "false"))
    found["name"] = fields.pop("name", "")
    found["unpacked"] = not _true(fields.pop("tar", "true")) and kind in ("docker", "oci")
    for name in fields:
        raise UsageError(
            f"--output {value!r}: {name!r} is not supported",
            hint="there are type, dest, name, push and tar",
        )
    if kind in ("image", "registry", "cacheonly") and dest:
        raise UsageError(f"--output {value!r}: {kind} has no dest")
    if found["push"] and found["type"] != "image":
        raise UsageError(f"--output {value!r}: only an image is pushed")
    if not dest and kind == "local":
        raise UsageError(f"--output {value!r} has no dest=DIRECTORY")
    if not dest and kind in ("tar", "oci"):
        dest = "-"
    found["dest"] = dest if dest in ("", "-") else absolute(dest)
    return found


def _true(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise UsageError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")


def contexts(values: Sequence[str]) -> dict[str, str]:
    """name=DIR made absolute; addresses as they are."""
    found = {}
    for value in values:
        name, equals, place = value.partition("=")
        if not (name and equals and place):
            raise UsageError(f"--build-context {value!r} is not of the form name=DIRECTORY")
        found[name] = address(place)
    return found


def caches(values: Sequence[str]) -> list[str]:
    """The directories of type=local made absolute."""
    found = []
    for value in values:
        fields = []
        for part in value.split(","):
            key, equals, place = part.partition("=")
            if key in ("src", "dest") and place:
                place = absolute(place)
            fields.append(f"{key}{equals}{place}")
        found.append(",".join(fields))
    return found


def address(place: str) -> str:
    """A directory made absolute, also that of an OCI layout; addresses as they are."""
    if place.startswith(_LAYOUT):
        return _LAYOUT + absolute(place.removeprefix(_LAYOUT))
    is_remote = "://" in place or place.startswith(("git@", "github.com/", "gitlab.com/"))
    return place if is_remote and not os.path.isdir(place) else absolute(place)


def absolute(path: str) -> str:
    """As seen from the current directory."""
    try:
        return os.path.abspath(os.path.expanduser(path))
    except FileNotFoundError:
        raise MachineError("the current directory does not exist any more") from None
