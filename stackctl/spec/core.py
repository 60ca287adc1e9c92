"""Models -> validators of pydantic's core. What a declaration means is here.

A type becomes a schema, of which the core makes a program: `X | None`, `list[X]`, `dict[X, Y]`,
`Literal[...]`, a model, a plain type, and what hangs on them in `Annotated`. Another one is a
mistake of ours: TypeError.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from stackctl.spec.fields import AfterValidator, Attributes, BeforeValidator, FieldInfo

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator, ValidationError
else:

    def _compiled() -> ModuleType:
        """The compiled module alone. The package around it defines each of the core's schemas as
        a type, for type checkers, which takes as long as the rest of a small file's `config`."""
        name = "pydantic_core"
        spec = PathFinder.find_spec(name)
        if name in sys.modules or spec is None or spec.submodule_search_locations is None:
            return import_module(name)
        # A package that is nothing but its directory, for as long as this takes: whoever
        # imports the whole one later finds the compiled module and defines the rest.
        bare = ModuleType(name)
        bare.__path__ = spec.submodule_search_locations
        sys.modules[name] = bare
        try:
            return import_module(f"{name}._{name}")
        except ImportError:
            # Another layout: as anybody imports it.
            del sys.modules[name]
            return import_module(name)
        finally:
            if sys.modules.get(name) is bare:
                del sys.modules[name]

    _core = _compiled()
    SchemaValidator, ValidationError = _core.SchemaValidator, _core.ValidationError

__all__ = ["ValidationError", "validator_of"]

Schema = dict[str, Any]

_PLAIN: dict[Any, str] = {Any: "any", str: "str", bool: "bool", int: "int", float: "float"}


def validator_of(model: type[Attributes]) -> SchemaValidator:
    return SchemaValidator(_of_model(model))  # type: ignore[arg-type]


@cache
def _of_model(model: type[Attributes]) -> Schema:
    fields = {
        name: {"type": "model-field", "schema": _of_field(info)}
        for name, info in model.model_fields.items()
    }
    return {
        "type": "model",
        "cls": model,
        "schema": {"type": "model-fields", "fields": fields, "model_name": model.__name__},
        "config": {"title": model.__name__, "extra_fields_behavior": "allow"},
    }


def _of_field(info: FieldInfo) -> Schema:
    schema = _limited(_hung(_of_type(info.annotation), info.metadata), info.limits)
    if info.default_factory is not None:
        return {"type": "default", "schema": schema, "default_factory": info.default_factory}
    return schema if info.is_required else _default(schema, info.default)


def _default(schema: Schema, value: Any) -> Schema:
    return {"type": "default", "schema": schema, "default": value}


def _of_type(annotation: Any) -> Schema:
    if plain := _PLAIN.get(annotation):
        return {"type": plain}
    if isinstance(annotation, type) and issubclass(annotation, Attributes):
        return _of_model(annotation)  # type: ignore[arg-type]  # classes can be hashed
    if metadata := getattr(annotation, "__metadata__", None):
        return _hung(_of_type(annotation.__origin__), metadata)
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is list:
            return {"type": "list", "items_schema": _of_type(arguments[0])}
        case origin if origin is dict:
            keys, values = map(_of_type, arguments)
            return {"type": "dict", "keys_schema": keys, "values_schema": values}
        case origin if origin is Literal:
            return {"type": "literal", "expected": list(arguments)}
        case origin if origin in (Union, UnionType) and arguments[1:] == (NoneType,):
            return {"type": "nullable", "schema": _of_type(arguments[0])}
    raise TypeError(f"the fields of models are not of type {annotation}")


def _hung(schema: Schema, metadata: tuple[Any, ...]) -> Schema:
    """The schema with what hangs on its type, from the inside to the outside."""
    for each in metadata:
        match each:
            case BeforeValidator(func=func):
                schema = _with_function("function-before", func, schema)
            case AfterValidator(func=func):
                schema = _with_function("function-after", func, schema)
            case FieldInfo(limits=limits):
                schema = _limited(schema, limits)
    return schema


def _with_function(kind: str, function: Any, schema: Schema) -> Schema:
    return {
        "type": kind,
        "function": {"type": "no-info", "function": function},
        "schema": schema,
    }


def _limited(schema: Schema, limits: dict[str, Any]) -> Schema:
    """Limits are those of what the functions before them give: of the value itself."""
    if not limits:
        return schema
    match schema["type"]:
        case "str" | "int":
            return {**schema, **limits}
        case "nullable" | "function-before":
            return {**schema, "schema": _limited(schema["schema"], limits)}
        case "function-after":
            return {"type": "chain", "steps": [schema, _limited(_innermost(schema), limits)]}
        case other:
            raise TypeError(f"a {other} has no limits ({', '.join(limits)})")


def _innermost(schema: Schema) -> Schema:
    while "schema" in schema:
        schema = schema["schema"]
    return {"type": schema["type"]}
