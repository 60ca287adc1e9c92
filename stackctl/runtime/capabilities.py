"""Linux capabilities: names, numbers, and the set a container gets.

Names are as Docker and compose write them: upper case, without "CAP_"; either
form and any case is read. Refuses to invent: an unknown name is a UsageError
that lists what is close.

Sources: capabilities(7), include/uapi/linux/capability.h; the default set is
the one Docker documents for `docker run`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol

from stackctl.errors import UsageError
from stackctl.model.rights import NAMES

NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}

ALL: frozenset[str] = frozenset(NAMES)

_USUAL = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
    NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""

#: What a container has when nobody asks for anything else.
DEFAULT: frozenset[str] = frozenset(_USUAL.split())


class Rights(Protocol):
    """The part of model.Security that decides about capabilities."""

    @property
    def privileged(self) -> bool: ...
    @property
    def cap_add(self) -> tuple[str, ...]: ...
    @property
    def cap_drop(self) -> tuple[str, ...]: ...


def normal(name: str) -> str:
    """ "cap_net_admin", "NET_ADMIN" -> "NET_ADMIN"; "ALL" stays. Raises UsageError."""
    plain = name.strip().upper().removeprefix("CAP_")
    if plain == "ALL" or plain in NUMBERS:
        return plain
    close = difflib.get_close_matches(plain, NAMES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "capabilities(7) lists them"
    raise UsageError(f"there is no capability called {name!r}", hint=hint)


def effective(security: Rights) -> frozenset[str]:
    """The capabilities of a container's first process (root), names without "CAP_".

    As Docker resolves them: `cap_add: ALL` starts from everything, `cap_drop:
    ALL` from nothing, then the single names of cap_drop go and those of cap_add
    come. Raises UsageError for an unknown name.
    """
    add = {normal(name) for name in security.cap_add}
    drop = {normal(name) for name in security.cap_drop}
    if security.privileged:
        return ALL
    if "ALL" in add:
        return ALL - drop if "ALL" not in drop else ALL
    base: frozenset[str] = frozenset() if "ALL" in drop else DEFAULT
    return (base - drop) | add


def mask(names: Iterable[str]) -> int:
    """Bit N is set for capability number N, as capset(2) and /proc/PID/status have it."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[normal(name)]
    return bits


def names(bits: int) -> frozenset[str]:
    """The reverse of `mask`; bits that this table does not know are ignored."""
    return frozenset(name for number, name in enumerate(NAMES) if bits >> number & 1)
