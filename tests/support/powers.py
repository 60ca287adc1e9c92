"""What this machine can do: each power is found out by trying it in a child process.

A test says `@pytest.mark.needs("netns", "overlay")`. A power that is lacking
skips the test; with --no-skips it fails. Names with a colon take an argument:
`program:nginx` means that the program is there.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

#: Where programs hide from an ordinary user's PATH.
MORE_PATH = "/usr/local/sbin:/usr/sbin:/sbin"

_OVERLAY = """
set -e
d=$(mktemp -d)
mount -t tmpfs none "$d"
mkdir "$d/l" "$d/u" "$d/w" "$d/m"
mount -t overlay -o "lowerdir=$d/l,upperdir=$d/u,workdir=$d/w" none "$d/m"
touch "$d/m/x"
"""

_BRIDGE = """
set -e
ip link add pr0 type bridge
ip link add pr1 type veth peer name pr2
ip link set pr1 master pr0
"""

#: Shell texts to be tried in namespaces of their own: arguments of unshare(1), text.
_TRIALS: dict[str, tuple[tuple[str, ...], str]] = {
    "mountns": (("--mount",), "mount -t tmpfs none /mnt"),
    "netns": (("--net",), "true"),
    "pidns": (("--pid", "--fork", "--mount-proc"), "true"),
    "userns": (("--user", "--map-root-user"), "true"),
    "cgroupns": (("--cgroup",), "true"),
    "overlay": (("--mount",), _OVERLAY),
    "bridge": (("--net",), _BRIDGE),
    "nft": (("--net",), "nft add table inet probe && nft list table inet probe"),
}


def programs_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), MORE_PATH])


def find_program(name: str) -> str | None:
    """Absolute path of a program, also those that only root's PATH has."""
    return shutil.which(name, path=programs_path())


def postgres_bin() -> Path | None:
    """The directory with initdb and postgres: Debian keeps them out of PATH, per version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = find_program("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _try(namespaces: tuple[str, ...], text: str) -> str:
    """Runs `text` by sh in new namespaces. "" when it works, else the reason."""
    done = subprocess.run(
        ["unshare", *namespaces, "--", "sh", "-c", text],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, "PATH": programs_path()},
    )
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit {done.returncode}")


def _root() -> str:
    return "" if os.geteuid() == 0 else f"user id {os.geteuid()} is not root"


def _idmap() -> str:
    """An id-mapped bind mount; mount(8) of util-linux 2.39 could do it, older ones cannot."""
    return _asked_of_doctor("idmap")


def _cgroup_v1() -> str:
    return "" if Path("/sys/fs/cgroup/memory/tasks").exists() else "no v1 memory hierarchy"


def _cgroup_v2() -> str:
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if (Path(base) / "cgroup.controllers").exists():
            return ""
    return "no unified hierarchy is mounted"


def _cgroup() -> str:
    return "" if not _cgroup_v1() or not _cgroup_v2() else "no control groups are mounted"


def _postgresql() -> str:
    return "" if postgres_bin() else "initdb is not installed"


def _python_module(name: str) -> Callable[[], str]:
    """A module of the machine's own Python (/usr/bin/python3), as a container will see it."""

    def check() -> str:
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", f"import {name}"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["fails"])[-1]

    return check


_CHECKS: dict[str, Callable[[], str]] = {
    "root": _root,
    "idmap": _idmap,
    "cgroup": _cgroup,
    "cgroup-v1": _cgroup_v1,
    "cgroup-v2": _cgroup_v2,
    "postgresql": _postgresql,
}


def _asked_of_doctor(name: str) -> str:
    """What the product's own probe says; it too tries the thing in a child process."""
    try:
        from stackctl.runtime import doctor
    except ImportError:
        return f"nobody knows how to probe {name!r}"
    result = doctor.probe(name)
    if isinstance(result, bool):
        return "" if result else f"the machine lacks {name}"
    return "" if result.ok else str(result)


@functools.cache
def lack(power: str) -> str:
    """Why the machine lacks a power, "" when it has it. Tried once a process."""
    kind, _, argument = power.partition(":")
    if kind == "program":
        return "" if find_program(argument) else f"{argument} is not installed"
    if kind == "python":
        return _python_module(argument)()
    if kind == "file":
        return "" if Path(argument).exists() else f"{argument} does not exist"
    if power in _CHECKS:
        return _CHECKS[power]()
    if power in _TRIALS:
        return _try(*_TRIALS[power])
    return _asked_of_doctor(power)


def lacks(powers: tuple[str, ...]) -> Iterator[str]:
    for power in powers:
        reason = lack(power)
        if reason:
            yield f"{power}: {reason}"
