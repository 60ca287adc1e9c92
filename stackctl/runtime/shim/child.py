"""From the shim's fork to the container's exec: one straight line, each step named.

The shim forks `main`, maybe before it has an order for it. It still is the host's root in
the host's namespaces; it joins the control groups, makes the user namespace, takes hold
of everything on the host that the container is to see, then enters the new
namespaces and forks pid 1, which builds the root, waits for `go` and executes.

After entering the root nothing is imported and the C library looks nothing
up: both would run the image's files as root. A failure is sent to the shim
with the name of its step.
"""

from __future__ import annotations

import gc
import os
import sys

from stackctl.linux import bpf, files, link, mount, process, signals, terminal
from stackctl.runtime.shim import execution, identity, mounts, protocol, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Bundle = dict[str, Any]
    #: What the shim wants of a child: see `main`.
    Order = dict[str, Any]
    #: Pid and start time: together they are no other process.
    Process = tuple[int, int]

#: Signals that the interpreter or the shim ignores: an executed program would inherit that.
_IGNORED = (
    signals.SIGPIPE,
    signals.SIGXFSZ,
    signals.SIGINT,
    signals.SIGHUP,
    signals.SIGTERM,
)

# Encodings are loaded by importing; these are the ones that steps after the root use.
"".encode("utf-8", "surrogateescape")
b"".decode("utf-8", "replace")


def main(control: int) -> NoReturn:
    """The shim's forked child: waits for one order on `control` and carries it out.

    An order has "bundle", the path of a container's bundle, and "stdio": which of 0, 1 and 2
    come with it as descriptors (another one is /dev/null, or the terminal to come). With
    "request" it is an exec into the container whose first process is "first" (a Process);
    without, the start of that container. No order: nobody needs us any more.
    """
    stage = mounts.Stage()
    try:
        _keep_only(control)
        order = words.order()
        if order is not None:
            stage.step = "read the bundle"
            bundle = read_bundle(order["bundle"])
            if "request" in order:
                _join({**bundle, **order["request"]}, order["first"], stage)
            else:
                _prepare(bundle, stage)
    except BaseException as error:
        words.fail(stage, error)
    os._exit(0)


def _join(bundle: Bundle, first: Process, stage: mounts.Stage) -> None:
    """As the host's root: into the groups and namespaces of a container, and the exec's process."""
    pid, started = first
    stage.step = "join the control groups"
    for path in bundle["cgroup"]["procs"]:
        process.write_file(path, "0")
    _set_oom_score(bundle["oom_score_adj"], stage)
    _raise_limits(bundle["rlimits"], stage)
    _only_what_we_have(bundle, stage)
    owner = _first_host_id(pid) if bundle["own_ids"] else 0
    execution.own_stdio(owner, owner)
    stage.step = "join the namespaces"
    flags = bundle["namespaces"] | (process.CLONE_NEWUSER if bundle["own_ids"] else 0)
    for flag, _, _ in bundle["joins"]:
        flags |= flag
    with _Partner(pid, started) as pidfd:
        process.prctl(process.PR_SET_DUMPABLE, 0)
        process.setns(pidfd, flags)
    _become_root()
    words.tell_notices(stage)
    inner = os.fork()
    if inner == 0:
        _exec_inside(bundle, stage)
    words.report({"message": "spawned", "pid": inner})


def read_bundle(path: str) -> Bundle:
    # Four system calls where open() and its file take nine.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return protocol.decode(os.read(fd, os.fstat(fd).st_size))
    finally:
        os.close(fd)


def _keep_only(control: int) -> None:
    """Descriptors 0-3 and nothing else; signals as a fresh process has them."""
    for signum in _IGNORED:
        signals.default(signum)
    os.dup2(control, words.CONTROL, inheritable=False)
    process.close_range(words.CONTROL + 1)
    signals.unblock((signals.SIGCHLD,))
    os.setsid()
    os.umask(0o022)


