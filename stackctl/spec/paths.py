"""Host paths in a tree: made absolute against the directory of the project that wrote them."""

from __future__ import annotations

from collections.abc import Mapping as Variables
from functools import cache
from posixpath import join, normpath

from stackctl.spec import forms
from stackctl.spec.nodes import Mapping, Node, Scalar, Sequence
from stackctl.spec.shape import Shape
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


@cache
def _fields_with_paths(shape: Shape) -> dict[str, Shape]:
    """Attributes of a model that are host paths or have some below: the few that are looked at."""
    return {key: below for key, below in (shape.fields or {}).items() if _has_paths(below)}


@cache
def _has_paths(shape: Shape) -> bool:
    below = [*(shape.fields or {}).values(), shape.values, shape.items]
    return shape.form in _FORMS or any(_has_paths(inner) for inner in below if inner is not None)


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
        case Mapping() if shape.fields is not None:
            changed: dict[str, Node] = {}
            for key, below in _fields_with_paths(shape).items():
                value = node.entries.get(key)
                if value is not None:
                    found = _attribute(node, value, below, directory, variables)
                    if found is not value:
                        changed[key] = found
            return node.with_entries({**node.entries, **changed}) if changed else node
        case Mapping() if shape.values is not None:
            below = shape.values
            entries = {
                key: rebase(value, below, directory, variables)
                for key, value in node.entries.items()
            }
            return node.with_entries(entries)
        case Sequence() if shape.items is not None:
            items = [rebase(item, shape.items, directory, variables) for item in node.items]
            same = all(a is b for a, b in zip(items, node.items, strict=True))
            return node if same else node.with_items(items)
        case _:
            return node


def _attribute(
    of: Mapping, value: Node, shape: Shape, directory: str, variables: Variables[str, str]
) -> Node:
    if shape.form is forms.MOUNT_SOURCE:
        return _path(value, directory, variables) if _is_bind(of) else value
    if shape.form in (forms.CONTEXTS, forms.VOLUME_OPTIONS) and isinstance(value, Mapping):
        return _named_paths(value, directory, variables)
    return rebase(value, shape, directory, variables)


def _is_bind(mount: Mapping) -> bool:
    kind = mount.get("type")
    return isinstance(kind, Scalar) and kind.value == "bind"


def _path(node: Node, directory: str, variables: Variables[str, str]) -> Node:
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        return node
    return Scalar(absolute(node.value, directory, variables), node.mark, tag=node.tag)


def _named_paths(node: Mapping, directory: str, variables: Variables[str, str]) -> Mapping:
    """Build contexts, options of volumes: only those that look like paths are."""
    entries: dict[str, Node] = {}
    for key, value in node.entries.items():
        text = value.value if isinstance(value, Scalar) else None
        is_path = isinstance(text, str) and is_host_path(text)
        entries[key] = _path(value, directory, variables) if is_path else value
    return node.with_entries(entries)
