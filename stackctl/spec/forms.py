"""How attributes may be written and merged: short forms, list or map, one or many.

A `Form` is hung on a field of the model (`Annotated[..., KEYED]`); the shape of
the model carries it to where files are merged and made canonical. Canonical
means that each attribute has one way to be written, so that validation and all
later steps know only that one. Sources: Compose Specification, merge rules of
compose-go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as Values
from functools import partial
from typing import Any

from stackctl.spec import ports, volumes, words
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import (
    Mapping,
    Mark,
    Node,
    Scalar,
    Sequence,
    as_text,
    kind,
    place,
    plain,
)
from stackctl.values import dataclass

# Only these make splitting more than looking for blanks.
_QUOTING = re.compile(r"['\"\\`(;&|<>]")
_BLANKS = re.compile("[ \t\r\n]+")
# MAX_ARG_STRLEN of execve(2); splitting takes time for each character.
_LONGEST_COMMAND = 128 * 1024

Canonical = Callable[[Node, Mistakes], Node]


def unchanged(node: Node, mistakes: Mistakes) -> Node:
    return node


def _no_key(node: Node) -> str | None:
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """Rules of one attribute. Two forms with the same rules are two: told apart by identity.

    `canonical` brings any accepted way of writing into the one that is merged
    and validated. `replace`: a later file's value takes the whole place.
    `key`: list items with equal keys are one item, the last one; None never
    equals. `merges`: whether two mappings merge; when not, the later one takes
    the whole place.
    """

    name: str
    canonical: Canonical = unchanged
    replace: bool = False
    key: Callable[[Node], str | None] = _no_key
    merges: Callable[[Mapping, Mapping], bool] = lambda base, over: True


PLAIN = Form("plain")


def acts(form: Form) -> bool:
    """Whether it changes how something is written, or makes items of a list one."""
    return form.canonical is not unchanged or form.key is not _no_key


def text(node: Node | None) -> str:
    return as_text(node.value) if isinstance(node, Scalar) else ""


def _itself(node: Node) -> str | None:
    return text(node) if isinstance(node, Scalar) else None


def _mapping(values: Values[str, Any], mark: Mark) -> Mapping:
    """Plain values as a tree in which everything stands at `mark`."""
    entries: dict[str, Node] = {
        key: _mapping(value, mark) if isinstance(value, dict) else Scalar(value, mark)
        for key, value in values.items()
    }
    return Mapping(entries, dict.fromkeys(values, mark), mark, tagged=False)


def _keyed(node: Node, mistakes: Mistakes) -> Node:
    """List of K=V, or a mapping -> a mapping of text; a key without value is null."""
    if isinstance(node, Mapping):
        changed: dict[str, Node] = {}
        for key, value in node.entries.items():
            if not key:
                mistakes.add("a name is empty", node.key_marks[key])
            elif isinstance(value, Scalar) and not isinstance(value.value, str | None):
                changed[key] = Scalar(as_text(value.value), value.mark, tag=value.tag)
        if not changed and "" not in node.entries:
            return node
        return node.with_entries({k: v for k, v in {**node.entries, **changed}.items() if k})
    if not isinstance(node, Sequence):
        return node
    entries: dict[str, Node] = {}
    marks: dict[str, Mark] = {}
    for item in node.items:
        if not isinstance(item, Scalar) or item.value is None:
            mistakes.add(
                f"an item is {kind(item)}",
                item.mark,
                hint="items of a list are KEY=VALUE; without dashes it is KEY: VALUE",
            )
            continue
        key, equals, value_text = as_text(item.value).partition("=")
        if not key:
            mistakes.add("an item has no name before its =", item.mark)
            continue
        # The last one wins, in the first one's position.
        value = Scalar(value_text if equals else None, item.mark)
        if key in entries:
            _tell_replaced(key, entries[key], value, mistakes)
        entries[key] = value
        marks[key] = item.mark
    return Mapping(entries, marks, node.mark, tag=node.tag)


def _named(defaults: dict[str, Any] | None) -> Canonical:
    """List of names -> a mapping from each name to `defaults` (None: to nothing)."""

    def canonical(node: Node, mistakes: Mistakes) -> Node:
        if not isinstance(node, Sequence):
            return node
        entries: dict[str, Node] = {}
        marks: dict[str, Mark] = {}
        for item in node.items:
            if not isinstance(item, Scalar) or item.value is None:
                mistakes.add(f"an item is {kind(item)}, a name is expected", item.mark)
                continue
            name, mark = as_text(item.value), item.mark
            entries[name] = Scalar(None, mark) if defaults is None else _mapping(defaults, mark)
            marks[name] = mark
        return Mapping(entries, marks, node.mark, tag=node.tag)

    return canonical


def _texts(node: Node, mistakes: Mistakes) -> Node:
    """One text or a list of them -> a list."""
    if isinstance(node, Scalar) and node.value is not None:
        return Sequence([Scalar(node.value, node.mark)], node.mark, tag=node.tag)
    return node


def _texts_said(node: Node, mistakes: Mistakes) -> Node:
    """The same without texts that are empty."""
    listed = _texts(node, mistakes)
    if not isinstance(listed, Sequence):
        return listed
    items = [i for i in listed.items if not (isinstance(i, Scalar) and i.value == "")]
    return listed if len(items) == len(listed.items) else listed.with_items(items)


def _numbers_as_texts(node: Node, mistakes: Mistakes) -> Node:
    """A list whose numbers (ports of `expose`) count as text."""
    if not isinstance(node, Sequence):
        return node
    items: list[Node] = []
    for item in node.items:
        is_number = isinstance(item, Scalar) and type(item.value) is int
        items.append(Scalar(text(item), item.mark) if is_number else item)
    return Sequence(items, node.mark, tag=node.tag)


def _command(node: Node, mistakes: Mistakes) -> Node:
    """A text is split into words; nothing stays nothing."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return node
    if len(node.value) > _LONGEST_COMMAND:
        mistakes.add("the command is too long for the kernel", node.mark)
        return Sequence([], node.mark, tag=node.tag)
    try:
        if _QUOTING.search(node.value):
            found, rest = words.split(node.value)
        else:
            found, rest = [word for word in _BLANKS.split(node.value) if word], ""
    except ValueError as error:
        mistakes.add(
            f"the command cannot be split into words: {error}",
            node.mark,
            hint="close the quote, or write the command as a list",
        )
        found, rest = [], ""
    if rest:
        operator = re.split(r"[^;&|<>0-9]", rest)[0]
        mistakes.warn(
            f'the command ends before "{operator}", which is for a shell',
            node.mark,
            hint='["sh", "-c", "..."] runs the whole of it',
        )
    return Sequence([Scalar(word, node.mark) for word in found], node.mark, tag=node.tag)