def _prepare(bundle: Bundle, stage: mounts.Stage) -> None:
    """As the host's root: everything that only it may do, then the namespaces and pid 1."""
    stage.step = "join the control groups"
    _join_cgroups(bundle["cgroup"], may_lack_rules=bundle["own_ids"])
    _set_oom_score(bundle["oom_score_adj"], stage)
    _raise_limits(bundle["rlimits"], stage)
    _only_what_we_have(bundle, stage)
    stage.step = "write the generated files"
    for path, text in bundle["files"]:
        _write(path, text)
    userns, trees, owner = _take_hold(bundle, stage)
    execution.own_stdio(owner, owner)
    os.chdir(bundle["staging"])
    process.prctl(process.PR_SET_DUMPABLE, 0)
    stage.step = "share the other container's namespaces"
    for flag, pid, started in bundle["joins"]:
        with _Partner(pid, started) as pidfd:
            process.setns(pidfd, flag)
    stage.step = "enter the namespaces"
    if userns >= 0:
        process.setns(userns, process.CLONE_NEWUSER)
        os.close(userns)
        _become_root()
    process.unshare(bundle["namespaces"])
    stage.step = "fork"
    pid = os.fork()
    if pid == 0:
        _first_process(bundle, trees, stage)
    words.report({"message": "spawned", "pid": pid})
    # Beside pid 1, which gets its `go` when we have ended. No path: pid 1 changes our root.
    _interfaces(bundle, stage)


class _Partner:
    """A pidfd of exactly this process."""

    def __init__(self, pid: int, started: int) -> None:
        self._pidfd = os.pidfd_open(pid)
        if process.start_time(pid) != started:
            raise mounts.SetupError("the container whose namespaces are to be joined has ended")

    def __enter__(self) -> int:
        return self._pidfd

    def __exit__(self, *_: object) -> None:
        os.close(self._pidfd)


