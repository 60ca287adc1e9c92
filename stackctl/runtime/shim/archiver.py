"""Copies files out of and into a container as a tar stream: a short-lived process of its own.

    engine --request(op, path, ...)--> archiver (host's root)
                                       enters the container's namespaces, or mounts the root of
                                       a stopped one in a mount namespace of its own
    engine <--stat | failed----------- archiver
       ... tar stream on a pipe ...
    engine <--done | failed----------- archiver

It also mounts anew ("attach") what a running container has of the host.
Once it is inside, the container's root is its root directory: no name in the
archive and no link, swapped or not, leads anywhere else. Everything it needs is
imported before; the C library looks up nobody (no user names in archives).
"""

from __future__ import annotations

import _socket
import errno
import os
import posixpath
import stat
import sys
import tarfile
import time

from stackctl.linux import process
from stackctl.runtime.shim import identity, mounts, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    Message = dict[str, Any]

CONTROL, DATA = 3, 4
#: Ends of a path that ask for a directory.
_INSIDE = ("/", "/.")
_KERNELS = ("/proc", "/sys", "/dev")
#: What looking at a name says when somebody has put something else in its place since.
_SWAPPED = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.ENODEV)
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class Refused(Exception):
    """The request cannot be done; the text says why."""


class Mistaken(Refused):
    """It asks for what cannot be, whatever the container has."""


def main() -> None:
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL)
    os.set_inheritable(CONTROL, False)
    os.set_inheritable(DATA, False)
    process.close_range(DATA + 1)
    received = protocol.receive(control)
    if received is None:
        return
    request = received[0]
    try:
        if request["op"] == "attach":
            answer = _attach(request)
        else:
            _enter(request)
            answer = _perform(request, control)
    except BrokenPipeError:
        return  # whoever asked has gone
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        answer = {"failed": f"{name}{error.strerror}", "errno": error.errno or 0}
    except RecursionError:
        answer = {"failed": "its directories are nested too deeply", "errno": errno.ELOOP}
    except (Mistaken, tarfile.TarError) as error:  # what was sent is no archive, or half of one
        answer = {"failed": str(error), "errno": 0, "mistaken": True}
    except (Refused, mounts.SetupError, mounts.CannotMap) as error:
        answer = {"failed": str(error), "errno": errno.EINVAL}
    protocol.send(control, answer)


