"""A canonical tree -> the models, or every mistake in it with its place.

Unknown keys are found here, on the tree (a typo gets the nearest key, an
attribute of the specification that is not done yet says so); types are
pydantic's work, whose error paths are mapped back to marks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stackctl.spec.attributes import Approximated, NoEffect, Refused, Support
from stackctl.spec.core import ValidationError
from stackctl.spec.mistakes import Mistakes, did_you_mean
from stackctl.spec.model import Service, StackFile
from stackctl.spec.nodes import (
    Mapping,
    Mark,
    Node,
    Path,
    Scalar,
    Sequence,
    kind,
    mark_at,
    plain,
)
from stackctl.spec.shape import LEAF, Shape, stack_shape

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NAME = re.compile(r"[a-zA-Z0-9._-]+\Z")
# A mistake may hide another one in the same place; more passes than this are not worth it.
_MAX_PASSES = 5


def validate(root: Node, mistakes: Mistakes) -> tuple[StackFile, Mapping] | None:
    """The models, and the tree they came from.

    What is wrong is added to `mistakes` and left out, so that later checks can
    look at the rest; None when nothing sensible remains. Attributes that the engine
    cannot carry out stay: they are told where containers are wanted (mistakes.refusals).
    """
    if not isinstance(root, Mapping):
        mistakes.add(
            f"a stack file is a mapping, this is {kind(root)}",
            root.mark,
            hint='it starts with "services:"',
        )
        return None
    known, values = _known(root, stack_shape(), "", mistakes)
    gone: set[Path] = set()
    for _ in range(_MAX_PASSES):
        assert isinstance(known, Mapping)
        try:
            return StackFile.model_validate(values), known
        except ValidationError as found:
            wrong = [
                # What was wrong, and is left out for that, is not missing as well.
                error["loc"][:-1]
                if error["type"] == "missing" and error["loc"] in gone
                else _explain(error, known, mistakes)
                for error in found.errors(include_url=False)
            ]
            gone.update(wrong)
            # Backwards: items that go do not move those that are still to go.
            for path in sorted({_removable(path) for path in wrong}, key=_last_first):
                known = _without(known, path)
            values = plain(known)
    return None


def check_keys(root: Node, mistakes: Mistakes) -> None:
    """Adds the keys that no model has."""
    _known(root, stack_shape(), "", mistakes)


def prepare() -> None:
    """Makes what `validate` needs, once."""
    stack_shape()
    StackFile.model_validate({})


def _removable(path: Path) -> Path:
    """A list's item goes as a whole: what is left of it would only seem incomplete."""
    for i, step in enumerate(path):
        if isinstance(step, int):
            return path[: i + 1]
    return path


def _last_first(path: Path) -> tuple[int, ...]:
    return tuple(-step for step in path if isinstance(step, int))


def _without(node: Node, path: Path) -> Node:
    """The tree without what stands at `path`."""
    if not path:
        return node
    step, *rest = path
    match node:
        case Mapping() if isinstance(step, str) and step in node.entries:
            entries = dict(node.entries)
            if rest:
                entries[step] = _without(entries[step], tuple(rest))
            else:
                del entries[step]
            return node.with_entries(entries)
        case Sequence() if isinstance(step, int) and step < len(node.items):
            items = list(node.items)
            if rest:
                items[step] = _without(items[step], tuple(rest))
            else:
                del items[step]
            return Sequence(items, node.mark)
        case _:
            return node


def _known(node: Node, shape: Shape, path: str, mistakes: Mistakes) -> tuple[Node, Any]:
    """The tree without keys that no model has, each of which is a mistake, and its plain values.

    What loses nothing stays the same node.
    """
    if shape is LEAF or isinstance(node, Scalar):
        return node, plain(node)
    if isinstance(node, Sequence):
        if shape.items is None or shape.items is LEAF:
            return node, plain(node)
        found = [_known(item, shape.items, f"{path}[]", mistakes) for item in node.items]
        values = [value for _, value in found]
        if all(kept is item for (kept, _), item in zip(found, node.items, strict=True)):
            return node, values
        return node.with_items([kept for kept, _ in found]), values
    if shape.fields is not None:
        return _known_fields(node, shape.fields, path, mistakes)
    if shape.values is None or shape.values is LEAF:
        return node, plain(node)
    return _known_values(node, shape.values, path, mistakes)


