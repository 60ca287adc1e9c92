"""What this machine can and cannot do for containers, and what to do about it.

`examine(paths)` gives findings in the order a person wants to read them;
`probe(name)` a single one. What can be tried is tried (trials), in a process
of its own that leaves nothing behind; the rest is read. Changes nothing.

Names: root, python, kernel, architecture; userns, mountns, pidns, netns, ipcns,
utsns, cgroupns; overlay, idmap, overlay-userns; cgroup, capabilities, seccomp;
bridge, veth, nft, ip-forward; state.
"""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from stackctl.errors import UsageError
from stackctl.state.paths import Paths
from stackctl.values import dataclass

_SOURCE = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.insert(0, {source!r}); from stackctl.runtime.trials import main; main()"
)

#: Id-mapped overlay layers.
_KERNEL = (5, 19)
_PYTHON = (3, 11)

#: Below these the state directory is reported as short.
_FREE_BYTES = 1 << 30
_FREE_INODES = 20_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is "ok", "warn" (works with less) or "bad" (stacks will not run)."""

    name: str
    state: str
    fact: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        return self.state == "ok"

    def __str__(self) -> str:
        return f"{self.fact}; {self.advice}" if self.advice else self.fact


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a failing trial means."""

    state: str
    advice: str


_MODULE = "the kernel lacks it or its module: try `modprobe {0}`, or another kernel"

_TRIALS: dict[str, _Trial] = {
    "userns": _Trial(
        "bad", "set user.max_user_namespaces above 0 (sysctl), or use `userns_mode: host`"
    ),
    **{
        name: _Trial("bad", "inside another container? It has to be allowed to make namespaces")
        for name in ("mountns", "pidns", "netns", "ipcns", "utsns", "cgroupns")
    },
    "overlay": _Trial(
        "bad", "put STACKCTL_ROOT on ext4, xfs, btrfs or tmpfs: overlay cannot stack on overlay"
    ),
    "idmap": _Trial(
        "warn",
        "needs Linux 5.12 and a file system with id-mapped mounts (ext4, xfs, btrfs, tmpfs 6.3):"
        " containers keep a user namespace, but one whose ids are the host's",
    ),
    "overlay-userns": _Trial(
        "warn",
        "needs Linux 5.19 and layers on a file system with id-mapped mounts: containers keep a"
        " user namespace, but one whose ids are the host's",
    ),
    "cgroup": _Trial("bad", "mount control groups writable: mount -t cgroup2 none /sys/fs/cgroup"),
    "capabilities": _Trial("warn", ""),
    "seccomp": _Trial("bad", "needs CONFIG_SECCOMP_FILTER; `seccomp=unconfined` does without"),
    "bridge": _Trial("bad", _MODULE.format("bridge")),
    "veth": _Trial("bad", _MODULE.format("veth")),
    "nft": _Trial("bad", _MODULE.format("nf_tables nft_chain_nat")),
}


def examine(paths: Paths) -> list[Finding]:
    """Everything, most basic first. Blocking, a fraction of a second."""
    found = [check(paths) for name, check in _FACTS.items() if name not in _LAST]
    found += _tried(tuple(_TRIALS), paths)
    return [*found, *(_FACTS[name](paths) for name in _LAST)]


def probe(name: str, paths: Paths | None = None) -> Finding:
    """One finding by its name. Raises UsageError for a name that there is not."""
    where = paths or Paths.from_environment()
    if name in _FACTS:
        return _FACTS[name](where)
    if name in _TRIALS:
        return _tried((name,), where)[0]
    names = ", ".join([*_FACTS, *_TRIALS])
    raise UsageError(f"there is no probe called {name!r}", hint=f"these are: {names}")


def _tried(names: tuple[str, ...], paths: Paths) -> list[Finding]:
    if os.geteuid() != 0:
        return [Finding(name, "warn", "not tried", "ask again as root") for name in names]
    answers = _ask(names, _existing(paths.root))
    return [
        _judged(name, answers.get(name, {"error": "the trial gave no answer"})) for name in names
    ]


def _ask(names: Iterable[str], place: Path) -> dict[str, dict[str, str]]:
    """A fresh interpreter: the daemon has threads, and with threads one does not fork."""
    program = _PROGRAM.format(source=str(_SOURCE))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(place), *names],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if not lines and done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["the trials did not start"])[-1]
        return {name: {"error": reason} for name in names}
    return {line["name"]: line for line in lines}


