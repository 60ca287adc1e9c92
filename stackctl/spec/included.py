"""What an included project's own variables mean for names that stand without a value.

`include` gives a project variables of its own, which the one that includes it does not see:
the tree is filled in with them before it becomes part of the other.
"""

from __future__ import annotations

from collections.abc import Mapping as Variables

from stackctl.spec.nodes import Entry, Mapping, Node, Scalar, is_null

#: (section, key) of a secret or config -> its text, which was a variable's.
Given = dict[tuple[str, str], str]


def filled(
    tree: Mapping, own: Variables[str, str], outer: Variables[str, str], given: Given
) -> Mapping:
    """The canonical tree with the values of `own` that `outer` lacks; secrets and configs that
    come from such a variable are added to `given`."""
    only = {name: value for name, value in own.items() if name not in outer}
    if not only:
        return tree
    for section in ("secrets", "configs"):
        for key, item in _entries(tree.get(section)):
            origin = item.get("environment") if isinstance(item, Mapping) else None
            if isinstance(origin, Scalar) and origin.value in only:
                given[section, key] = only[str(origin.value)]
    services = tree.entries.get("services")
    if services is None or not isinstance(services.node, Mapping):
        return tree
    found = {
        name: Entry(entry.key_mark, _service(entry.node, only))
        for name, entry in services.node.entries.items()
    }
    node = Mapping(found, services.node.mark, tag=services.node.tag)
    entries = {**tree.entries, "services": Entry(services.key_mark, node)}
    return Mapping(entries, tree.mark, tag=tree.tag)


def _service(node: Node, only: Variables[str, str]) -> Node:
    node = _at(node, "environment", only)
    build = node.get("build") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(build, Mapping):
        return node
    return _with(node, "build", _at(build, "args", only))


def _at(node: Node, key: str, only: Variables[str, str]) -> Node:
    """`node` with the bare names in its mapping `key` filled in."""
    names = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(names, Mapping):
        return node
    bare = {n: e for n, e in names.entries.items() if n in only and is_null(e.node)}
    if not bare:
        return node
    values = {n: Entry(e.key_mark, Scalar(only[n], e.node.mark)) for n, e in bare.items()}
    return _with(node, key, Mapping({**names.entries, **values}, names.mark, tag=names.tag))


def _with(node: Mapping, key: str, inner: Node) -> Mapping:
    entries = {**node.entries, key: Entry(node.entries[key].key_mark, inner)}
    return Mapping(entries, node.mark, tag=node.tag)


def _entries(node: Node | None) -> list[tuple[str, Node]]:
    if not isinstance(node, Mapping):
        return []
    return [(key, entry.node) for key, entry in node.entries.items()]
