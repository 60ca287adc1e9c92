"""What a file says, place by place, beside the models that were made of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from stackctl.spec.nodes import Mapping, Mark, Node, is_null, mark_at


class _Known(list[str]):
    """Names, and every other one: it may be in a file that could not be read."""

    def __contains__(self, name: object) -> bool:
        return True


class Written(NamedTuple):
    """`root`: the tree that the models came from; `whole`: with what had a mistake, too.

    A name whose definition had a mistake counts as defined: one mistake does
    not make others. So does, when a file was `unread`, each that is not known.
    """

    root: Mapping
    whole: Node
    unread: bool = False

    def at(self, *path: str | int, key: bool = False) -> Mark:
        """Where that stands, or the nearest that does; with `key`, the last key itself."""
        return mark_at(self.root, path, key=key)

    def node(self, *path: str) -> Node | None:
        """What stands there in the tree of the models."""
        return _below(self.root, path)

    def names(self, section: str) -> Collection[str]:
        """Names that a top-level section defines, rightly or not."""
        node = _below(self.whole, (section,))
        names = node.entries.keys() if isinstance(node, Mapping) else ()
        return _Known(names) if self.unread else names

    def has(self, path: tuple[str, ...], *keys: str) -> bool:
        """Whether a definition says something for one of the keys, rightly or not."""
        node = _below(self.whole, path)
        return isinstance(node, Mapping) and any(not is_null(node.get(key)) for key in keys)


def _below(node: Node | None, path: tuple[str, ...]) -> Node | None:
    for step in path:
        node = node.get(step) if isinstance(node, Mapping) else None
    return node
