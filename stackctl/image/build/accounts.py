"""Users and groups by name, as the image's own files define them; numbers are never names."""

from __future__ import annotations

import re

from stackctl.image.build.settings import Expander
from stackctl.image.build.tree import Tree
from stackctl.image.build.upper import Owner

#: As much as the runtime reads of them (bytes).
_LARGEST = 1024 * 1024
_ID = re.compile(r"[0-9]{1,10}")
_HIGHEST = 65535


def owner(tree: Tree, text: str, at: Expander) -> Owner:
    """`user[:group]` of --chown. Raises DockerfileError."""
    user, colon, group = text.partition(":")
    uid = _id(tree, "etc/passwd", user, at) if user else 0
    if colon and group:
        return Owner(uid, _id(tree, "etc/group", group, at))
    return Owner(uid, _primary_group(tree, user, uid))


def _primary_group(tree: Tree, user: str, uid: int) -> int:
    """A name's group as /etc/passwd has it; of a number, the same number."""
    if not _ID.fullmatch(user):
        for fields in _entries(tree, "etc/passwd"):
            if fields[0] == user and len(fields) > 3 and _ID.fullmatch(fields[3]):
                return int(fields[3])
    return uid


def _id(tree: Tree, file: str, name: str, at: Expander) -> int:
    if _ID.fullmatch(name):
        if int(name) > _HIGHEST:
            raise at.error(f"the id {name} is beyond {_HIGHEST}")
        return int(name)
    for fields in _entries(tree, file):
        if fields[0] == name and len(fields) > 2 and _ID.fullmatch(fields[2]):
            return int(fields[2])
    raise at.error(
        f"{name[:60]!r} is not in /{file} of the image", "make it before, or use a number"
    )


def _entries(tree: Tree, file: str) -> list[list[str]]:
    node = tree.find(file)
    if node is None or not node.is_file:
        return []
    text = tree.read(node, _LARGEST).decode(errors="replace")
    return [line.split(":") for line in text.splitlines() if line]