def _health_test(node: Node, mistakes: Mistakes) -> Node:
    """A text is run by the image's shell."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        test = ["CMD-SHELL", node.value]
        return Sequence([Scalar(word, node.mark) for word in test], node.mark, tag=node.tag)
    return node


def _ports(node: Node, mistakes: Mistakes) -> Node:
    if not isinstance(node, Sequence):
        return node
    items: list[Node] = []
    for item in node.items:
        if not isinstance(item, Scalar) or isinstance(item.value, bool | float | None):
            items.append(_port_mapping(item) if isinstance(item, Mapping) else item)
            continue
        try:
            found = ports.parse(as_text(item.value), partial(_spend, mistakes, item.mark))
        except ValueError as error:
            mistakes.add(str(error), item.mark, hint='a port is written like "8080:80"')
            continue
        for port in found:
            values: dict[str, Any] = {"mode": "ingress", "target": port.target}
            if port.published:
                values["published"] = port.published
            if port.host_ip:
                values["host_ip"] = port.host_ip
            values["protocol"] = port.protocol
            items.append(_mapping(values, item.mark))
    return Sequence(items, node.mark, tag=node.tag)


def _spend(mistakes: Mistakes, mark: Mark, count: int) -> None:
    # Each port becomes a mapping of five values.
    mistakes.spend(mark, values=5 * count)


def _port_mapping(node: Mapping) -> Mapping:
    """`published` may be a number: it is text, as ranges are."""
    published = node.get("published")
    if isinstance(published, Scalar) and type(published.value) is int:
        text_of_it = Scalar(str(published.value), published.mark)
        return node.updated({"published": text_of_it})
    return node


def _port_key(node: Node) -> str | None:
    if not isinstance(node, Mapping):
        return _itself(node)
    host_ip = text(node.get("host_ip")) or "0.0.0.0"
    protocol = text(node.get("protocol")) or "tcp"
    return f"{host_ip}:{text(node.get('published'))}:{text(node.get('target'))}/{protocol}"


def _mounts(node: Node, mistakes: Mistakes) -> Node:
    if not isinstance(node, Sequence):
        return node
    items: list[Node] = []
    for item in node.items:
        if not isinstance(item, Scalar) or not isinstance(item.value, str):
            items.append(item)
            continue
        try:
            mount = volumes.parse(item.value, partial(_no_effect, mistakes, item.mark))
            items.append(_mapping(mount, item.mark))
        except ValueError as error:
            mistakes.add(str(error), item.mark, hint='a mount is written like "data:/data:ro"')
    return Sequence(items, node.mark, tag=node.tag)


def _no_effect(mistakes: Mistakes, mark: Mark, reason: str) -> None:
    mistakes.warn(f"{reason}: it has no effect", mark)


def _mount_key(node: Node) -> str | None:
    target = node.get("target") if isinstance(node, Mapping) else None
    return text(target).rstrip("/") or None


def _tmpfs_key(node: Node) -> str | None:
    return text(node).split(":")[0] or None


def _env_files(node: Node, mistakes: Mistakes) -> Node:
    listed = _texts(node, mistakes)
    if not isinstance(listed, Sequence):
        return listed
    items: list[Node] = []
    for item in listed.items:
        if isinstance(item, Scalar) and isinstance(item.value, str):
            items.append(_mapping({"path": item.value, "required": True}, item.mark))
        else:
            items.append(item)
    return Sequence(items, listed.mark, tag=listed.tag)


def _path_key(node: Node) -> str | None:
    return text(node.get("path")) or None if isinstance(node, Mapping) else None


def _resource(node: Node, mistakes: Mistakes) -> Node:
    """A top-level network or volume; the old `external: {name: x}` becomes two keys."""
    external = node.get("external") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(external, Mapping):
        return node
    entries = dict(node.entries)
    marks = dict(node.key_marks)
    entries["external"] = Scalar(True, marks["external"])
    for key, value in external.entries.items():
        if key != "name":
            mistakes.add(f'unknown key "{key}" in external', external.key_marks[key])
        elif "name" not in entries:
            entries["name"], marks["name"] = value, external.key_marks[key]
    return Mapping(entries, marks, node.mark, tag=node.tag)


def _subnet_key(node: Node) -> str | None:
    return text(node.get("subnet")) or None if isinstance(node, Mapping) else None


def _octal_mode(node: Node, mistakes: Mistakes) -> Node:
    """A file mode as text is octal whatever its prefix."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        try:
            return Scalar(int(node.value.removeprefix("0o"), 8), node.mark)
        except ValueError:
            mistakes.add(f'"{node.value[:40]}" is not an octal file mode', node.mark)
            return Scalar(None, node.mark)
    return node


