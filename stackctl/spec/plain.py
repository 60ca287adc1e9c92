"""Models -> plain data, as JSON and YAML know it: what a stack file would say.

How the values of a model's fields are written is worked out of its declaration once. Most values
are plain already and are handed on as they are: what comes out shares them with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from stackctl.spec.fields import Attributes, PlainSerializer

if TYPE_CHECKING:
    from stackctl.spec.service import Service

Write = Callable[[Any], Any]

_CONTAINERS = (list, dict)
#: Attributes of a service that are not absent when they are empty: they clear what the image has.
CLEARING = ("command", "entrypoint")


def plain(model: Attributes) -> dict[str, Any]:
    """All that has a value, in the order of the fields, then the `x-` keys."""
    values = {name: value for name, value in vars(model).items() if value is not None}
    return _written(model, values)


def opened(model: Attributes) -> dict[str, Any]:
    """As `plain` has it, but models in it are left as they are."""
    values = {name: value for name, value in vars(model).items() if value is not None}
    return _written(model, values, of_models=None)


def said(model: Attributes, but: Container[str] = ()) -> dict[str, Any]:
    """As `plain` has it, without lists and mappings that are empty, and without the keys `but`.

    What is empty further inside stays.
    """
    values = {k: v for k, v in vars(model).items() if v is not None and k not in but}
    return without_empty(_written(model, values, but))


def given(
    service: Service, but: Container[str] = (), of_models: Write | None = plain
) -> dict[str, Any]:
    """What `said` gives of a service, in no order: of its hundred fields, all of which are empty
    when they are given nothing, ten have something. `of_models` None: models in it stay models."""
    values = vars(service)
    found = {
        name: value
        for name in service.model_fields_set
        if (value := values.get(name)) is not None and name not in but
    }
    return without_empty(_written(service, found, but, of_models))


def without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Without the lists and mappings that have nothing in them."""
    return {
        key: value for key, value in values.items() if value or not isinstance(value, _CONTAINERS)
    }


def finite(value: Any) -> Any:
    """What somebody wrote freely, without .nan and .inf: JSON has none."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _written(
    model: Attributes,
    values: dict[str, Any],
    but: Container[str] = (),
    of_models: Write | None = plain,
) -> dict[str, Any]:
    """Values of its fields as they are written, and the `x-` keys; in place."""
    known = writers(type(model), of_models)  # type: ignore[arg-type]  # classes can be hashed
    for name, value in values.items():
        if (write := known.get(name)) is not None:
            values[name] = write(value)
    if extra := model.model_extra:
        values |= {k: finite(v) for k, v in extra.items() if v is not None and k not in but}
    return values


@cache
def writers(model: type[Attributes], of_models: Write | None) -> dict[str, Write]:
    """How the fields are written whose values are not plain; `of_models` None: models stay."""
    found = (
        (name, _of_hung(info.metadata) or _of_type(info.annotation, of_models))
        for name, info in model.model_fields.items()
    )
    return {name: write for name, write in found if write is not None}


def _of_hung(metadata: tuple[Any, ...]) -> Write | None:
    """Of what hangs on a type: the outermost that says how its values are written."""
    return next((hung.func for hung in reversed(metadata) if type(hung) is PlainSerializer), None)


def _of_type(annotation: Any, of_models: Write | None) -> Write | None:
    """How its values are written; None: they are plain."""
    if annotation is Any:
        return finite
    if isinstance(annotation, type) and issubclass(annotation, Attributes):
        return of_models
    if metadata := getattr(annotation, "__metadata__", None):
        return _of_hung(metadata) or _of_type(annotation.__origin__, of_models)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return _of_items(_of_type(arguments[0], of_models))
    if origin is dict:
        return _of_values(_of_type(arguments[1], of_models))
    if origin in (Union, UnionType):
        assert arguments[1:] == (NoneType,), annotation
        return _of_some(_of_type(arguments[0], of_models))
    return None


def _of_items(write: Write | None) -> Write | None:
    return write and (lambda items: [write(item) for item in items])


def _of_values(write: Write | None) -> Write | None:
    return write and (lambda items: {key: write(item) for key, item in items.items()})


def _of_some(write: Write | None) -> Write | None:
    return write and (lambda value: None if value is None else write(value))