def _take_hold(bundle: Bundle, stage: mounts.Stage) -> tuple[int, dict[str, int], int]:
    """The user namespace, the sources of all mounts, and the host id that its root has.

    Where layers cannot be id-mapped, the container has a user namespace of its own all the
    same, in which each id is the host's: owners are right, capabilities still end at its
    border, and only the range of ids is shared (docs/adr/0015).
    """
    stage.step = "make the user namespace"
    owner, partner, userns = bundle["id_base"], 0, -1
    if bundle["joins"]:
        _, partner, started = bundle["joins"][0]
        with _Partner(partner, started):
            if bundle["own_ids"]:
                userns = os.open(f"/proc/{partner}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
                owner = _first_host_id(partner)
    elif bundle["userns"]:
        userns = process.new_user_namespace(*bundle["userns"])
    mapping = userns if owner else -1
    try:
        trees = mounts.open_sources(
            bundle["mounts"], mapping, stage, id_base=owner, partner=partner
        )
    except mounts.CannotMap as error:
        if bundle["joins"]:
            raise mounts.SetupError(str(error)) from None
        stage.notices.append(f"{error}: the container's ids are the host's, its rights are not")
        os.close(userns)
        identity_map = f"0 0 {bundle['id_count']}\n"
        userns, owner = process.new_user_namespace(identity_map, identity_map), 0
        trees = mounts.open_sources(bundle["mounts"], -1, stage)
    return userns, trees, owner


def _first_host_id(pid: int) -> int:
    """Which host id is 0 in the user namespace of `pid`."""
    with open(f"/proc/{pid}/uid_map", "rb") as file:
        return int(file.read().split()[1])


def _set_oom_score(score: int | None, stage: mounts.Stage) -> None:
    stage.step = "set oom_score_adj"
    if score is None:
        return
    try:
        process.write_file("/proc/self/oom_score_adj", str(score))
    except PermissionError:
        stage.notices.append(f"oom_score_adj {score} needs CAP_SYS_RESOURCE, which root lacks here")


def _only_what_we_have(bundle: Bundle, stage: mounts.Stage) -> None:
    """Without a user namespace a container cannot have a capability that the engine lacks."""
    if bundle["own_ids"]:
        return
    _, permitted, _ = process.capget()
    missing = bundle["capabilities"] & ~permitted
    if missing:
        bundle["capabilities"] &= permitted
        stage.notices.append(f"root lacks capabilities here, and so the container: {missing:#x}")


def _raise_limits(limits: list[tuple[int, int, int, str]], stage: mounts.Stage) -> None:
    """Hard limits that are above ours, while we are the host's root; the rest is for the end."""
    stage.step = "raise resource limits"
    for resource, _, hard, name in limits:
        soft, highest = process.getrlimit(resource)
        if hard <= highest:
            continue
        try:
            process.setrlimit(resource, soft, hard)
        except PermissionError:
            if name:
                stage.notices.append(
                    f"ulimit {name}: {hard} is above this machine's {highest}, and root may not"
                    " raise it here (CAP_SYS_RESOURCE)"
                )


def _join_cgroups(plan: Bundle, *, may_lack_rules: bool) -> None:
    for path in plan["dirs"]:
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            _renew(path)
        except FileNotFoundError:  # a hierarchy that no other container has joined
            os.makedirs(path, 0o755, exist_ok=True)
    for path, text in plan["writes"]:
        process.write_file(path, text)
    if plan["devices"]:
        try:
            bpf.restrict_devices(plan["into"], plan["devices"])
        except PermissionError:
            # In a sandbox without CAP_BPF. In a user namespace no device node can be made.
            if not may_lack_rules:
                raise
    for path in plan["procs"]:
        process.write_file(path, "0")


def _renew(path: str) -> None:
    """The group of an earlier run: a new one counts from zero (a kill for want of memory)."""
    try:
        os.rmdir(path)
        os.mkdir(path, 0o755)
    except OSError:
        pass  # groups that it made, or a process that is still ending


def _write(path: str, text: str) -> None:
    """Overwrite in place: a bind mount of the file keeps showing its new content."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(fd, text.encode())
    os.close(fd)


def _become_root() -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _first_process(bundle: Bundle, trees: dict[str, int], stage: mounts.Stage) -> NoReturn:
    """Pid 1: build the root, wait for `go`, execute."""
    try:
        os.setsid()
        _forget_imports()
        stage.step = "set the hostname"
        if bundle["namespaces"] & process.CLONE_NEWUTS:
            process.sethostname(bundle["hostname"])
        root = mounts.perform(bundle["mounts"], trees, stage)
        slave = -1
        if bundle["tty"]:
            stage.step = "open the terminal"
            slave = _terminal(root, bundle["size"], console=True)
        for name, value in bundle["sysctls"]:
            stage.step = f"set sysctl {name}"
            process.write_file("/proc/sys/" + name.replace(".", "/"), value)
        label = _open_label(bundle["apparmor"], stage)
        stage.step = "resolve the user"
        who = identity.resolve(root, bundle["user"], bundle["groups"])
        stage.step = f"make the working directory {bundle['cwd']}"
        os.close(files.make_directories(root, bundle["cwd"]))
        mounts.enter(root, read_only=bundle["read_only"], stage=stage)
        os.close(root)
        stage.step = "wait for the network"
        if not os.read(words.CONTROL, 16):
            os._exit(1)  # the shim has gone, or told us to give up
        words.tell_notices(stage)
        execution.execute(bundle, who, slave, label, stage)
    except BaseException as error:
        words.fail(stage, error)


def _exec_inside(bundle: Bundle, stage: mounts.Stage) -> NoReturn:
    """The process of an exec, in the container's namespaces already."""
    try:
        os.setsid()
        _forget_imports()
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        slave = -1
        if bundle["tty"]:
            stage.step = "open the terminal"
            slave = _terminal(root, bundle["size"], console=False)
        stage.step = "resolve the user"
        who = identity.resolve(root, bundle["user"], bundle["groups"])
        os.close(root)
        execution.execute(bundle, who, slave, _open_label(bundle["apparmor"], stage), stage)
    except BaseException as error:
        words.fail(stage, error)


def _forget_imports() -> None:
    """From here on an import would look into the container's files."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    gc.disable()


def _interfaces(bundle: Bundle, stage: mounts.Stage) -> None:
    """What belongs to a fresh network namespace before anything runs in it."""
    if bundle["namespaces"] & process.CLONE_NEWNET:
        stage.step = "bring up the loopback interface"
        link.up("lo")
        stage.step = "load the packet filter"
        for blob in bundle["netns_blobs"]:
            link.send_netfilter(blob)


def _terminal(root: int, size: tuple[int, int] | None, *, console: bool) -> int:
    """A terminal of the container's own devpts: the master goes to the shim.

    The slave is taken from the master, not by name: nothing in /dev/pts can be
    swapped under us (CVE-2025-52565).
    """
    master = files.open_in_root(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    slave = terminal.slave_of(master)
    if size:
        terminal.resize(master, *size)
    if console:
        tree = mount.open_tree("", at=slave)
        target = files.make_file(root, "/dev/console")
        mount.move_mount(tree, target, "/dev/console")
        os.close(target)
        os.close(tree)
    words.report({"message": "terminal"}, (master,))
    os.close(master)
    return slave


def _open_label(profile: str, stage: mounts.Stage) -> int:
    """Where the AppArmor profile for the exec is to be written; -1: none is wanted.

    Opened while /proc is the host's, or the private one that we mounted ourselves.
    """
    if profile in ("", "unconfined"):
        return -1
    stage.step = f"apply the AppArmor profile {profile}"
    try:
        return os.open("/proc/thread-self/attr/apparmor/exec", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise mounts.SetupError("this machine has no AppArmor") from None
