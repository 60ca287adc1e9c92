"""Host paths in a tree: made absolute against the directory of the project that wrote them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Variables
from operator import is_not
from posixpath import join, normpath

from stackctl.spec import forms
from stackctl.spec.nodes import Mapping, Node, Scalar, Sequence
from stackctl.spec.shape import Part, Shape, part
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


#: A path as it is written -> where that is.
_Absolute = Callable[[str], str]


def _is_path(form: forms.Form) -> bool:
    return form in (forms.HOST_PATH, forms.MOUNT_SOURCE, forms.CONTEXTS, forms.VOLUME_OPTIONS)


def rebase(node: Node, shape: Shape, directory: str, variables: Variables[str, str]) -> Node:
    """The tree with its host paths absolute; unchanged branches stay shared."""
    concerned = part(shape, _is_path)
    if concerned is None:
        return node
    return _rebased(node, concerned, lambda path: absolute(path, directory, variables))


def _rebased(node: Node, shape: Part, whole: _Absolute) -> Node:
    if isinstance(node, Scalar):
        is_elsewhere = isinstance(node.value, str) and is_remote(node.value)
        return _path(node, whole) if shape.form is forms.HOST_PATH and not is_elsewhere else node
    if isinstance(node, Sequence):
        if (below := shape.items) is None:
            return node
        items = [_rebased(item, below, whole) for item in node.items]
        return node.with_items(items) if any(map(is_not, items, node.items)) else node
    if shape.form in (forms.CONTEXTS, forms.VOLUME_OPTIONS):
        return _named_paths(node, whole)
    changed: dict[str, Node] = {}
    fields, others = shape.fields, shape.values
    for key, value in node.entries.items():
        inner = fields.get(key, others)
        if inner is None:
            continue
        if inner.form is not forms.MOUNT_SOURCE:
            found = _rebased(value, inner, whole)
        else:
            found = _path(value, whole) if _is_bind(node) else value
        if found is not value:
            changed[key] = found
    return node.updated(changed)


def _is_bind(mount: Mapping) -> bool:
    kind = mount.get("type")
    return isinstance(kind, Scalar) and kind.value == "bind"


def _path(node: Node, whole: _Absolute) -> Node:
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        return node
    return Scalar(whole(node.value), node.mark, tag=node.tag)


def _named_paths(node: Mapping, whole: _Absolute) -> Mapping:
    """Build contexts, options of volumes: only those that look like paths are."""
    entries: dict[str, Node] = {}
    for key, value in node.entries.items():
        text = value.value if isinstance(value, Scalar) else None
        is_path = isinstance(text, str) and is_host_path(text)
        entries[key] = _path(value, whole) if is_path else value
    return node.with_entries(entries)
