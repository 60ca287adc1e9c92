"""Several documents -> one: later ones over earlier ones, as compose merges.

Mappings merge, lists append (items with the same key become one), scalars and
the attributes whose form says so are replaced. `!reset` drops what was there,
`!override` takes its place without merging. All documents are brought to
canonical form first, so that a list and a mapping of the same attribute merge.
"""

from __future__ import annotations

from stackctl.spec import forms
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import (
    OVERRIDE,
    RESET,
    Entry,
    Mapping,
    Node,
    Scalar,
    Sequence,
    is_null,
    kind,
    place,
    walk,
)
from stackctl.spec.shape import LEAF, Shape


def canonical(node: Node, shape: Shape, mistakes: Mistakes, *, lenient: bool = False) -> Node:
    """The tree with every attribute in its one form; reset tags stay where they are.

    `lenient`: what cannot be read because a variable stands in it stays as it is.
    """
    if shape is LEAF or node.tag == RESET:
        return node
    form = shape.form
    if form is not forms.PLAIN and form.canonical is not forms.unchanged:
        node = _in_form(node, shape, mistakes, lenient)
    match node:
        case Mapping():
            fields, values = shape.fields, shape.values
            if fields is None and (values is None or values is LEAF):
                return node
            changed: dict[str, Entry] = {}
            for key, (key_mark, inner) in node.entries.items():
                below = fields.get(key, LEAF) if fields is not None else values or LEAF
                if below is LEAF:
                    continue
                value = canonical(inner, below, mistakes, lenient=lenient)
                if value is not inner:
                    changed[key] = Entry(key_mark, value)
            if not changed:
                return node
            # Forms add no tags of their own.
            return Mapping({**node.entries, **changed}, node.mark, tag=node.tag, tagged=node.tagged)
        case Sequence():
            if shape.items is None:
                return node
            below = shape.items
            if below is not LEAF:
                items = [canonical(i, below, mistakes, lenient=lenient) for i in node.items]
                node = Sequence(items, node.mark, tag=node.tag, tagged=node.tagged)
            return forms.unique(node, shape.form, mistakes)
        case Scalar():
            return node


def _in_form(node: Node, shape: Shape, mistakes: Mistakes, lenient: bool) -> Node:
    if not lenient:
        return shape.form.canonical(node, mistakes)
    trial = Mistakes()
    found = shape.form.canonical(node, trial)
    return node if trial.errors and _holds_variable(node) else found


def _holds_variable(node: Node) -> bool:
    return any(
        isinstance(inner, Scalar) and isinstance(inner.value, str) and "$" in inner.value
        for inner in walk(node)
    )


def merge(base: Node, over: Node, shape: Shape, mistakes: Mistakes) -> Node:
    """Two canonical trees -> one."""
    if over.tag == OVERRIDE or shape.form.replace:
        return cleaned(over)
    match base, over:
        case _, Scalar(value=None) if isinstance(base, Mapping | Sequence):
            # `networks:` with nothing below it says nothing, and takes nothing away.
            return base
        case Mapping(), Mapping() if not shape.form.merges(base, over):
            return cleaned(over)
        case Mapping(), Mapping():
            return _merge_mappings(base, over, shape, mistakes)
        case Sequence(), Sequence():
            items = [*base.items, *(cleaned(i) for i in over.items if i.tag != RESET)]
            return forms.unique(Sequence(items, base.mark), shape.form)
        case Scalar(), _ if is_null(base) or isinstance(over, Scalar):
            return cleaned(over)
    mistakes.add(
        f"{kind(over)} cannot be merged with {kind(base)}",
        over.mark,
        hint=f"the other one is at {place(base.mark)}; !override replaces it",
    )
    return base


def _merge_mappings(base: Mapping, over: Mapping, shape: Shape, mistakes: Mistakes) -> Mapping:
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        known = entries.get(key)
        if entry.node.tag == RESET:
            entries.pop(key, None)
        elif known is None or key.startswith("x-"):
            entries[key] = Entry(entry.key_mark, cleaned(entry.node))
        else:
            merged = merge(known.node, entry.node, shape.below(key), mistakes)
            entries[key] = Entry(
                entry.key_mark if merged is not known.node else known.key_mark, merged
            )
    return Mapping(entries, base.mark)


def cleaned(node: Node) -> Node:
    """The tree without what `!reset` drops; unchanged branches stay shared."""
    if isinstance(node, Scalar) or not node.tagged:
        return node
    match node:
        case Mapping():
            entries: dict[str, Entry] = {}
            same = not node.tag
            for key, entry in node.entries.items():
                inner = entry.node
                if inner.tag == RESET:
                    same = False
                    continue
                if not isinstance(inner, Scalar):
                    value = cleaned(inner)
                    if value is not inner:
                        same = False
                        entry = Entry(entry.key_mark, value)
                entries[key] = entry
            return node if same else Mapping(entries, node.mark)
        case Sequence():
            items = [cleaned(item) for item in node.items if item.tag != RESET]
            same = not node.tag and len(items) == len(node.items)
            same = same and all(a is b for a, b in zip(items, node.items, strict=True))
            return node if same else Sequence(items, node.mark)