def _attach(request: Message) -> Message:
    process.prctl(process.PR_SET_DUMPABLE, 0)
    pidfd = _opened(request)
    userns = -1
    if request["userns"]:
        userns = os.open(f"/proc/{request['pid']}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    mounts.attach_again(pidfd, userns, request["mount"])
    return {"done": True}


def _opened(request: Message) -> int:
    """The running container's first process."""
    pidfd = os.pidfd_open(request["pid"])
    if process.start_time(request["pid"]) != request["start_time"]:
        raise Refused("the container has just ended")
    return pidfd


def _enter(request: Message) -> None:
    """Become root in the container's user namespace, with its root as ours."""
    userns = request["userns"]
    process.prctl(process.PR_SET_DUMPABLE, 0)
    if request["pid"]:
        pidfd = _opened(request)
        process.setns(pidfd, process.CLONE_NEWNS | (process.CLONE_NEWUSER if userns else 0))
        os.close(pidfd)
        _become_root()
    else:
        stage = mounts.Stage()
        namespace = process.new_user_namespace(*userns) if userns else -1
        trees = mounts.open_sources(request["mounts"], namespace, stage)
        os.chdir(request["staging"])
        if namespace >= 0:
            process.setns(namespace, process.CLONE_NEWUSER)
            os.close(namespace)
            _become_root()
        process.unshare(process.CLONE_NEWNS)
        root = mounts.perform(request["mounts"], trees, stage)
        mounts.enter(root, read_only=False, stage=stage)
        os.close(root)
    sys.path.clear()
    sys.meta_path.clear()
    os.umask(0)


def _become_root() -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _perform(request: Message, control: _socket.socket) -> Message:
    path = posixpath.join("/", request["path"])
    match request["op"]:
        case "stat":
            return {"stat": _describe(path)}
        case "get":
            protocol.send(control, {"stat": _describe(path)})
            with os.fdopen(DATA, "wb", 65536) as stream:
                _pack(path, stream)
        case "put":
            if not stat.S_ISDIR(os.stat(_plain(path)).st_mode):
                raise Mistaken(f"{path}: not a directory: an archive goes into one")
            protocol.send(control, {"stat": _describe(path)})
            with os.fdopen(DATA, "rb", 65536) as stream:
                _unpack(path, stream, request)
    return {"done": True}


def _plain(path: str) -> str:
    """The path to look at: a trailing "/" or "/." asks for what a link points at."""
    if path.endswith(_INSIDE):
        return os.path.realpath(path)
    return posixpath.normpath(path)


def _shown(path: str) -> str:
    """What an archive calls the object at `path`, as Go's filepath.Base has it: with "/." at its
    end it is ".", and clients count on names that begin so."""
    if path.rstrip("/").endswith("/."):
        return "."
    return posixpath.basename(posixpath.normpath(path)) or "/"


def _describe(path: str) -> Message:
    """Docker's path stat: Go's mode bits, RFC 3339."""
    place = _plain(path)
    status = os.lstat(place)
    if path.endswith(_INSIDE) and not stat.S_ISDIR(status.st_mode):
        raise Mistaken(f"{path}: not a directory")
    mode = stat.S_IMODE(status.st_mode) & 0o777 | _GO_TYPES.get(stat.S_IFMT(status.st_mode), 0)
    for bit, go in _GO_BITS:
        if status.st_mode & bit:
            mode |= go
    seconds, rest = divmod(status.st_mtime_ns, 1_000_000_000)
    is_link = stat.S_ISLNK(status.st_mode)
    return {
        "name": _shown(path),
        "size": status.st_size,
        "mode": mode,
        "mtime": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z",
        "linkTarget": os.path.realpath(place) if is_link else "",
    }


def _pack(path: str, stream: BinaryIO) -> None:
    """The object at `path`, with all below, under its own base name."""
    place = _plain(path)
    parent, name = posixpath.split(place)
    with tarfile.open(mode="w|", fileobj=stream, format=tarfile.PAX_FORMAT) as archive:
        directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _pack_one(_Packing(archive), directory, name or ".", _shown(path))
        os.close(directory)


class _Packing:
    """An archive that is being written, and what was found so far."""

    __slots__ = ("archive", "hollow", "seen")

    def __init__(self, archive: tarfile.TarFile) -> None:
        self.archive = archive
        #: Files with several names: (device, inode) -> the first of them.
        self.seen: dict[tuple[int, int], str] = {}
        #: What the kernel shows in a running container is no file of its own.
        self.hollow = {_key(os.stat(path)) for path in _KERNELS if os.path.ismount(path)}


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _pack_one(packing: _Packing, directory: int, name: str, shown: str) -> None:
    """One entry with all below; left out when it goes, or becomes something else, meanwhile."""
    try:
        _pack_entry(packing, directory, name, shown)
    except OSError as error:
        # Nothing of it has been written yet: everything is opened before.
        if error.errno not in _SWAPPED:
            raise


def _pack_entry(packing: _Packing, directory: int, name: str, shown: str) -> None:
    archive, seen = packing.archive, packing.seen
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    member = tarfile.TarInfo(shown)
    member.mode = stat.S_IMODE(status.st_mode)
    member.uid, member.gid = status.st_uid, status.st_gid
    member.mtime = status.st_mtime
    kind = stat.S_IFMT(status.st_mode)
    key = _key(status)
    if kind == stat.S_IFDIR:
        member.type = tarfile.DIRTYPE
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        inner = os.open(name, flags, dir_fd=directory)
        archive.addfile(member)
        # Who asks for /proc/x itself gets it.
        below = [] if key in packing.hollow and shown.count("/") else sorted(os.listdir(inner))
        for entry in below:
            _pack_one(packing, inner, entry, f"{shown.rstrip('/')}/{entry}")
        os.close(inner)
    elif kind == stat.S_IFLNK:
        member.type = tarfile.SYMTYPE
        member.linkname = os.readlink(name, dir_fd=directory)
        archive.addfile(member)
    elif kind == stat.S_IFREG and key in seen:
        member.type = tarfile.LNKTYPE
        member.linkname = seen[key]
        archive.addfile(member)
    elif kind == stat.S_IFREG:
        if _pack_file(archive, member, directory, name) and status.st_nlink > 1:
            seen[key] = shown
    elif kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
        member.type = {
            stat.S_IFIFO: tarfile.FIFOTYPE,
            stat.S_IFCHR: tarfile.CHRTYPE,
            stat.S_IFBLK: tarfile.BLKTYPE,
        }[kind]
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        archive.addfile(member)


def _pack_file(
    archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, name: str
) -> bool:
    """Whether it is in the archive: something else may have its name by now."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        # Asked before it is taken for a file, which Python does of no directory.
        os.close(fd)
        return False
    with os.fdopen(fd, "rb", 0) as file:
        member.size = status.st_size
        archive.addfile(member, _Padded(file))  # type: ignore[arg-type]
    return True


class _Padded:
    """A file that may shrink while it is read: zeros stand for what has gone."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._file.read(size - len(data))
            if not piece:
                return data + bytes(size - len(data))
            data += piece
        return data


def _unpack(path: str, stream: BinaryIO, request: Message) -> None:
    """Unpack below the directory `path`; directories get their times last."""
    request["ids"] = _ids(request["owner"])
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    times: list[tuple[str, float]] = []
    if not stream.peek(1):  # type: ignore[attr-defined]
        os.close(root)
        return  # nothing was sent: an archive of nothing
    with tarfile.open(mode="r|", fileobj=stream) as archive:
        for member in archive:
            name = posixpath.normpath(member.name.lstrip("/"))
            if name == ".." or name.startswith("../"):
                raise Refused(f"the archive has a path that leads out of it: {member.name}")
            _unpack_one(archive, member, root, name, request)
            if member.isdir():
                times.append((name, member.mtime))
    for name, when in reversed(times):
        os.utime(name, (when, when), dir_fd=root, follow_symlinks=False)
    while stream.read(65536):  # what follows the archive's end, so that the sender can finish
        pass


def _ids(owner: str) -> tuple[int, int] | None:
    """Of the user whose files shall become of all; None for "": they keep the archive's."""
    if not owner:
        return None
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = identity.resolve(root, owner)
    except identity.IdentityError as error:
        raise Refused(str(error)) from None
    finally:
        os.close(root)
    return found.uid, found.gid


def _unpack_one(
    archive: tarfile.TarFile, member: tarfile.TarInfo, root: int, name: str, request: Message
) -> None:
    _make_parents(root, name)
    if not member.isdir():
        _make_way(root, name, request)
    if member.isdir():
        _unpack_directory(root, name, request)
    elif member.isreg():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=root), "wb") as file:
            source = archive.extractfile(member)
            while source is not None and (data := source.read(65536)):
                file.write(data)
    elif member.issym():
        os.symlink(member.linkname, name, dir_fd=root)
    elif member.islnk():
        target = posixpath.normpath(member.linkname.lstrip("/"))
        if target.startswith("../"):
            raise Refused(f"the archive has a link that leads out of it: {member.linkname}")
        os.link(target, name, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
        return
    elif member.isfifo():
        os.mkfifo(name, 0o600, dir_fd=root)
    else:
        raise Refused(f"{member.name}: device nodes are not copied into containers")
    uid, gid = request["ids"] or (member.uid, member.gid)
    os.chown(name, uid, gid, dir_fd=root, follow_symlinks=False)
    if not member.issym():
        os.chmod(name, stat.S_IMODE(member.mode), dir_fd=root)
        os.utime(name, (member.mtime, member.mtime), dir_fd=root)


def _make_parents(root: int, name: str) -> None:
    """Directories that the archive takes for granted, as docker makes them."""
    parent = posixpath.dirname(name)
    if not parent:
        return
    try:
        os.stat(parent, dir_fd=root)
    except FileNotFoundError:
        _make_parents(root, parent)
        os.mkdir(parent, 0o755, dir_fd=root)


def _unpack_directory(root: int, name: str, request: Message) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=root)
        return
    except FileExistsError:
        pass
    # A link to a directory will do: /var/run and the like.
    if not stat.S_ISDIR(os.stat(name, dir_fd=root).st_mode):
        if request["keep_kinds"]:
            raise Refused(f"{name} is no directory in the container")
        os.unlink(name, dir_fd=root)
        os.mkdir(name, 0o700, dir_fd=root)


def _make_way(root: int, name: str, request: Message) -> None:
    try:
        status = os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        if request["keep_kinds"]:
            raise Refused(f"{name} is a directory in the container")
        os.rmdir(name, dir_fd=root)
    else:
        os.unlink(name, dir_fd=root)


if __name__ == "__main__":
    main()
