"""Mounts that are more than one call: control groups, devices, another container's memory.

As in mounts.py: `open_*` runs as the host's root before the namespaces are entered, the
rest in the container's own, on descriptors that were resolved below its root.
"""

from __future__ import annotations

import errno
import os
import stat

from stackctl.linux import files, process
from stackctl.linux import mount as mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mount = dict[str, Any]

_NO = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC | mounts.MOUNT_ATTR_NODEV
#: Refused in a sandbox, or by a kernel that has it in no user namespace: to be done without.
_NOT_HERE = (errno.EPERM, errno.EINVAL, errno.ENODEV, errno.EBUSY, errno.ENOENT)
#: In the host's /dev, but no devices of the machine's; containers have their own.
_NOT_DEVICES = ("pts", "shm", "mqueue", "fd", "console", "ptmx", ".lxc", ".lxd-mounts", ".udev")


def control_groups(root: int, item: Mount) -> None:
    """The container's own groups below /sys/fs/cgroup, laid out as the host has them."""
    fd = files.make_directories(root, item["target"])
    attributes = _NO | (mounts.MOUNT_ATTR_RDONLY if item["read_only"] else 0)
    try:
        if item["version"] == 2:
            tree = mounts.new_mount("cgroup2", (), attributes)
            mounts.move_mount(tree, fd, item["target"])
        else:
            tree = _hierarchies(fd, item, attributes)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return
    finally:
        os.close(fd)
    os.close(tree)


def _hierarchies(target: int, item: Mount, attributes: int) -> int:
    """v1: a tmpfs with a directory a hierarchy; what the kernel refuses is left out."""
    tree = mounts.new_mount("tmpfs", (("mode", "0755"), ("size", "64k")), _NO)
    mounts.move_mount(tree, target, item["target"])
    for name, controllers in item["hierarchies"]:
        try:
            hierarchy = mounts.new_mount(
                "cgroup", tuple((c, None) for c in controllers), attributes
            )
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            continue
        os.mkdir(name, 0o755, dir_fd=tree)
        place = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=tree)
        mounts.move_mount(hierarchy, place, name)
        os.close(place)
        os.close(hierarchy)
        for controller in controllers:
            if controller != name:
                os.symlink(name, controller, dir_fd=tree)
    if item["read_only"]:
        mounts.mount_setattr(tree, set_attributes=mounts.MOUNT_ATTR_RDONLY)
    return tree


def open_devices(item: Mount, id_base: int) -> int:
    """A detached tmpfs with the nodes 0, 1, ... that `item` asks for, owned as on the host.

    Made by the host's root: a file system that a user namespace mounts has no devices.
    """
    tree = mounts.new_mount("tmpfs", (("mode", "0755"), ("size", "64k")), mounts.MOUNT_ATTR_NOSUID)
    for number, (source, _) in enumerate(item["nodes"]):
        status = os.stat(source)
        if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise OSError(errno.ENODEV, "is no device", source)
        name = str(number)
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=tree)
        os.chown(name, id_base + status.st_uid, id_base + status.st_gid, dir_fd=tree)
        os.chmod(f"/proc/self/fd/{tree}/{name}", stat.S_IMODE(status.st_mode))
    return tree


def attach_devices(root: int, tree: int, item: Mount) -> None:
    """The nodes at their places below `root`; `tree` is attached in the staging area first,
    since parts of a detached mount cannot be copied before Linux 6.15."""
    os.mkdir("devices")
    here = os.open("devices", os.O_PATH | os.O_CLOEXEC)
    mounts.move_mount(tree, here)
    os.close(here)
    for number, (_, target) in enumerate(item["nodes"]):
        node = mounts.open_tree(f"devices/{number}")
        fd = files.make_file(root, target)
        mounts.move_mount(node, fd, target)
        os.close(fd)
        os.close(node)
    os.close(tree)


def host_devices(root: int, item: Mount) -> None:
    """All nodes of the host's /dev made again in the container's (no user namespace: it may)."""
    top = files.open_in_root(root, item["target"], os.O_RDONLY | os.O_DIRECTORY)
    _copy_nodes("/dev", top, skip=_NOT_DEVICES)
    os.close(top)


def _copy_nodes(source: str, target: int, skip: tuple[str, ...] = ()) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name in skip:
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if os.path.ismount(entry.path):
                    continue
                os.mkdir(entry.name, stat.S_IMODE(status.st_mode), dir_fd=target)
                inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=target)
                _copy_nodes(entry.path, inner)
                os.close(inner)
            elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                os.mknod(entry.name, status.st_mode, status.st_rdev, dir_fd=target)
                os.chown(entry.name, status.st_uid, status.st_gid, dir_fd=target)
                os.chmod(f"/proc/self/fd/{target}/{entry.name}", stat.S_IMODE(status.st_mode))


def open_shared(target: str, pid: int) -> int:
    """A detached copy of the mount at `target` in the mount namespace of `pid`.

    A mount can only be copied from the namespace that one is in. For the moment inside
    nothing is looked up but `target`, below the root's descriptor, no link followed.
    """
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    pidfd = os.pidfd_open(pid)
    process.setns(pidfd, process.CLONE_NEWNS)
    try:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        resolve = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_SYMLINKS
        found = files.openat2(root, target, os.O_PATH | os.O_DIRECTORY, 0, resolve)
        tree = mounts.open_tree("", at=found)
        os.close(found)
        os.close(root)
        return tree
    finally:
        process.setns(home, process.CLONE_NEWNS)
        os.close(home)
        os.close(pidfd)