def _in_mapping(key: str) -> Canonical:
    """A text -> a mapping in which it is the value of `key`."""

    def canonical(node: Node, mistakes: Mistakes) -> Node:
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            return node
        return _mapping({key: node.value}, node.mark)

    return canonical


def _items(convert: Canonical) -> Canonical:
    """A list each of whose items is brought to its one form; a single text is a list of it."""

    def canonical(node: Node, mistakes: Mistakes) -> Node:
        if not isinstance(node, Sequence):
            return node
        items = [convert(item, mistakes) for item in node.items]
        return Sequence(items, node.mark, tag=node.tag)

    return canonical


def _file_key(node: Node) -> str | None:
    """Secrets and configs are one when they appear in one place."""
    if not isinstance(node, Mapping):
        return None
    return text(node.get("target")) or text(node.get("source")) or None


def _extra_hosts(node: Node, mistakes: Mistakes) -> Node:
    """A mapping of names to one address or several, or a list -> a list of NAME=ADDRESS."""
    items: list[Node] = []
    if isinstance(node, Mapping):
        for name, value in node.entries.items():
            listed = value.items if isinstance(value, Sequence) else [value]
            items.extend(Scalar(f"{name}={text(address)}", address.mark) for address in listed)
    elif isinstance(node, Sequence):
        for item in node.items:
            if isinstance(item, Scalar) and isinstance(item.value, str) and "=" not in item.value:
                name, colon, address = item.value.partition(":")
                if not colon:
                    mistakes.add(f'"{name}" names no address', item.mark, hint="NAME=ADDRESS")
                    continue
                items.append(Scalar(f"{name}={address}", item.mark))
            else:
                items.append(item)
    else:
        return node
    return Sequence(items, node.mark, tag=node.tag)


