"""What an included project's own variables mean for names that stand without a value.

`include` gives a project variables of its own, which the one that includes it does not see:
the tree is filled in with them before it becomes part of the other.
"""

from __future__ import annotations

from collections.abc import Mapping as Variables

from stackctl.spec.nodes import Mapping, Node, Scalar, is_null

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
    services = tree.get("services")
    if not isinstance(services, Mapping):
        return tree
    found = {name: _service(service, only) for name, service in services.entries.items()}
    return tree.updated({"services": services.with_entries(found)})


def _service(node: Node, only: Variables[str, str]) -> Node:
    node = _at(node, "environment", only)
    build = node.get("build") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(build, Mapping):
        return node
    return node.updated({"build": _at(build, "args", only)})


def _at(node: Node, key: str, only: Variables[str, str]) -> Node:
    """`node` with the bare names in its mapping `key` filled in."""
    names = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(names, Mapping):
        return node
    bare = {n: v for n, v in names.entries.items() if n in only and is_null(v)}
    if not bare:
        return node
    values: dict[str, Node] = {n: Scalar(only[n], value.mark) for n, value in bare.items()}
    return node.updated({key: names.updated(values)})


def _entries(node: Node | None) -> list[tuple[str, Node]]:
    return list(node.entries.items()) if isinstance(node, Mapping) else []
