"""Who the container's process is: USER resolved by the image's own files.

The files are untrusted: read below the root's descriptor, size-capped, parsed
as bytes. The C library's look-ups are never called (they would load the
image's name service modules as root). A number is never looked up as a name,
and a name never stands for a number (CVE-2026-46680).
"""

from __future__ import annotations

from stackctl.linux import files

PASSWD = "/etc/passwd"
GROUP = "/etc/group"
LIMIT = 1 << 20
_MAX_ID = (1 << 32) - 2


class IdentityError(Exception):
    """USER names nobody that the image knows, or a number out of range."""


class Identity:
    """Numbers for setresuid & co., and the home directory ("/" when unknown)."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def resolve(root: int, user: str, more: list[str] | None = None) -> Identity:
    """`user` is "", "name", "uid", "name:group" or "uid:gid"; `root` a descriptor of the root.

    `more` are further groups, by name or number.

    Raises IdentityError. A missing file counts as empty: numbers then stand on their own.
    """
    name, _, group = user.partition(":")
    name = name or "0"
    entries = _read(root, PASSWD)
    number = _number(name, "user")
    for fields in entries:
        if len(fields) < 6:
            continue
        if (fields[0] == name) if number is None else (_parse(fields[2]) == number):
            break
    else:
        if number is None:
            raise IdentityError(f'no user "{name}" in the image\'s {PASSWD}')
        fields = []
    uid = number if number is not None else _parse(fields[2])
    gid = _parse(fields[3]) if fields else 0
    if uid is None or gid is None:
        raise IdentityError(f'the entry of user "{name}" in {PASSWD} is broken')
    home = fields[5] if fields and fields[5] else "/"
    further = [_group(root, each) for each in more or ()]
    if group:
        return Identity(uid, _group(root, group), further, home)
    groups = _memberships(root, fields[0]) if fields else []
    return Identity(uid, gid, list(dict.fromkeys([*groups, *further])), home)


def _group(root: int, group: str) -> int:
    number = _number(group, "group")
    if number is not None:
        return number
    for fields in _read(root, GROUP):
        if len(fields) >= 3 and fields[0] == group:
            gid = _parse(fields[2])
            if gid is not None:
                return gid
    raise IdentityError(f'no group "{group}" in the image\'s {GROUP}')


def _memberships(root: int, name: str) -> list[int]:
    """Groups that list `name`, in file order."""
    found = []
    for fields in _read(root, GROUP):
        if len(fields) >= 4 and name in fields[3].split(","):
            gid = _parse(fields[2])
            if gid is not None and gid not in found:
                found.append(gid)
    return found


def _read(root: int, path: str) -> list[list[str]]:
    try:
        content = files.read_in_root(root, path, LIMIT)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise IdentityError(f"the image's {path} {error.strerror}") from None
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    return [line.split(":") for line in lines if line and line[0] != "#"]


def _number(text: str, what: str) -> int | None:
    """`text` as an id, None when it is a name."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = _parse(text)
    if number is None:
        raise IdentityError(f"{what} {text} is out of range")
    return number


def _parse(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        return None
    number = int(text)
    return number if number <= _MAX_ID else None
