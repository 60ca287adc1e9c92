"""Counting what an engine has on the machine, before and after.

Only what carries the engine's own tag, lies in its directories or belongs to
its processes is counted: other work may go on beside the tests. Nothing here
changes anything.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from stackctl.state.paths import Paths
from support.powers import find_program
from support.waiting import WaitedInVain, wait_until

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")

#: How deep files below the engine's directories are listed; layers may hold thousands below.
FILE_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Process:
    """A live process (no zombie: pid 1 of this machine may reap late)."""

    pid: int
    command: str
    #: In a process namespace other than ours.
    contained: bool = False

    def __str__(self) -> str:
        return f"{self.pid} {self.command}"


@dataclass(frozen=True, slots=True)
class Census:
    """Everything of one engine that the kernel and the file system know, as printable texts."""

    mounts: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    nft: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()
    #: Files and directories below root and run-time directory, to a certain depth.
    files: frozenset[str] = field(default=frozenset())
    #: "table: rows" of the engine's database.
    records: frozenset[str] = field(default=frozenset())

    @property
    def kernel(self) -> Census:
        """Without what is meant to outlive an engine: its files."""
        return Census(
            mounts=self.mounts,
            links=self.links,
            nft=self.nft,
            cgroups=self.cgroups,
            namespaces=self.namespaces,
            processes=self.processes,
        )

    def counts(self) -> dict[str, int]:
        return {f.name: len(getattr(self, f.name)) for f in fields(self)}

    def __bool__(self) -> bool:
        return any(self.counts().values())


def difference(before: Census, after: Census) -> str:
    """What came and what went, a line each, by kind. "" when nothing changed."""
    lines = []
    for f in fields(Census):
        was, now = getattr(before, f.name), getattr(after, f.name)
        lines += [f"+ {f.name}: {text}" for text in sorted(now - was)]
        lines += [f"- {f.name}: {text}" for text in sorted(was - now)]
    return "\n".join(lines)


def look(paths: Paths) -> Census:
    """How things stand now for the engine with these directories."""
    live = processes(paths)
    return Census(
        mounts=frozenset(_mounts(paths)),
        links=frozenset(_links(paths.tag)),
        nft=frozenset(_nft(paths.tag)),
        cgroups=frozenset(str(p) for p in cgroups(paths.tag)),
        namespaces=frozenset(_namespaces(live)),
        processes=frozenset(map(str, live)),
        files=frozenset(_files(paths)),
        records=frozenset(f"{table}: {rows}" for table, rows in rows_of(paths).items()),
    )


def wait_for_nothing(paths: Paths, before: Census, limit: float = 10.0) -> str:
    """Waits until the kernel knows no more of the engine than `before`.

    The kernel takes namespaces, links and cgroups away a moment after their last
    process. Gives the remaining difference, "" when there is none.
    """
    try:
        wait_until(lambda: not _added(before.kernel, look(paths).kernel), limit)
    except WaitedInVain:
        return _added(before.kernel, look(paths).kernel)
    return ""


def _added(before: Census, after: Census) -> str:
    return "\n".join(line for line in difference(before, after).splitlines() if line[0] == "+")


def processes(paths: Paths) -> list[Process]:
    """The engine's processes: in its cgroups, or with its directories in argv or environment.

    This process and those it was started by are never among them.
    """
    needles = (str(paths.root).encode(), str(paths.run).encode())
    ours = set(_ancestors())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in ours:
            command = _command_if_of(entry, paths.tag, needles)
            if command:
                found.append(Process(int(entry.name), command, _is_contained(entry)))
    return sorted(found, key=lambda p: p.pid)


def descriptors(pid: int) -> int:
    """How many descriptors a process has open; 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def memory_pss(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])


def _command_if_of(entry: Path, tag: str, needles: tuple[bytes, bytes]) -> str:
    try:
        stat = (entry / "stat").read_text()
        if stat.rpartition(")")[2].split()[0] in "ZX":
            return ""
        cmdline = (entry / "cmdline").read_bytes()
        groups = (entry / "cgroup").read_text()
        environ = (entry / "environ").read_bytes()
    except OSError:
        return ""
    if not cmdline:
        return ""  # a thread of the kernel
    words = cmdline.replace(b"\0", b" ").strip().decode(errors="replace")
    mine = f"stackctl-{tag}" in groups or any(n in cmdline or n in environ for n in needles)
    return words[:400] if mine else ""


