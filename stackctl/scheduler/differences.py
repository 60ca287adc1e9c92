"""What has changed between two things that a container was, or is to be, made of. Pure.

Named as the stack file names it: `environment.A: "1" -> "2"`. Values that look like secrets,
and the contents of secrets and configs, are never part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stackctl.spec import usual
from stackctl.values import dataclass

#: Names of what nobody wants to read in the log of a CI run.
_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|key|credential|auth|private|salt|jwt|hmac|webhook|(^|[_.-])pw([_.-]|$)",
    re.I,
)
#: Text that says a secret, wherever it stands. Lists come as JSON: a word may end with `",`.
#: What repeats has a limit: a stack file's text may be long, and made to be slow to search.
_SECRET_TEXT = re.compile(
    "|".join(
        (
            # Addresses with a password, or with a token in place of a user.
            r"://[^/@\s:]{0,99}:[^/@\s]{1,99}@|://[^/@\s:]{20,}@",
            # password=x, "--token", "x", and with a blank: --password x
            r"(?:pass|pwd|secret|token|api.?key|credential|authorization)[\w-]{0,60}\"?\s*[=:,]",
            r"pw\"?\s*[=:,]|-[\w-]{0,60}(?:pass|pwd|secret|token|api.?key)[\w-]{0,60}\s",
            r"\bbearer\s+[\w.+/-]{6}",
            # Options of one letter, of programs that are known to take a password so.
            r"\b(?:mysql|mariadb)[\w-]{0,20}\b.{0,300}[\s\"](?-i:-p)[^\s\"]",
            r"\bsshpass\b.{0,300}[\s\"](?-i:-p)|\bredis-cli\b.{0,300}[\s\"](?-i:-a)",
            r"\bcurl\b.{0,300}[\s\"](?-i:-u)|\bldap[a-z]{1,20}\b.{0,300}[\s\"](?-i:-w)",
            # What htpasswd and crypt write; keys as PEM.
            r"\$(?:apr1|2[abxy]\$\d\d)\$|\$[156y]\$[^\s$]{1,40}\$[\w./$]{20}",
            r"-BEGIN [A-Z ]{0,20}PRIVATE KEY-",
        )
    ),
    re.I,
)
#: Items of a list that have one of these are the same item with another value.
_IDENTITIES = ("target", "source", "path", "name", "device", "id")
#: Lists that are one value: their order counts.
_WHOLE = ("command", "entrypoint", "test")
_SIZES = re.compile(r"(^|[._])(mem_\w+|memswap_limit|shm_size|memory|size)$")
#: Attributes whose parts bear names that the user has chosen.
_NAMED = (
    *("environment", "labels", "annotations", "logging", "post_start", "pre_stop", "pre_start"),
    *("provider", "driver_opts"),
)
#: So much of a value is printed.
_WIDTH = 48
#: So many changes are in a cause; a plan lists the others below it.
MOST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One attribute. `before` or `after` is None where it is not there; with `hidden` both are."""

    attribute: str
    #: "changed", "added", "removed".
    how: str = "changed"
    before: Any = None
    after: Any = None
    hidden: bool = False

    def __str__(self) -> str:
        if self.hidden:
            return f"{self.attribute} {self.how}"
        if self.how == "changed":
            return f"{self.attribute}: {self._shown(self.before)} -> {self._shown(self.after)}"
        value = self.after if self.how == "added" else self.before
        return f"{self.attribute} {self.how}: {self._shown(value)}"

    def to_json(self) -> dict[str, Any]:
        found = {"attribute": self.attribute, "how": self.how, "text": str(self)}
        if self.hidden:
            return {**found, "hidden": True}
        return {**found, "before": self.before, "after": self.after}

    def _shown(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and value.isdigit() and _SIZES.search(self.attribute):
            text = _size(int(value))
        return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def changes(old: str, new: str) -> tuple[Change, ...] | None:
    """Of one `made_of` to another, in the order of their names; None when one is not known."""
    if not old or not new:
        return None
    before, after = json.loads(old), json.loads(new)
    services = (usual.service(each["service"]) for each in (before, after))
    found = list(_compared("", *services))
    touched = {re.split(r"[.\[ ]", change.attribute)[0] for change in found}
    for section in ("networks", "volumes"):
        names, later = before[section], after[section]
        found += [
            Change(attribute=f"{section}.{key}.name", before=names[key], after=later[key])
            for key in sorted(names.keys() & later.keys())
            if names[key] != later[key]
        ]
    # What was made by an older engine does not say where it is from.
    sources = after.get("sources", {})
    for change in _compared("", before.get("sources", sources), sources):
        if change.how == "changed" or change.attribute.partition(".")[0] not in touched:
            found.append(change)
    for key, how in _keys(before.get("contents", {}), after.get("contents", {})):
        # A secret that a service has no more needs no second word.
        if how == "changed" or key.partition(".")[0] not in touched:
            found.append(Change(attribute=f"the content of {key}", how=how, hidden=True))
    return tuple(found)


def of_resource(old: str, new: str) -> tuple[Change, ...] | None:
    """The same for the `made_of` of networks and volumes, which is their attributes alone."""
    if not old or not new:
        return None
    return tuple(_compared("", *(usual.resource(json.loads(each)) for each in (old, new))))


def cause(found: Sequence[Change] | None) -> str:
    """Why something is made anew; "" when nothing has changed."""
    if found is None:
        return "configuration changed"
    return f"configuration changed: {sentence(found)}" if found else ""


def sentence(found: Sequence[Change]) -> str:
    """The first ones, and how many more there are."""
    told = "; ".join(str(change) for change in found[:MOST])
    more = len(found) - MOST
    return f"{told}; and {more} more" if more > 0 else told


def _compared(path: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key, how in _keys(old, new):
            below = f"{path}.{key}" if path else key
            was, is_now = old.get(key), new.get(key)
            whole = was if how == "removed" else is_now
            if how == "changed":
                yield from _compared(below, was, is_now)
            elif whole and isinstance(whole, dict):
                # Each by its name: which of them are secrets shows there.
                yield from _compared(below, was or {}, is_now or {})
            else:
                yield _change(below, how, was, is_now)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(path, old, new)
    else:
        yield _change(path, "changed", old, new)


def _lists(path: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    ours, theirs = _by_identity(old), _by_identity(new)
    if ours is not None and theirs is not None:
        for key, how in _keys(ours, theirs):
            below = f"{path}[{key}]"
            if how == "changed":
                yield from _compared(below, ours[key], theirs[key])
            else:
                yield _change(below, how, ours.get(key), theirs.get(key))
        return
    if len(old) == len(new) == 1 and isinstance(old[0], dict) and isinstance(new[0], dict):
        yield from _compared(f"{path}[0]", old[0], new[0])
        return
    gone = [item for item in old if item not in new]
    come = [item for item in new if item not in old]
    if path.rpartition(".")[2] in _WHOLE or not (gone or come):
        yield _change(path, "changed", old, new)
        return
    for item in gone:
        yield _change(path, "removed", item, None)
    for item in come:
        yield _change(path, "added", None, item)


def _by_identity(items: list[Any]) -> dict[str, Any] | None:
    """Items by what tells them apart; None when they have no such thing."""
    if not all(isinstance(item, dict) for item in items):
        return None
    for key in _IDENTITIES:
        found = {str(item[key]): item for item in items if key in item}
        if len(found) == len(items):
            return found
    return None


def _keys(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys that differ, in order, and how."""
    for key in sorted(old.keys() | new.keys()):
        if key not in new:
            yield key, "removed"
        elif key not in old:
            yield key, "added"
        elif old[key] != new[key]:
            yield key, "changed"


def _change(path: str, how: str, old: Any, new: Any) -> Change:
    if _is_secret(path, (old, new)):
        return Change(attribute=path, how=how, hidden=True)
    return Change(attribute=path, how=how, before=old, after=new)


def _is_secret(path: str, values: Iterable[Any]) -> bool:
    head, _, name = path.partition(".")
    if name and head in _NAMED and _SECRET_NAME.search(name):
        return True
    return any(_SECRET_TEXT.search(json.dumps(value, ensure_ascii=False)) for value in values)


def _size(value: int) -> str:
    """As a stack file says it."""
    for unit, power in (("g", 30), ("m", 20), ("k", 10)):
        if value and value % (1 << power) == 0:
            return f"{value >> power}{unit}"
    return f"{value}b"
