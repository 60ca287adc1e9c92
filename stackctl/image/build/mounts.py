"""RUN --mount: its values typed, and the directories and files that stand behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from stackctl.errors import DockerfileError
from stackctl.image.build import instructions as ins
from stackctl.image.build.flags import FlagError, boolean
from stackctl.image.build.settings import Expander, absolute
from stackctl.values import dataclass

_SIZE = re.compile(r"([0-9]{1,15})([kmgtKMGT]?)[bB]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """One --mount; `target` is absolute ("" for a secret that is a variable only)."""

    type: str
    target: str
    source: str = ""
    from_: str = ""
    id: str = ""
    env: str = ""
    sharing: str = "shared"
    read_only: bool = True
    required: bool = False
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0


def resolve(flag: ins.MountFlag, working_dir: str, text: Expander, number: int = 0) -> RunMount:
    """Variables expanded, values checked; `number` counts a RUN's mounts.

    Raises DockerfileError.
    """
    values = {key: value if key == "from" else text(value) for key, value in flag.values}
    try:
        return _typed(flag.type, values, working_dir, number)
    except FlagError as error:
        raise text.error(error.brief, error.hint) from None


def _typed(kind: str, values: Mapping[str, str], working_dir: str, number: int) -> RunMount:
    target = values.get("target", "")
    name = values.get("id", "")
    env = values.get("env", "")
    if kind == "secret":
        name = name or target.rpartition("/")[2]
        target = target or ("" if env else f"/run/secrets/{name}")
    if kind == "ssh":
        name = name or "default"
        target = target or f"/run/buildkit/ssh_agent.{number}"
    if target:
        target = absolute(working_dir, target)
        if target == "/":
            raise FlagError("--mount: nothing can be mounted over /")
    sharing = values.get("sharing", "shared")
    if sharing not in ("shared", "private", "locked"):
        raise FlagError(f"--mount: sharing is shared, private or locked, not {sharing[:40]!r}")
    modes = {"cache": "0755", "secret": "0400", "ssh": "0600"}
    defaults = kind == "bind"
    return RunMount(
        type=kind,
        target=target,
        source=values.get("source", ""),
        from_=values.get("from", ""),
        id=name or target,
        env=env,
        sharing=sharing,
        read_only=boolean("--mount: readonly", values.get("readonly", str(defaults))),
        required=boolean("--mount: required", values.get("required", "false")),
        mode=_number("mode", values.get("mode", modes.get(kind, "0755")), 8, 0o7777),
        uid=_number("uid", values.get("uid", "0"), 10, 65535),
        gid=_number("gid", values.get("gid", "0"), 10, 65535),
        size=_size(values.get("size", "0")),
    )


def _number(name: str, text: str, base: int, most: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if not 0 <= value <= most or not text.isalnum():
        raise FlagError(f"--mount: {name}={text[:40]!r} is not a number up to {most}")
    return value


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise FlagError(f"--mount: size={text[:40]!r} is not a size", "for example 64m")
    return int(found[1]) << " kmgt".index(found[2].lower() or " ") * 10


def secret_file(home: Path, number: int, mount: RunMount, content: bytes) -> Path:
    """In a directory that nobody else can enter; it goes when the step ends."""
    place = home / f"secret-{number}"
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fchown(fd, mount.uid, mount.gid)
        os.fchmod(fd, mount.mode)
    finally:
        os.close(fd)
    return place


def missing_secret(text: Expander, mount: RunMount) -> DockerfileError:
    return text.error(
        f"the secret {mount.id!r} was not given",
        f"give it with --secret id={mount.id},src=FILE",
    )