def _device(node: Node, mistakes: Mistakes) -> Node:
    """SOURCE[:TARGET][:PERMISSIONS] -> its long form."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return node
    parts = node.value.split(":")
    if len(parts) > 3 or "" in parts:
        mistakes.add(
            f'"{node.value[:60]}" is not a device', node.mark, hint="write /dev/SOURCE:/dev/TARGET"
        )
        parts = parts[:1]
    found: dict[str, Any] = {"source": parts[0], "target": parts[0], "permissions": "rwm"}
    match parts[1:]:
        case [target, permissions]:
            found.update(target=target, permissions=permissions)
        case [only] if only.startswith("/"):
            found["target"] = only
        case [only]:
            found["permissions"] = only
    return _mapping(found, node.mark)


def _device_key(node: Node) -> str | None:
    return text(node.get("target")) or None if isinstance(node, Mapping) else None


def _gpus(node: Node, mistakes: Mistakes) -> Node:
    if isinstance(node, Scalar) and node.value == "all":
        return Sequence([_mapping({"count": -1}, node.mark)], node.mark)
    return node


def _same_driver(base: Mapping, over: Mapping) -> bool:
    """Options of two logging drivers do not mix; one that names none goes with any."""
    one, other = text(base.get("driver")), text(over.get("driver"))
    return not one or not other or one == other


def _includes(node: Node, mistakes: Mistakes) -> Node:
    if not isinstance(node, Sequence):
        return node
    return _items(_in_mapping("path"))(node, mistakes)


KEYED = Form("keyed", canonical=_keyed)
DEPENDENCIES = Form(
    "dependencies", canonical=_named({"condition": "service_started", "required": True})
)
NAMES = Form("names", canonical=_named(None))
COMMAND = Form("command", canonical=_command, replace=True)
HEALTH_TEST = Form("health test", canonical=_health_test, replace=True)
TEXTS = Form("texts", canonical=_texts, key=_itself)
#: Without those that are empty, as compose has it: what a variable that is not set leaves.
TEXTS_SAID = Form("texts", canonical=_texts_said, key=_itself)
UNIQUE = Form("unique", key=_itself)
EXPOSED = Form("exposed", canonical=_numbers_as_texts, key=_itself)
PORTS = Form("ports", canonical=_ports, key=_port_key)
MOUNTS = Form("mounts", canonical=_mounts, key=_mount_key)
TMPFS = Form("tmpfs", canonical=_texts, key=_tmpfs_key)
ENV_FILES = Form("environment files", canonical=_env_files, key=_path_key)
RESOURCE = Form("resource", canonical=_resource)
POOLS = Form("pools", key=_subnet_key)
OCTAL = Form("octal", canonical=_octal_mode)
HOST_PATH = Form("host path")
#: A path only where the mount beside it is a bind.
MOUNT_SOURCE = Form("mount source")
#: Build contexts by name: those that look like paths are.
CONTEXTS = Form("keyed", canonical=_keyed)
#: Options of a volume, whose `device` is a path.
VOLUME_OPTIONS = Form("keyed", canonical=_keyed)
EXTRA_HOSTS = Form("extra hosts", canonical=_extra_hosts, key=_itself)
FILES = Form("files", canonical=_items(_in_mapping("source")), key=_file_key)
ULIMIT = Form("ulimit", replace=True)
DEVICES = Form("devices", canonical=_items(_device), key=_device_key)
BY_PATH = Form("by path", key=_path_key)
GPUS = Form("gpus", canonical=_gpus)
GROUPS = Form("groups", canonical=_numbers_as_texts, key=_itself)
BUILD = Form("build", canonical=_in_mapping("context"))
EXTENDS = Form("extends", canonical=_in_mapping("service"), replace=True)
INCLUDES = Form("includes", canonical=_includes)
LOGGING = Form("logging", merges=_same_driver)


def unique(node: Node, form: Form, mistakes: Mistakes | None = None) -> Node:
    """A list in which later items replace earlier ones of the same key, in place.

    `mistakes` is warned of those that say something else: within one file
    nobody means that.
    """
    if not isinstance(node, Sequence) or form.key is _no_key or len(node.items) < 2:
        return node
    kept: list[Node] = []
    positions: dict[str, int] = {}
    for item in node.items:
        key = form.key(item)
        if key is not None and key in positions:
            if mistakes is not None:
                _tell_replaced(key, kept[positions[key]], item, mistakes)
            kept[positions[key]] = item
            continue
        if key is not None:
            positions[key] = len(kept)
        kept.append(item)
    return node if len(kept) == len(node.items) else Sequence(kept, node.mark, tag=node.tag)


def _tell_replaced(key: str, earlier: Node, later: Node, mistakes: Mistakes) -> None:
    """As compose does it the last one counts; it does not say so."""
    if plain(earlier) != plain(later):
        mistakes.warn(
            f'"{key}" is there twice: this one counts, not the one at {place(earlier.mark)}',
            later.mark,
        )