def _known_values(
    node: Mapping, shape: Shape, path: str, mistakes: Mistakes
) -> tuple[Node, dict[str, Any]]:
    values: dict[str, Any] = {}
    changed: dict[str, Node] = {}
    is_section = bool(path) and "." not in path
    for key, inner in node.entries.items():
        if is_section:
            mistakes.holder = (path, key)
        if shape.fields is not None and not _NAME.match(key):
            _not_a_name(key, node.key_marks[key], path, mistakes)
        if isinstance(inner, Scalar):
            values[key] = inner.value
            continue
        kept, values[key] = _known(inner, shape, f"{path}.{key}", mistakes)
        if kept is not inner:
            changed[key] = kept
    if is_section:
        mistakes.holder = ("", "")
    return node.updated(changed), values


def _known_fields(
    node: Mapping, fields: dict[str, Shape], path: str, mistakes: Mistakes
) -> tuple[Node, dict[str, Any]]:
    values: dict[str, Any] = {}
    changed: dict[str, Node] = {}
    dropped: set[str] = set()
    for key, inner in node.entries.items():
        shape = fields.get(key)
        if shape is LEAF and isinstance(inner, Scalar) and inner.value is not None:
            values[key] = inner.value
            continue
        if shape is None:
            if key.startswith("x-"):
                values[key] = plain(inner)
            else:
                dropped.add(key)
                # Nobody means what is refused.
                meant = (k for k, s in fields.items() if not isinstance(s.support, Refused))
                hint = did_you_mean(key, sorted(meant))
                if not path and _is_service(inner):
                    hint = 'services stand below "services:"'
                where = path or "the top level"
                mistakes.add(f'unknown key "{key}" in {where}', node.key_marks[key], hint=hint)
            continue
        if isinstance(inner, Scalar) and inner.value is None:
            # `key:` with nothing after it leaves the attribute at its default.
            dropped.add(key)
            continue
        if shape.support is not None and not (isinstance(inner, Scalar) and inner.value == ""):
            _tell(shape.support, key, path, node.key_marks[key], mistakes)
        if isinstance(inner, Scalar):
            values[key] = inner.value
        else:
            below = f"{path}.{key}" if path else key
            kept, values[key] = _known(inner, shape, below, mistakes)
            if kept is not inner:
                changed[key] = kept
    if changed or dropped:
        entries = {k: v for k, v in {**node.entries, **changed}.items() if k not in dropped}
        return node.with_entries(entries), values
    return node, values


def _not_a_name(key: str, mark: Mark, path: str, mistakes: Mistakes) -> None:
    what = path.rpartition(".")[2].rstrip("s") or "key"
    mistakes.add(
        f'"{key[:60]}" is not a name for a {what}',
        mark,
        hint="letters, digits, dots, dashes and underscores make a name",
    )


def _tell(support: Support, key: str, path: str, mark: Mark, mistakes: Mistakes) -> None:
    """Why the attribute cannot be carried out, or what is different."""
    match support:
        case Refused(reason):
            where = path or "the top level"
            mistakes.refuse(mistakes.holder, f'"{key}" ({where}) is not supported: {reason}', mark)
        case Approximated(reason):
            mistakes.warn(f'"{key}" ({path or "the top level"}): {reason}', mark)
        case NoEffect(reason, is_hint=False):
            mistakes.warn_once(f'"{key}" has no effect: {reason}', mark)


def _is_service(node: Node) -> bool:
    """Whether it looks like one, as in files of the format's first version."""
    return isinstance(node, Mapping) and not node.entries.keys().isdisjoint(("image", "build"))


#: pydantic's error types in the words of the user.
_WANTED = {
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}


