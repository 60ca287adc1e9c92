"""Several documents -> one: later ones over earlier ones, as compose merges.

Mappings merge, lists append (items with the same key become one), scalars and
the attributes whose form says so are replaced. `!reset` drops what was there,
`!override` takes its place without merging. All documents are brought to
canonical form first, so that a list and a mapping of the same attribute merge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stackctl.spec import forms
from stackctl.spec.forms import Form
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import (
    OVERRIDE,
    RESET,
    Mapping,
    Node,
    Scalar,
    Sequence,
    is_null,
    kind,
    place,
    walk,
)
from stackctl.spec.shape import Part, Shape, part

#: A variable in braces, with one in the word behind its operator.
_BRACED = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")


def canonical(node: Node, shape: Shape, mistakes: Mistakes, *, lenient: bool = False) -> Node:
    """The tree with every attribute in its one form; reset tags stay where they are.

    `lenient`: what cannot be read because a variable stands in it stays as it is.
    """
    concerned = part(shape, forms.acts)
    return node if concerned is None else _canonical(node, concerned, mistakes, lenient)


def _canonical(node: Node, rule: Part, mistakes: Mistakes, lenient: bool) -> Node:
    if node.tag == RESET:
        return node
    form = rule.form
    if form.canonical is not forms.unchanged:
        node = _in_form_if_known(node, form) if lenient else form.canonical(node, mistakes)
    if isinstance(node, Scalar):
        return node
    if isinstance(node, Sequence):
        if (below := rule.items) is not None:
            node = node.with_items([_canonical(i, below, mistakes, lenient) for i in node.items])
        return forms.unique(node, form, mistakes)
    changed: dict[str, Node] = {}
    fields, others = rule.fields, rule.values
    for key, value in node.entries.items():
        inner = fields.get(key, others)
        if inner is not None:
            found = _canonical(value, inner, mistakes, lenient)
            if found is not value:
                changed[key] = found
    return node.updated(changed)


def _in_form_if_known(node: Node, form: Form) -> Node:
    """Its form, unless that is a matter of variables: they may say how a text is split, and are
    not filled in where they have become keys."""
    trial = Mistakes()
    found = form.canonical(node, trial)
    texts = [text for text in _texts(node) if "$" in text]
    if not texts:
        return found
    keys = found.entries if isinstance(found, Mapping) and isinstance(node, Sequence) else ()
    if trial.errors or any("$" in key for key in keys):
        return node
    after = "\n".join(_texts(found))
    whole = all(variable in after for text in texts for variable in _BRACED.findall(text))
    return found if whole else node


def _texts(node: Node) -> Iterator[str]:
    """All texts and keys of a tree."""
    for inner in walk(node):
        if isinstance(inner, Mapping):
            yield from inner.entries
        elif isinstance(inner, Scalar) and isinstance(inner.value, str):
            yield inner.value


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
    marks = dict(base.key_marks)
    for key, value in over.entries.items():
        known = entries.get(key)
        if value.tag == RESET:
            entries.pop(key, None)
            continue
        if known is None or key.startswith("x-"):
            entries[key] = cleaned(value)
        else:
            entries[key] = merge(known, value, shape.below(key), mistakes)
            if entries[key] is known:
                continue
        marks[key] = over.key_marks[key]
    return Mapping(entries, marks, base.mark)


def cleaned(node: Node) -> Node:
    """The tree without what `!reset` drops; unchanged branches stay shared."""
    if isinstance(node, Scalar) or not node.tagged:
        return node
    match node:
        case Mapping():
            entries = {k: cleaned(v) for k, v in node.entries.items() if v.tag != RESET}
            same = not node.tag and len(entries) == len(node.entries)
            same = same and all(v is node.entries[k] for k, v in entries.items())
            return node if same else Mapping(entries, node.key_marks, node.mark)
        case Sequence():
            items = [cleaned(item) for item in node.items if item.tag != RESET]
            same = not node.tag and len(items) == len(node.items)
            same = same and all(a is b for a, b in zip(items, node.items, strict=True))
            return node if same else Sequence(items, node.mark)
