"""Host paths in a tree: made absolute against the directory of the project that wrote them."""

from __future__ import annotations

from collections.abc import Mapping as Variables
from posixpath import join, normpath

from stackctl.spec import forms
from stackctl.spec.nodes import Entry, Mapping, Node, Scalar, Sequence
from stackctl.spec.shape import LEAF, Shape
from stackctl.spec.volumes import is_host_path


def absolute(source: str, directory: str, variables: Variables[str, str]) -> str:
    """An absolute host path: `~` is the caller's home, others start at `directory`."""
    if source == "~" or source.startswith("~/"):
        home = variables.get("HOME") or "/root"
        return normpath(f"{home}/{source[2:]}")
    return normpath(join(directory, source))


def is_remote(context: str) -> bool:
    """Whether a build's context is somewhere else: a Git repository, an archive's address."""
    return "://" in context or context.startswith(("git@", "github.com/"))


_FORMS = (forms.HOST_PATH, forms.MOUNT_SOURCE, forms.CONTEXTS, forms.VOLUME_OPTIONS)
#: By identity: the shapes of the models are made once and stay.
_concerned: dict[int, tuple[Shape, bool]] = {}


def _has_paths(shape: Shape) -> bool:
    """Whether there can be a host path below, so that most of a tree need not be walked."""
    known = _concerned.get(id(shape))
    if known is not None:
        return known[1]
    below = [*(shape.fields or {}).values(), shape.values, shape.items]
    found = shape.form in _FORMS or any(_has_paths(inner) for inner in below if inner is not None)
    _concerned[id(shape)] = (shape, found)
    return found


def rebase(node: Node, shape: Shape, directory: str, variables: Variables[str, str]) -> Node:
    """The tree with its host paths absolute; unchanged branches stay shared."""
    if not _has_paths(shape):
        return node
    match node:
        case Scalar() if shape.form is forms.HOST_PATH and isinstance(node.value, str):
            if is_remote(node.value) or not node.value:
                return node
            path = absolute(node.value, directory, variables)
            return Scalar(path, node.mark, tag=node.tag)
        case Mapping() if shape.fields is not None or shape.values is not None:
            return _mapping(node, shape, directory, variables)
        case Sequence() if shape.items is not None:
            items = [rebase(item, shape.items, directory, variables) for item in node.items]
            same = all(a is b for a, b in zip(items, node.items, strict=True))
            return node if same else Sequence(items, node.mark, tag=node.tag)
        case _:
            return node


def _mapping(node: Mapping, shape: Shape, directory: str, variables: Variables[str, str]) -> Node:
    entries: dict[str, Entry] = {}
    for key, entry in node.entries.items():
        below = shape.below(key)
        if below is LEAF or not _has_paths(below):
            continue
        if below.form is forms.MOUNT_SOURCE and not _is_bind(node):
            value = entry.node
        elif below.form is forms.MOUNT_SOURCE:
            value = _path(entry.node, directory, variables)
        elif below.form in (forms.CONTEXTS, forms.VOLUME_OPTIONS) and isinstance(
            entry.node, Mapping
        ):
            value = _named_paths(entry.node, directory, variables)
        else:
            value = rebase(entry.node, below, directory, variables)
        if value is not entry.node:
            entries[key] = Entry(entry.key_mark, value)
    return Mapping({**node.entries, **entries}, node.mark, tag=node.tag) if entries else node


def _is_bind(mount: Mapping) -> bool:
    kind = mount.get("type")
    return isinstance(kind, Scalar) and kind.value == "bind"


def _path(node: Node, directory: str, variables: Variables[str, str]) -> Node:
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        return node
    return Scalar(absolute(node.value, directory, variables), node.mark, tag=node.tag)


def _named_paths(node: Mapping, directory: str, variables: Variables[str, str]) -> Mapping:
    """Build contexts, options of volumes: only those that look like paths are."""
    entries = {}
    for key, entry in node.entries.items():
        text = entry.node.value if isinstance(entry.node, Scalar) else None
        is_path = isinstance(text, str) and is_host_path(text)
        value = _path(entry.node, directory, variables) if is_path else entry.node
        entries[key] = Entry(entry.key_mark, value)
    return Mapping(entries, node.mark, tag=node.tag)