def _explain(error: ErrorDetails, root: Node, mistakes: Mistakes) -> Path:
    """Adds one of pydantic's errors in the user's words; gives the path of what is wrong."""
    # Keys of mappings are reported with a marker behind them; ours are always text.
    path: Path = tuple(step for step in error["loc"] if step != "[key]")
    node = _node_at(root, path)
    label = _label(path)
    context = error.get("ctx") or {}
    match error["type"]:
        case "missing":
            mistakes.add(f"{_label(path[:-1])} has no {path[-1]}", mark_at(root, path[:-1]))
            return path[:-1]
        case "literal_error":
            choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            hint = did_you_mean(str(error["input"]), choices) if node else ""
            brief = f"{label} must be {_either(choices)}"
            mistakes.add(f"{brief}, not {_shown(node)}", mark_at(root, path), hint=hint)
            return path
        case "value_error":
            brief = _sentence(label, str(context.get("error", error["msg"])))
            mistakes.add(brief, mark_at(root, path))
            return path
        case "string_pattern_mismatch":
            brief, hint = f"{label} cannot be {_shown(node)}", _pattern_hint(path)
        case "string_too_short":
            brief, hint = f"{label} is empty", ""
        case wrong if wrong in _WANTED:
            brief = f"{label} must be {_WANTED[wrong]}, not {kind(node) if node else 'this'}"
            hint = _quote_hint(node, _WANTED[wrong]) or _indent_hint(path, node)
        case _:
            message = error["msg"]
            brief, hint = f"{label}: {message[:1].lower()}{message[1:]}", ""
    mistakes.add(brief, mark_at(root, path), hint=hint)
    return path


def _sentence(label: str, message: str) -> str:
    """A validator's words after the attribute's name."""
    verbs = ("must", "is ", "needs")
    return f"{label} {message}" if message.startswith(verbs) else f"{label}: {message}"


def _label(path: Path) -> str:
    """Items without their number: it may be another one than in the file, where the mark is."""
    text = ""
    for step in path:
        text += "[]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the file"


def _node_at(root: Node, path: Path) -> Node | None:
    node: Node | None = root
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            node = node.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def _shown(node: Node | None) -> str:
    if isinstance(node, Scalar):
        value: Any = node.value
        return f'"{value[:60]}"' if isinstance(value, str) else str(value)
    return kind(node) if node else "this"


def _either(choices: list[str]) -> str:
    quoted = [f'"{choice}"' for choice in choices]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _indent_hint(path: Path, node: Node | None) -> str:
    """Of an attribute that stands where services do."""
    match path:
        case ("services", str() as key) if key in Service.model_fields:
            if not (isinstance(node, Scalar) and node.value is None):
                return f'"{key}" belongs to a service: indent it below the name of one'
        case ("services", str() as name):
            return f'what belongs to "{name}" is indented below it'
    return ""


def _quote_hint(node: Node | None, wanted: str) -> str:
    text = node.value if isinstance(node, Scalar) else None
    if wanted == "a mapping" and isinstance(text, str) and re.match(r"[\w-]+:\S", text):
        key, _, value = text.partition(":")
        return f'a colon is followed by a space: "{key}: {value[:40]}"'
    if wanted == "text" and isinstance(node, Scalar) and node.value is not None:
        shown = str(node.value).lower() if isinstance(node.value, bool) else str(node.value)
        return f'write it in quotes: "{shown}"'
    return ""


_PATTERN_HINTS = {
    "name": "lower case letters, digits, - and _, starting with a letter or digit",
    "restart": "no, always, unless-stopped, on-failure or on-failure:5",
    "container_name": "letters, digits, - _ and ., two at least, a letter or digit first",
    "hostname": "letters, digits, - and ., at most 64 characters",
    "network_mode": "none, host, bridge, service:NAME or the name of a network",
    "uid": 'a number in quotes, such as "1000"',
    "gid": 'a number in quotes, such as "1000"',
    "ipc": "private, shareable, host, none or service:NAME",
    "pid": "private, host or service:NAME",
}


def _pattern_hint(path: Path) -> str:
    return _PATTERN_HINTS.get(str(path[-1]), "") if path else ""
