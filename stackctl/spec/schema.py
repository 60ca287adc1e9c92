"""A JSON Schema of stack files for editors, written from the models (draft 2020-12).

An editor completes keys and words, shows descriptions and marks what cannot be; it is no
judge: variables may stand for any value, so every leaf may also be text, and what the loader
takes the schema takes, too.
"""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

from stackctl.spec.attributes import Approximated, NoEffect, Refused
from stackctl.spec.fields import Attributes, BeforeValidator, FieldInfo
from stackctl.spec.model import StackFile
from stackctl.spec.reference import leaf_kind
from stackctl.spec.shape import Shape, stack_shape

_TEXT: dict[str, Any] = {"type": "string"}
_LEAF: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_TEXTS: dict[str, Any] = {"type": "array", "items": _LEAF}
_KEYED: dict[str, Any] = {
    "oneOf": [{"type": "object", "additionalProperties": _LEAF}, _TEXTS],
}
_HOSTS: dict[str, Any] = {"anyOf": [_LEAF, _TEXTS]}
#: What may stand for the long form, by the name of the attribute's form.
_SHORT: dict[str, dict[str, Any]] = {
    "keyed": _KEYED,
    "names": _TEXTS,
    "dependencies": _TEXTS,
    "command": {"type": ["string", "array", "null"], "items": _TEXT},
    "health test": {"type": ["string", "array", "null"], "items": _TEXT},
    "texts": {"type": ["string", "array"]},
    "tmpfs": {"type": ["string", "array"]},
    "environment files": _TEXT,
    "build": _TEXT,
    "extends": _TEXT,
    "ulimit": {"type": ["integer", "string"]},
    "extra hosts": {"anyOf": [{"type": "object", "additionalProperties": _HOSTS}, _TEXTS]},
    "gpus": {"const": "all"},
}
#: Lists whose items have a short form: a text (or a number, for ports).
_SHORT_ITEMS = ("ports", "mounts", "environment files", "files", "devices", "includes")
_KINDS: dict[str, dict[str, Any]] = {
    "true/false": {"type": ["boolean", "string", "null"]},
    "number": {"type": ["number", "string", "null"]},
    "size": {"type": ["number", "string", "null"]},
    "duration": {"type": ["string", "null"]},
}
#: Texts of one kind that are no Literal of their model.
_WORDS: dict[str, dict[str, Any]] = {
    "pull_policy": {
        "type": ["string", "null"],
        "pattern": r"^(always|never|missing|if_not_present|build|refresh|daily|weekly)$"
        r"|^every_|\$",
        "examples": ["always", "missing", "never", "build", "daily", "weekly", "every_12h"],
    },
    # The old form: {name: NAME}.
    "external": {"type": ["boolean", "string", "object", "null"]},
}
_VARIABLE: dict[str, Any] = {"type": "string", "pattern": r"\$"}


def schema() -> dict[str, Any]:
    """The whole schema."""
    definitions: dict[str, Any] = {}
    root = _model(StackFile, stack_shape(), definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file",
        **definitions.pop(root),
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def _model(model: type[Attributes], shape: Shape, definitions: dict[str, Any]) -> str:
    """Adds the model's definition, and those below it; gives its name."""
    name = model.__name__
    if name in definitions:
        return name
    definitions[name] = {}
    required = [key for key, info in model.model_fields.items() if info.is_required]
    definitions[name] = {
        "type": "object",
        "description": (model.__doc__ or "").strip().split("\n\n")[0],
        "properties": {
            key: _attribute(model, key, (shape.fields or {})[key], definitions)
            for key in model.model_fields
        },
        **({"required": required} if required else {}),
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }
    return name


def _attribute(
    model: type[Attributes], key: str, shape: Shape, definitions: dict[str, Any]
) -> dict[str, Any]:
    info = model.model_fields[key]
    description = info.description or ""
    match shape.support:
        case Refused(reason):
            return {"description": f"{description} Not supported: {reason}.", "deprecated": True}
        case Approximated(reason) | NoEffect(reason):
            description = f"{description} ({reason})"
        case None:
            pass
    is_leaf = shape.fields is None and shape.items is None and shape.values is None
    found = _value(shape, definitions, _leaf(key, info) if is_leaf else {})
    if not is_leaf:
        # A key with nothing below it, as when all of it is a comment.
        found = {"anyOf": [*(found.get("anyOf") or [found]), {"type": "null"}]}
    return {"description": description, **found}


def _leaf(key: str, info: FieldInfo) -> dict[str, Any]:
    """Of a single value; {}: anything."""
    inner = [each for each in get_args(info.annotation) if each is not type(None)]
    kind = inner[0] if inner and get_origin(info.annotation) is not Literal else info.annotation
    if get_origin(kind) is Literal:
        words = [*get_args(kind), *((None,) if inner else ())]
        return {"anyOf": [{"enum": list(dict.fromkeys(words))}, _VARIABLE]}
    if key in _WORDS:
        return dict(_WORDS[key])
    hung = [*info.metadata, *getattr(kind, "__metadata__", ())]
    before = [each.func.__name__ for each in hung if isinstance(each, BeforeValidator)]
    if getattr(kind, "__origin__", kind) is str and not set(before) - {"_empty_is_absent"}:
        return {"type": ["string", "null"]}
    return dict(_KINDS.get(leaf_kind(info), {}))


def _value(
    shape: Shape, definitions: dict[str, Any], leaf: dict[str, Any] | None = None
) -> dict[str, Any]:
    choices: list[dict[str, Any]] = []
    short = _SHORT.get(shape.form.name)
    if shape.model is not None:
        choices.append({"$ref": f"#/$defs/{_model(shape.model, shape, definitions)}"})
    elif shape.values is not None and shape.form.name != "keyed":
        choices.append(
            {"type": "object", "additionalProperties": _or_nothing(shape.values, definitions)}
        )
    elif shape.items is not None and shape.form.name not in ("command", "texts", "health test"):
        choices.append({"type": "array", "items": _item(shape, definitions)})
    if short is not None:
        choices.append(short)
    if not choices:
        return leaf or {}
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _item(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    assert shape.items is not None
    value = _value(shape.items, definitions)
    if shape.form.name in _SHORT_ITEMS:
        return {"anyOf": [value, {"type": ["string", "number"]}]}
    return value


def _or_nothing(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    """The value of a name: a network, a volume may be defined by its key alone."""
    return {"anyOf": [_value(shape, definitions), {"type": "null"}]}
