"""Who holds a host port: read from /proc, only when somebody could not have it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from stackctl.net.keeperlink import MARK

#: The states that hold a port: TCP_LISTEN; an unconnected UDP socket is in TCP_CLOSE.
_STATES = {"tcp": ("0A",), "udp": ("07",)}


def _inodes(protocol: str, port: int) -> dict[str, str]:
    """inode -> local address (hex) of the sockets that hold a port."""
    found = {}
    for name in (protocol, f"{protocol}6"):
        try:
            with open(f"/proc/thread-self/net/{name}") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if int(number, 16) == port and fields[3] in _STATES.get(protocol, ()):
                found[fields[9]] = address
    return found


def _owners(inodes: set[str]) -> Iterator[int]:
    """The processes that have one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            for descriptor in os.listdir(f"/proc/{entry}/fd"):
                if os.readlink(f"/proc/{entry}/fd/{descriptor}") in wanted:
                    yield int(entry)
                    break
        except OSError:
            continue  # it ended meanwhile, or is not ours to look into


def holder_of(protocol: str, port: int) -> str:
    """The process that holds a port as text ("nginx (pid 123)"); "" when none is found."""
    inodes = _inodes(protocol, port)
    if not inodes:
        return ""
    for pid in _owners(set(inodes)):
        return _other_engine(pid, protocol, port) or f"{_name(pid)} (pid {pid})"
    return "a process outside of this pid namespace"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a process"


def _other_engine(pid: int, protocol: str, port: int) -> str:
    """What holds it when the process is the keeper of another engine."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if MARK.encode() not in arguments:
            return ""
        # python -I -S -c CODE PACKAGE RUN ...
        run = arguments[arguments.index(b"-c") + 3]
        table = json.loads((Path(os.fsdecode(run)) / "keeper.json").read_text())
    except (OSError, ValueError, IndexError):
        table = {}
    for held_protocol, _, number, owner in table.get("ports", ()):
        if (held_protocol, number) == (protocol, port):
            return f"container {owner[:12]} of another engine (keeper's pid {pid})"
    return f"another engine of stackctl (keeper's pid {pid})"
