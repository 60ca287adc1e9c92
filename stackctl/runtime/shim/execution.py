"""The last steps of a container's process, inside its root: stdio, limits, rights, the program.

Nothing here imports or looks up anything by the C library: it would be the image's.
"""

from __future__ import annotations

import errno
import os
import stat

from stackctl.linux import process, signals, terminal
from stackctl.runtime.shim import identity, init, mounts, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Bundle = dict[str, Any]

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAP_SYS_ADMIN = 1 << 21


def execute(
    bundle: Bundle, who: identity.Identity, slave: int, label: int, stage: mounts.Stage
) -> NoReturn:
    """Stdio, limits, rights; then the program. Shared by run and exec."""
    stage.step = "take the user's ids"
    if bundle["own_ids"] and max(who.uid, who.gid, *who.groups, 0) >= bundle["id_count"]:
        raise mounts.SetupError(
            f"user {who.uid}:{who.gid} is beyond the container's {bundle['id_count']} ids"
        )
    if slave >= 0:
        stage.step = "take the terminal"
        if not bundle["init"]:
            terminal.make_controlling(slave)
        os.fchown(slave, who.uid, 5 if bundle["own_ids"] or who.uid else who.gid)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.close(slave)
    else:
        _null_stdin()
        own_stdio(who.uid, who.gid)
    program = init.prepare() if bundle["init"] else -1
    stage.step = "set resource limits"
    for resource, soft, hard, _ in bundle["rlimits"]:
        _limit(resource, soft, hard)
    env = _environment(bundle, who.home)
    stage.step = "drop rights"
    _drop_rights(bundle, who)
    stage.step = f"change to the working directory {bundle['cwd']}"
    os.chdir(bundle["cwd"])
    if not os.getcwd().startswith("/"):  # "(unreachable)": outside the root (CVE-2024-21626)
        raise mounts.SetupError("it is outside the container")
    if label >= 0:
        stage.step = f"apply the AppArmor profile {bundle['apparmor']}"
        os.write(label, f"exec {bundle['apparmor']}".encode())
        os.close(label)
    # Without this word the end of the control socket means a death before the exec.
    words.report({"message": "executing"})
    stage.step = "load seccomp"
    capabilities = bundle["capabilities"]
    final = capabilities if who.uid == 0 else 0
    if bundle["no_new_privileges"]:
        process.capset(final, final)
    if bundle["seccomp"]:
        process.load_seccomp(bundle["seccomp"])
    if not bundle["no_new_privileges"]:
        process.capset(final, final)
    if bundle["init"]:
        _leave_init(program, bundle, env, stage)
    stage.step = "exec"
    _exec(bundle["argv"], env)


def own_stdio(uid: int, gid: int) -> None:
    """Pipes on stdio belong to the container's user, so that it can open /dev/stdout again."""
    for fd in (0, 1, 2):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, uid, gid)


def _null_stdin() -> None:
    """The host's /dev/null that the shim gave us is exchanged for the container's."""
    if stat.S_ISCHR(os.fstat(0).st_mode):
        fd = os.open("/dev/null", os.O_RDONLY | os.O_NOCTTY)
        if os.fstat(fd).st_rdev != os.makedev(1, 3):
            raise mounts.SetupError("/dev/null is not the null device")
        os.dup2(fd, 0)
        os.close(fd)


def _limit(resource: int, soft: int, hard: int) -> None:
    """Never above the present hard limit: where it could be raised, it was (_raise_limits)."""
    _, highest = process.getrlimit(resource)
    hard = min(hard, highest)
    process.setrlimit(resource, min(soft, hard), hard)


def _environment(bundle: Bundle, home: str) -> dict[str, str]:
    env = {}
    for pair in bundle["env"]:
        name, equals, value = pair.partition("=")
        if equals:  # without "=" it would stand for the host's value: nothing to give
            env[name] = value
    env.setdefault("PATH", _DEFAULT_PATH)
    env.setdefault("HOSTNAME", bundle["hostname"])
    env.setdefault("HOME", home)
    if bundle["tty"]:
        env.setdefault("TERM", "xterm")
    return env


def _drop_rights(bundle: Bundle, who: identity.Identity) -> None:
    """Ids and capability sets; what loading seccomp still needs stays until after it."""
    process.drop_bounding(bundle["capabilities"])
    process.prctl(process.PR_CAP_AMBIENT, process.PR_CAP_AMBIENT_CLEAR_ALL)
    process.prctl(process.PR_SET_KEEPCAPS, 1)
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    process.prctl(process.PR_SET_KEEPCAPS, 0)
    # Entering the working directory is done with the user's own rights.
    capabilities = bundle["capabilities"] if who.uid == 0 else 0
    process.capset(capabilities | _CAP_SYS_ADMIN, capabilities | _CAP_SYS_ADMIN)
    if bundle["no_new_privileges"]:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    if bundle["first"]:  # not in the child that it may leave behind
        process.die_with_parent()


def _exec(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Execute argv as a shell's PATH search does; OSError names what was tried."""
    program = argv[0]
    if not program:
        raise OSError(errno.ENOENT, "the command begins with an empty word", '""')
    if "/" in program:
        os.execve(program, argv, env)
    refused: OSError | None = None
    for directory in env["PATH"].split(":"):
        try:
            os.execve(f"{directory or '.'}/{program}", argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = refused or error
    raise refused or OSError(errno.ENOENT, "executable file not found in $PATH", program)


def _leave_init(program: int, bundle: Bundle, env: dict[str, str], stage: mounts.Stage) -> None:
    """Stay behind as a small pid 1; returns in the child that is to execute."""
    stage.step = "fork under init"
    signals.block(signals.ALL)
    child = os.fork()
    if child:
        init.execute(program, child, bundle["argv"], env)
    os.setsid()
    # The init left it alone: nobody in a user namespace may take it from another session.
    if os.isatty(0):
        terminal.make_controlling(0)
    signals.unblock(signals.ALL)
