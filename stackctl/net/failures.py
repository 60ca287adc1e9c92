"""What the kernel said, as sentences for users: the room's border for errors."""

from __future__ import annotations

import errno
import os

from stackctl.errors import Conflict, MachineError, NotPermitted, StackctlError
from stackctl.net import holder
from stackctl.net.publishing import Wish


def translated(error: OSError, what: str) -> StackctlError:
    """What the kernel said, as a sentence."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(
            f"{what}: the kernel refuses ({error})",
            hint="stackctl's daemon needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN",
        )
    if error.errno in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return MachineError(
            f"{what}: this kernel lacks a feature ({error})",
            hint="`stackctl doctor` says what the kernel is missing",
        )
    return MachineError(f"{what}: {error}")


def clash(wish: Wish, number: int, of_ours: str) -> StackctlError:
    """Why a port could not be had. `of_ours` names the holder if it is one of ours."""
    protocol, address, first, last, _ = wish
    if number in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
        return MachineError(
            f"this kernel has no {protocol.upper()}: port {first} cannot be published",
            hint=f"try `modprobe {protocol}`, or another kernel",
        )
    if number == errno.EADDRNOTAVAIL:
        return StackctlError(
            f"{address} is not an address of this machine",
            hint="publish on one of its addresses, or leave the address out",
        )
    if number in (errno.EMFILE, errno.ENFILE):
        return MachineError(
            f"host port {first}/{protocol} cannot be held: the engine holds as many as it may",
            hint="publish fewer ports, or raise the hard limit of open files (`ulimit -Hn`) "
            "before the engine starts",
        )
    if number != errno.EADDRINUSE:
        return translated(OSError(number, os.strerror(number)), f"host port {first}/{protocol}")
    if first != last:
        return Conflict(
            f"no host port in {first}-{last}/{protocol} is free",
            hint="publish a larger range, or leave the host port out",
        )
    who = of_ours or holder.holder_of(protocol, first)
    return Conflict(
        f"host port {first}/{protocol} is held by {who or 'somebody'}",
        hint="stop it, publish another host port, or leave the host port out for a free one",
    )