def _is_contained(entry: Path) -> bool:
    try:
        return os.readlink(entry / "ns" / "pid") != os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def _mounts(paths: Paths) -> Iterator[str]:
    """Mounts in the host's mount namespace that name the engine."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        inside = any(target.startswith(f"{d}/") for d in (paths.root, paths.run))
        if inside or paths.tag in line.rpartition(" - ")[2] or f"stackctl-{paths.tag}" in target:
            yield target


def _links(tag: str) -> Iterator[str]:
    for name in os.listdir("/sys/class/net"):
        if name.startswith((f"sc{tag}", f"v{tag}")):
            yield name


def _nft(tag: str) -> Iterator[str]:
    """Tables, chains, maps, their elements, and rules (ours, or in others' chains) by the tag."""
    nft = find_program("nft")
    if nft is None or os.geteuid() != 0:
        return
    done = subprocess.run(
        [nft, "-j", "list", "ruleset"], capture_output=True, timeout=20, check=False
    )
    if done.returncode != 0:
        return
    for item in json.loads(done.stdout).get("nftables", []):
        kind, body = next(iter(item.items()))
        if tag not in json.dumps(body):
            continue
        where = " ".join(str(body[k]) for k in ("family", "table", "name") if k in body)
        yield f"{kind} {where}" + (f" handle {body.get('handle')}" if kind == "rule" else "")
        for element in body.get("elem", []):
            yield f"element {where} {json.dumps(element)}"


def cgroups(tag: str) -> Iterator[Path]:
    """Control group directories of the engine, in every hierarchy, deepest first."""
    for top, directories, _names in os.walk("/sys/fs/cgroup", topdown=False):
        for name in directories:
            path = Path(top, name)
            if f"stackctl-{tag}" in str(path):
                yield path


@functools.cache
def _own_namespaces() -> frozenset[str]:
    return frozenset(os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES)


def _namespaces(live: list[Process]) -> Iterator[str]:
    """Namespaces that the engine's processes are in or hold by a descriptor."""
    kinds = tuple(f"{kind}:[" for kind in NAMESPACES)
    for process in live:
        for link in _namespace_links(process.pid):
            try:
                name = os.readlink(link)
            except OSError:
                continue
            if name.startswith(kinds) and name not in _own_namespaces():
                yield name


def _namespace_links(pid: int) -> Iterator[str]:
    for directory in (f"/proc/{pid}/ns", f"/proc/{pid}/fd"):
        try:
            yield from (f"{directory}/{name}" for name in os.listdir(directory))
        except OSError:
            return


def _files(paths: Paths) -> Iterator[str]:
    for label, top in (("root", paths.root), ("run", paths.run)):
        depth = len(top.parts)
        for here, directories, names in os.walk(top):
            level = len(Path(here).parts) - depth
            for name in [*directories, *names]:
                yield f"{label}/{Path(here, name).relative_to(top)}"
            if level + 1 >= FILE_DEPTH:
                directories.clear()


def rows_of(paths: Paths) -> dict[str, int]:
    """Rows by table of the engine's database, read from a copy so that nothing is locked."""
    if not paths.database.exists():
        return {}
    with tempfile.TemporaryDirectory(prefix="census-") as directory:
        copy = Path(directory, "state.db")
        for suffix in ("", "-wal"):
            source = paths.database.with_name(paths.database.name + suffix)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        try:
            connection = sqlite3.connect(copy)
            try:
                tables = [
                    str(name)
                    for (name,) in connection.execute(
                        "select name from sqlite_master where type = 'table'"
                    )
                ]
                return {
                    table: connection.execute(f'select count(*) from "{table}"').fetchone()[0]
                    for table in tables
                    if not table.startswith("sqlite_")
                }
            finally:
                connection.close()
        except sqlite3.Error:
            return {"unreadable": 1}


def namespace_objects() -> dict[str, int]:
    """How many namespaces the kernel holds in all, known to a process or not (slab counts).

    Empty where /proc/slabinfo may not be read. Counts lag: freed objects stay in
    per-CPU lists for a while, so only growth over many cycles means anything.
    """
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return {}
    kinds = ("net_namespace", "pid_namespace", "user_namespace", "uts_namespace")
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(kinds)}
