"""Tries what the kernel can do, each thing in a child process that then ends.

Runs as a process of its own (doctor starts it): one thread, standard library
and stackctl.linux only, so that it may fork. Nothing is left behind: what a
trial makes lives in namespaces and detached mounts that die with it, or below a
temporary directory that this process removes.

    argv: <directory on the file system of the engine's state> <trial> ...
    stdout: one JSON object a line, {"name", "fact"} or {"name", "error"}
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import tempfile

from stackctl.linux import mount, process
from stackctl.runtime import trials_net

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that one trial may take.
_LIMIT = 10.0
#: A range of host ids that nobody has, for the trial's user namespace.
_MAP = "0 1000000000 65536"


def main() -> None:
    place, names = sys.argv[1], sys.argv[2:]
    home = tempfile.mkdtemp(prefix=".stackctl-trial-", dir=place)
    os.chdir(home)
    try:
        for name in names:
            json.dump({"name": name, **_forked(TRIALS[name], name)}, sys.stdout)
            sys.stdout.write("\n")
            sys.stdout.flush()
    finally:
        os.chdir("/")
        shutil.rmtree(home, ignore_errors=True)


def _forked(trial: Callable[[], str], name: str) -> dict[str, str]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            os.mkdir(name)
            os.chdir(name)
            answer = {"fact": trial()}
        except BaseException as error:
            answer = {"error": _reason(error)}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], _LIMIT)
        text = os.read(reader, 65536) if ready else b""
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not text:
        return {"error": "no answer" if ready else f"took longer than {_LIMIT:g} s"}
    found: dict[str, str] = json.loads(text)
    return found


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f" ({error.filename})" if error.filename else "")
    return str(error) or type(error).__name__


def _namespace(flag: int) -> Callable[[], str]:
    def trial() -> str:
        process.unshare(flag)
        return "can be made"

    return trial


def _userns() -> str:
    os.close(process.new_user_namespace(_MAP, _MAP))
    return "root inside can be nobody outside"


def _layers() -> None:
    for name in ("lower", "rw", "rw/upper", "rw/work", "merged"):
        os.mkdir(name)
    with open("lower/file", "w") as file:
        file.write("lower")


def _overlay() -> str:
    _layers()
    layers = (("lowerdir", "lower"), ("upperdir", "rw/upper"), ("workdir", "rw/work"))
    merged = mount.new_mount("overlay", layers)
    # Copy-up and a rename: what a file system that cannot be an upper layer fails at.
    fd = os.open("file", os.O_WRONLY | os.O_APPEND, dir_fd=merged)
    os.write(fd, b"+")
    os.close(fd)
    os.rename("file", "renamed", src_dir_fd=merged, dst_dir_fd=merged)
    return "works on the file system of the engine's state"


def _idmap() -> str:
    userns = process.new_user_namespace(_MAP, _MAP)
    for path in (".", "/usr"):
        mount.mount_setattr(mount.open_tree(path), userns=userns, what=path)
    return "for the engine's state and for /usr"


def _overlay_userns() -> str:
    """As the runtime mounts a container's root: id-mapped layers, inside the user namespace."""
    _layers()
    userns = process.new_user_namespace(_MAP, _MAP)
    trees = {}
    for name in ("lower", "rw"):
        trees[name] = mount.open_tree(name)
        mount.mount_setattr(trees[name], userns=userns, what=name)
    process.setns(userns, process.CLONE_NEWUSER)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.unshare(process.CLONE_NEWNS)
    mount.mount("none", "/", "", mount.MS_REC | mount.MS_PRIVATE)
    staging = mount.new_mount("tmpfs", (("size", "1m"),))
    # Opened only now: an older descriptor would be of the old mount namespace.
    mount.move_mount(staging, os.open(".", os.O_PATH))
    os.fchdir(staging)
    for name, tree in trees.items():
        os.mkdir(name)
        mount.move_mount(tree, os.open(name, os.O_PATH))
    os.mkdir("merged")
    options = "lowerdir=lower,upperdir=rw/upper,workdir=rw/work,userxattr"
    mount.mount("overlay", "merged", "overlay", 0, options)
    with open("merged/file", "a") as file:
        file.write("+")
    if os.stat("merged/file").st_uid != 0:
        raise OSError(0, "a container's file does not belong to its root")
    return "layers shared by all containers, each with ids of its own"


def _seccomp() -> str:
    # Imported here: the tables are only needed by this trial.
    from stackctl.runtime.capabilities import DEFAULT
    from stackctl.runtime.seccomp import program

    filter_program = program("default", DEFAULT)
    process.load_seccomp(filter_program)
    try:
        process.unshare(process.CLONE_NEWUSER)
    except PermissionError:
        return f"filter of {len(filter_program) // 8} instructions holds"
    raise OSError(0, "the filter was loaded and does not hold")


def _cgroup() -> str:
    from stackctl.runtime.cgroups.driver import driver

    cgroups = driver()
    group = f"stackctl-trial-{os.getpid()}"
    try:
        usable = cgroups.prepare_engine_group(group)
    finally:
        cgroups.remove_engine_group(group)
    return f"v{cgroups.version}: {', '.join(sorted(usable)) or 'no controllers'}"


def _capabilities() -> str:
    from stackctl.runtime import capabilities

    effective, _, _ = process.capget()
    missing = capabilities.ALL - capabilities.names(effective)
    return ", ".join(sorted(missing))


TRIALS: dict[str, Callable[[], str]] = {
    "userns": _userns,
    "mountns": _namespace(process.CLONE_NEWNS),
    "pidns": _namespace(process.CLONE_NEWPID),
    "netns": _namespace(process.CLONE_NEWNET),
    "ipcns": _namespace(process.CLONE_NEWIPC),
    "utsns": _namespace(process.CLONE_NEWUTS),
    "cgroupns": _namespace(process.CLONE_NEWCGROUP),
    "overlay": _overlay,
    "idmap": _idmap,
    "overlay-userns": _overlay_userns,
    "cgroup": _cgroup,
    "capabilities": _capabilities,
    "seccomp": _seccomp,
    "bridge": trials_net.bridge,
    "veth": trials_net.veth,
    "nft": trials_net.nft,
}