def _judged(name: str, answer: dict[str, str]) -> Finding:
    trial = _TRIALS[name]
    if "error" in answer:
        return Finding(name, trial.state, answer["error"], trial.advice)
    fact = answer["fact"]
    match name:
        case "capabilities" if fact:
            return Finding(
                name, "warn", f"root here lacks {fact}", _without(frozenset(fact.split(", ")))
            )
        case "capabilities":
            return Finding(name, "ok", "root has all")
        case "cgroup":
            return _judged_cgroup(fact)
    return Finding(name, "ok", fact)


def _without(missing: frozenset[str]) -> str:
    if "SYS_ADMIN" in missing or "NET_ADMIN" in missing:
        return "containers cannot be made without SYS_ADMIN and NET_ADMIN: run privileged"
    if "SYS_RESOURCE" in missing:
        return "hard limits (ulimits) cannot be raised above today's; all else works"
    return "containers that ask for these cannot have them"


def _judged_cgroup(fact: str) -> Finding:
    missing = {"memory", "cpu", "pids", "cpuset"} - set(re.findall(r"\w+", fact))
    if missing:
        names = ", ".join(sorted(missing))
        return Finding("cgroup", "warn", fact, f"limits that need {names} are refused when asked")
    return Finding("cgroup", "ok", fact)


def _root(paths: Paths) -> Finding:
    uid = os.geteuid()
    if uid == 0:
        return Finding("root", "ok", "yes")
    return Finding(
        "root", "bad", f"user id {uid} is not root", "the engine needs root: sudo stackctl ..."
    )


def _python(paths: Paths) -> Finding:
    fact = platform.python_version()
    if sys.version_info[:2] >= _PYTHON:
        return Finding("python", "ok", fact)
    return Finding("python", "bad", fact, "install Python 3.11 or newer (uv and pyenv bring one)")


def _kernel(paths: Paths) -> Finding:
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if version >= _KERNEL:
        return Finding("kernel", "ok", f"Linux {release}")
    return Finding(
        "kernel", "warn", f"Linux {release}", "id-mapped overlay came with 5.19: a newer kernel"
    )


def _architecture(paths: Paths) -> Finding:
    machine = platform.machine()
    if machine in ("x86_64", "aarch64"):
        return Finding("architecture", "ok", machine)
    return Finding(
        "architecture", "warn", machine, "no seccomp table: containers need seccomp=unconfined"
    )


_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _ip_forward(paths: Paths) -> Finding:
    try:
        value = _FORWARDING.read_text().strip()
    except OSError as e:
        return Finding("ip-forward", "warn", f"cannot be read: {e.strerror}", "is /proc mounted?")
    if value == "1":
        return Finding("ip-forward", "ok", "on")
    bridge = f"sc{paths.tag}"
    if any(name.startswith(bridge) for _, name in socket.if_nameindex()):
        return Finding(
            "ip-forward",
            "bad",
            "somebody switched it off: other machines reach no published port, containers nothing",
            "sysctl -w net.ipv4.ip_forward=1, and see who sets it in /etc/sysctl.d",
        )
    if os.access(_FORWARDING, os.W_OK):
        return Finding("ip-forward", "ok", "off; switched on with the first network")
    return Finding(
        "ip-forward",
        "warn",
        "off, and /proc/sys is read-only here",
        "sysctl net.ipv4.ip_forward=1 outside, or containers reach nothing but each other",
    )


def _state(paths: Paths) -> Finding:
    place = _existing(paths.root)
    found = os.statvfs(place)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    kind = _file_system(place)
    fact = f"{paths.root} on {kind}: {free / (1 << 30):.1f} GiB free"
    if found.f_flag & os.ST_RDONLY:
        return Finding(
            "state", "bad", f"{fact}, read-only", "set STACKCTL_ROOT to a writable place"
        )
    # btrfs and others count no inodes.
    if found.f_files and inodes < _FREE_INODES:
        return Finding("state", "warn", f"{fact}, {inodes} inodes", "few files can still be made")
    if free < _FREE_BYTES:
        return Finding("state", "warn", fact, "free some space, or move STACKCTL_ROOT")
    return Finding("state", "ok", fact)


def _existing(path: Path) -> Path:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _file_system(path: Path) -> str:
    """The type of the mount that `path` lies on, as /proc/self/mountinfo names it."""
    try:
        number = os.stat(path).st_dev
        device = f"{os.major(number)}:{os.minor(number)}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            if left.split()[2] == device:
                return right.split()[0]
    except OSError:
        pass
    return "an unknown file system"


_FACTS: dict[str, Callable[[Paths], Finding]] = {
    "root": _root,
    "python": _python,
    "kernel": _kernel,
    "architecture": _architecture,
    "ip-forward": _ip_forward,
    "state": _state,
}
_LAST = ("ip-forward", "state")
