"""The reference page, and that models and specification agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.spec.fields import Attributes
from stackctl.spec.reference import markdown
from stackctl.spec.shape import Shape, stack_shape

PAGE = Path(__file__).parents[3] / "docs" / "stack-file.md"


def models(shape: Shape) -> Iterator[type[Attributes]]:
    if shape.model is not None:
        yield shape.model
    for below in (*(shape.fields or {}).values(), shape.values, shape.items):
        if below is not None:
            yield from models(below)


MODELS = sorted(set(models(stack_shape())), key=lambda model: model.__name__)


def test_the_page_is_up_to_date() -> None:
    renew = "run: python -m stackctl.spec.reference > docs/stack-file.md"
    assert PAGE.read_text() == markdown(), renew


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[Attributes]) -> None:
    for name, info in model.model_fields.items():
        assert info.description, name
