"""The shape of the models: which form each attribute has, and what lies below it.

Read off the models once, so that an attribute is declared in one place
only. Merging, canonical form and the reference page walk along it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from stackctl.spec.attributes import Support
from stackctl.spec.fields import Attributes, FieldInfo
from stackctl.spec.forms import PLAIN, Form
from stackctl.spec.model import StackFile
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One place in a stack file: a leaf, a model, a mapping of names, or a list.

    Made once and told apart by identity, so that what follows from one can be kept (`cache`).
    """

    form: Form = PLAIN
    #: Of a model: its attributes by key.
    fields: dict[str, Shape] | None = None
    #: Of a mapping with free keys: the shape of its values.
    values: Shape | None = None
    #: Of a list: the shape of its items.
    items: Shape | None = None
    model: type[Attributes] | None = None
    #: None: the attribute is carried out as it is written.
    support: Support | None = None

    def below(self, key: str) -> Shape:
        """The shape of a mapping's entry; leaves where nothing is declared."""
        if self.fields is not None:
            return self.fields.get(key, LEAF)
        return self.values or LEAF

    @property
    def item(self) -> Shape:
        return self.items or LEAF


LEAF = Shape()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A shape as far as some forms are concerned: without what has none of them, here or below."""

    form: Form
    fields: dict[str, Part]
    values: Part | None
    items: Part | None


@cache
def part(shape: Shape | None, concerned: Callable[[Form], bool]) -> Part | None:
    """The part that a walk along the shape has to look at; None when there is nothing for it."""
    if shape is None:
        return None
    fields = {k: inner for k, s in (shape.fields or {}).items() if (inner := part(s, concerned))}
    values, items = part(shape.values, concerned), part(shape.items, concerned)
    if not (concerned(shape.form) or fields or values or items):
        return None
    return Part(shape.form, fields, values, items)


@cache
def stack_shape() -> Shape:
    return _of_model(StackFile, PLAIN)


@cache
def _of_model(model: type[Attributes], form: Form) -> Shape:
    fields = {name: _of_field(info) for name, info in model.model_fields.items()}
    return Shape(form=form, fields=fields, model=model)


def _of_field(info: FieldInfo) -> Shape:
    shape = _of_type(info.annotation, _form(info.metadata))
    support = next((item for item in info.metadata if isinstance(item, Support)), None)
    return replace(shape, support=support) if support else shape


def _form(metadata: Sequence[Any]) -> Form:
    return next((item for item in metadata if isinstance(item, Form)), PLAIN)


def _of_type(annotation: Any, form: Form) -> Shape:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        own = _form(metadata)
        return _of_type(inner, form if own is PLAIN else own)
    if origin in (Union, types.UnionType):
        present = [arg for arg in get_args(annotation) if arg is not type(None)]
        return _of_type(present[0], form)
    if origin is dict:
        return Shape(form=form, values=_of_type(get_args(annotation)[1], PLAIN))
    if origin is list:
        return Shape(form=form, items=_of_type(get_args(annotation)[0], PLAIN))
    if isinstance(annotation, type) and issubclass(annotation, Attributes):
        return _of_model(annotation, form)  # type: ignore[arg-type]  # classes can be hashed
    return LEAF if form is PLAIN else Shape(form=form)
