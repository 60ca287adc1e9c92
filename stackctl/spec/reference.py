"""The stack file reference (docs/stack-file.md), written from the models.

`python -m stackctl.spec.reference > docs/stack-file.md` renews the page; a test
compares it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from stackctl.spec.attributes import Approximated, NoEffect, Refused
from stackctl.spec.fields import Attributes, FieldInfo
from stackctl.spec.model import StackFile
from stackctl.spec.project import FILE_NAMES
from stackctl.spec.shape import Shape, stack_shape


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_HEAD = f"""# The stack file

Written from the models by `python -m stackctl.spec.reference`; change the models, not this page.

A stack file is YAML (version 1.2: `yes` and `22:22` are text, `0o440` and `0440` are octal
numbers) in the form of the Compose Specification. stackctl looks in the current directory and then
in those above it for {_names(FILE_NAMES[:2])}, {_names(FILE_NAMES[2:4])},
{_names(FILE_NAMES[4:])}, and merges the `*.override.yaml` beside it.

- **Variables** in values: `$NAME`, `${{NAME}}`, `${{NAME:-default}}`, `${{NAME-default}}`,
  `${{NAME:?message}}`, `${{NAME?message}}`, `${{NAME:+instead}}`, `${{NAME+instead}}`; they nest,
  and a literal `$` is `$$` (one that begins no variable, as in `$(date)`, stays as it is). They
  come from the environment, then from `.env` beside the file.
- **Several files** (`-f a.yaml -f b.yaml`, or several documents in one file) merge: mappings
  merge, lists append, `command`, `entrypoint` and `healthcheck.test` are replaced; ports, mounts
  and variables with the same key are one, the last. `!reset` removes, `!override` replaces.
- **Keys that start with `x-`** are yours. Any other unknown key is an error.
- Sizes are `64m`, `1.5g` (powers of 1024); durations `300ms`, `1m30s`.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    done: set[type[Attributes]] = set()
    for title, model, shape in _models("the top level", StackFile, stack_shape()):
        if model not in done:
            done.add(model)
            parts.append("\n".join(_section(title, model, shape)))
    return "\n".join(parts)


def _models(title: str, model: type[Attributes], shape: Shape) -> Iterator[tuple[str, Any, Shape]]:
    """Models in the order in which a reader meets them, each with the path to it."""
    yield title, model, shape
    prefix = "" if model is StackFile else f"{title}."
    for name, below in (shape.fields or {}).items():
        path, target = f"{prefix}{name}", below
        if below.values is not None and below.values.model is not None:
            path, target = f"{prefix}{name}.NAME", below.values
        elif below.items is not None and below.items.model is not None:
            path, target = f"{prefix}{name}[]", below.items
        if target.model is not None:
            yield from _models(path, target.model, target)


def _section(title: str, model: type[Attributes], shape: Shape) -> Iterator[str]:
    heading = title if title == "the top level" else f"`{title}`"
    yield f"## {heading[0].upper() + heading[1:] if heading[0].isalpha() else heading}\n"
    yield f"{(model.__doc__ or '').strip()}\n"
    yield "| key | | what it says |"
    yield "|---|---|---|"
    refused: dict[str, list[str]] = {}
    for name, info in model.model_fields.items():
        below = (shape.fields or {})[name]
        written = (info.description or "").replace("|", "\\|")
        match below.support:
            case Refused(reason):
                refused.setdefault(reason, []).append(name)
                continue
            case Approximated(reason):
                written += f" *Warned about: {reason}.*"
            case NoEffect(reason, is_hint=False):
                written += f" *Warned about, once a file: {reason}.*"
            case NoEffect() | None:
                pass
        yield f"| `{name}` | {_kind(info, below)} | {written} |"
    for reason, names in refused.items():
        yield f"\nRefused with its place ({reason}): {_names(names)}."
    yield ""


def _kind(info: FieldInfo, shape: Shape) -> str:
    """One word for how the value is written."""
    by_form = {
        "keyed": "mapping or list",
        "names": "list or mapping",
        "dependencies": "list or mapping",
        "command": "text or list",
        "health test": "text or list",
        "texts": "text or list",
        "tmpfs": "text or list",
        "environment files": "text or list",
    }
    if shape.form.name in by_form:
        return by_form[shape.form.name]
    if shape.values is not None or shape.model is not None:
        return "mapping"
    if shape.items is not None:
        return "list"
    return leaf_kind(info)


def leaf_kind(info: FieldInfo) -> str:
    """One word for a single value: "true/false", "size", "text"..."""
    annotation = info.annotation
    inner = [arg for arg in get_args(annotation) if arg is not type(None)] or [annotation]
    serializers = [getattr(item, "func", None) for item in _metadata(info, inner[0])]
    named = {getattr(func, "__name__", "") for func in serializers}
    for name, word in (
        ("_flag", "true/false"),
        ("_duration", "duration"),
        ("_size", "size"),
        ("_number", "number"),
        ("_integer", "number"),
        ("_port_number", "number"),
    ):
        if name in named:
            return word
    return "text"


def _metadata(info: FieldInfo, inner: Any) -> list[Any]:
    return [*info.metadata, *getattr(inner, "__metadata__", ())]


if __name__ == "__main__":
    sys.stdout.write(markdown())
