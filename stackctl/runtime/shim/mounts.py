"""Performs a bundle's list of mounts: the one place that mounts anything.

Works in two halves. `open_sources` runs as the host's root: it takes detached,
id-mapped copies of host directories. `perform` runs in the container's own
user and mount namespace and attaches everything below the new root, by
descriptors that were resolved inside it. Nothing that the image or a volume
contains can lead a mount, a directory or a file out of the root.
"""

from __future__ import annotations

import errno
import os
import stat

from stackctl.linux import files, process
from stackctl.linux import mount as mounts
from stackctl.runtime.shim import copyup, special

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mount = dict[str, Any]

_NO_ID_MAPS = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
#: "shared" leaves a copy in its original's peer group.
_PROPAGATION = {"private": mounts.MS_PRIVATE, "slave": mounts.MS_SLAVE, "shared": 0}
#: Where the root is put together, inside the staging tmpfs.
_ROOT = "root"


class SetupError(Exception):
    """A step failed for a reason that is not an errno."""


class CannotMap(Exception):
    """The kernel, or a layer's file system, has no id-mapped mounts; the text names the layer."""


class Stage:
    """Names the step that is under way, for the report when it fails; keeps what is to be said."""

    def __init__(self) -> None:
        self.step = "begin"
        self.notices: list[str] = []


def open_sources(
    items: list[Mount], userns: int, stage: Stage, *, id_base: int = 0, partner: int = 0
) -> dict[str, int]:
    """Detached copies of all host directories and files that `items` name.

    By the number of the item; an overlay's layers by "item.layer", the last is its writable one.
    `userns` -1 leaves ids as they are. `id_base` owns the devices, `partner` is the process
    whose IPC namespace is shared. Raises CannotMap for a layer.
    """
    trees: dict[str, int] = {}
    for number, item in enumerate(items):
        match item["kind"]:
            case "overlay":
                for layer, path in enumerate((*item["lower"], os.path.dirname(item["upper"]))):
                    stage.step = f"open layer {path}"
                    trees[f"{number}.{layer}"] = _layer(path, userns)
            case "directory":
                stage.step = f"open {item['source']}"
                trees[f"{number}"] = _layer(item["source"], userns)
            case "bind" | "volume":
                stage.step = f"mount {item['source']} at {item['target']}"
                try:
                    trees[f"{number}"] = _host_tree(item, userns, stage)
                except FileNotFoundError:
                    if not item.get("optional"):
                        raise
            case "node":
                stage.step = f"device {item['source']}"
                trees[f"{number}"] = mounts.open_tree(item["source"])
            case "devices":
                stage.step = "make devices"
                trees[f"{number}"] = special.open_devices(item, id_base)
            case "shared":
                stage.step = f"open {item['target']} of the other container"
                trees[f"{number}"] = special.open_shared(item["target"], partner)
    return trees


def _layer(path: str, userns: int) -> int:
    """EINVAL, EOPNOTSUPP, EPERM: this file system (or, for all of them, a kernel before 5.12)
    has no id-mapped mounts."""
    tree = mounts.open_tree(path)
    try:
        _map(tree, userns, path)
    except OSError as error:
        os.close(tree)
        if error.errno not in _NO_ID_MAPS:
            raise
        raise CannotMap(
            f"this kernel or the file system of {path} has no id-mapped mounts"
        ) from None
    return tree


def _map(tree: int, userns: int, path: str, propagation: int = mounts.MS_PRIVATE) -> None:
    """Id-map a detached copy, and take it out of its original's peer group: what a container
    mounts below a copy must not appear on the host, nor the other way round."""
    if userns >= 0 or propagation:
        mounts.mount_setattr(tree, userns=userns, propagation=propagation, what=path)


def _host_tree(item: Mount, userns: int, stage: Stage) -> int:
    source, recursive = item["source"], item.get("recursive", False)
    # A file is as good a source as a directory: only what is missing is made.
    if item.get("create") and not os.path.lexists(source):
        os.makedirs(source, exist_ok=True)
    if subpath := item.get("subpath"):
        # Resolved before it is copied: parts of a detached mount cannot be before Linux 6.15.
        top = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        inner = files.open_in_root(top, subpath)
        tree = mounts.open_tree("", at=inner, recursive=recursive)
        os.close(inner)
        os.close(top)
    else:
        tree = mounts.open_tree(source, recursive=recursive)
    propagation = _PROPAGATION[item.get("propagation", "rprivate").removeprefix("r")]
    if propagation:
        mounts.mount_setattr(tree, propagation=propagation, recursive=recursive, what=source)
    if userns >= 0 and not item.get("plain"):
        _map_bind(tree, userns, source, recursive, stage)
    if item.get("read_only") and not item.get("copy"):  # else it is filled first
        mounts.mount_setattr(
            tree, set_attributes=mounts.MOUNT_ATTR_RDONLY, recursive=recursive, what=source
        )
    return tree


def _map_bind(tree: int, userns: int, source: str, recursive: bool, stage: Stage) -> None:
    """Id-map what can be; what cannot is said: its files have owners that the container lacks."""
    for deep in (True, False) if recursive else (False,):
        try:
            mounts.mount_setattr(tree, userns=userns, recursive=deep, what=source)
        except OSError as error:
            if error.errno not in _NO_ID_MAPS:
                raise
            continue
        if recursive and not deep:
            stage.notices.append(
                f"{source}: a file system mounted below it has no id-mapped mounts; its files"
                " belong to nobody in the container"
            )
        return
    stage.notices.append(
        f"{source}: its file system has no id-mapped mounts; its files belong to nobody in the"
        " container (`userns_mode: host` does without)"
    )


def attach_again(pidfd: int, userns: int, item: Mount) -> None:
    """Mount what the host has as `source` by now where the running container of `pidfd` has a
    socket that is no more: a socket is mounted, not its name.

    As the host's root, from the host's mount namespace; ends in the container's. Links that
    the container has made lead nowhere but to what is its own.
    """
    tree, target = _host_tree(item, userns, Stage()), item["target"]
    descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    process.setns(pidfd, process.CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    place = files.open_in_root(root, target)
    status = os.fstat(place)
    if stat.S_ISSOCK(status.st_mode) and not status.st_nlink:
        # Nothing can be mounted on what has been unlinked, and nobody else unlinks a mount's root.
        os.fchdir(descriptors)
        mounts.umount2(str(place), mounts.MNT_DETACH)
        os.close(place)
        place = files.open_in_root(root, target)
    mounts.move_mount(tree, place, target)
    for fd in (place, root, descriptors, tree):
        os.close(fd)


def perform(items: list[Mount], trees: dict[str, int], stage: Stage) -> int:
    """Build the root below the working directory; a descriptor of it.

    Expects to be alone in a mount namespace of its own, and in a directory that
    may be mounted over (it was entered by the host's root: here its path may
    not be searchable any more).
    """
    stage.step = "make mounts private"
    mounts.mount("none", "/", "", mounts.MS_REC | mounts.MS_PRIVATE)
    stage.step = "mount a staging area"
    staging = mounts.new_mount("tmpfs", (("mode", "0700"), ("size", "1m")))
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    mounts.move_mount(staging, here)
    os.fchdir(staging)
    os.close(staging)
    os.close(here)
    os.mkdir(_ROOT)
    root = null = -1
    for number, item in enumerate(items):
        stage.step = f"mount {item.get('target', '')}"
        match item["kind"]:
            case "overlay":
                _overlay(number, item, trees, _place(root, item))
            case "directory":
                fd = os.open(_place(root, item), os.O_PATH | os.O_CLOEXEC)
                mounts.move_mount(trees[f"{number}"], fd)
            case "aside":
                _aside(root, item)
            case "bind" | "node" | "shared":
                if f"{number}" in trees:
                    _attach(root, trees[f"{number}"], item["target"])
            case "devices":
                special.attach_devices(root, trees[f"{number}"], item)
            case "hostdevices":
                special.host_devices(root, item)
            case "cgroups":
                special.control_groups(root, item)
            case "volume":
                _volume(root, trees[f"{number}"], item)
            case "fs":
                _new(root, item)
            case "symlink":
                _symlink(root, item)
            case "mask":
                null = _mask(root, item["target"], null)
            case "readonly":
                _read_only(root, item["target"])
            case kind:
                raise SetupError(f"unknown mount {kind}")
        if root < 0:
            root = os.open(_ROOT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if null >= 0:
        os.close(null)
    return root


def enter(root: int, *, read_only: bool, stage: Stage) -> None:
    """Make `root` the root directory and let go of the host's."""
    stage.step = "enter the root"
    if read_only:
        mounts.mount_setattr(root, set_attributes=mounts.MOUNT_ATTR_RDONLY, what="/")
    os.fchdir(root)
    # Both on one directory: the old root ends up on top of the new one and is peeled off
    # (man 2 pivot_root), so that the image needs no directory for it.
    mounts.pivot_root(".", ".")
    mounts.umount2(".", mounts.MNT_DETACH)
    os.chdir("/")


def _directory(root: int, target: str) -> str:
    fd = files.make_directories(root, target)
    return f"/proc/self/fd/{fd}"


def _place(root: int, item: Mount) -> str:
    """Where a part of the root comes, or of what is put together beside it."""
    if aside := item["aside"]:
        if item["target"] == "/":
            os.mkdir(aside)
            return str(aside)
        # Never closed, as all that _directory opens: the process becomes another.
        root = os.open(aside, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return _ROOT if root < 0 else _directory(root, item["target"])


def _aside(root: int, item: Mount) -> None:
    top = os.open(item["aside"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    inner = files.open_in_root(top, item["subpath"] or "/")
    tree = mounts.open_tree("", at=inner, recursive=True)
    mounts.mount_setattr(tree, set_attributes=mounts.MOUNT_ATTR_RDONLY, recursive=True)
    os.close(inner)
    os.close(top)
    _attach(root, tree, item["target"])


def _overlay(number: int, item: Mount, trees: dict[str, int], target: str) -> None:
    """Mount one overlay from id-mapped layers.

    The layers are attached in the staging area first: overlay refuses layers on
    detached mounts before Linux 6.15, and names of the staging area keep the
    option string short (mount(2) takes one page).
    """
    names = []
    for layer, path in enumerate((*item["lower"], os.path.dirname(item["upper"]))):
        name = f"{number}.{layer}"
        os.mkdir(name)
        fd = os.open(name, os.O_PATH | os.O_CLOEXEC)
        mounts.move_mount(trees[name], fd, path)
        os.close(fd)
        os.close(trees[name])
        names.append(name)
    upper = f"{names[-1]}/{os.path.basename(item['upper'])}"
    work = f"{names[-1]}/{os.path.basename(item['work'])}"
    options = f"lowerdir={':'.join(names[:-1])},upperdir={upper},workdir={work},userxattr"
    mounts.mount("overlay", target, "overlay", 0, options)


def _attach(root: int, tree: int, target: str) -> None:
    """Attach `tree` at `target`, making an empty file or directory to put it on."""
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        try:
            fd = files.make_directories(root, target)
        except NotADirectoryError:
            text = "a directory is to be mounted where a file is"
            raise NotADirectoryError(errno.ENOTDIR, text) from None
    else:
        fd = files.make_file(root, target)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise IsADirectoryError(errno.EISDIR, "a file is to be mounted where a directory is")
    mounts.move_mount(tree, fd, target)
    os.close(fd)
    os.close(tree)


def _new(root: int, item: Mount) -> None:
    fd = files.make_directories(root, item["target"])
    if item.get("kernel"):
        _expect_plain_directory(root, item["target"], fd)
    try:
        tree = mounts.new_mount(item["fstype"], tuple(item["options"]), item.get("attributes", 0))
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EPERM) and item.get("optional"):
            os.close(fd)
            return
        if error.errno != errno.EPERM or not item.get("kernel"):
            raise
        tree = _refused(item)
    mounts.move_mount(tree, fd, item["target"])
    os.close(fd)
    os.close(tree)


def _refused(item: Mount) -> int:
    """The kernel gives no new instance of what is partly hidden here (mount_too_revealing in
    fs/namespace.c): we are in a sandbox."""
    if item["fstype"] == "sysfs":
        # What is hidden from us stays hidden in a copy.
        tree = mounts.open_tree("/sys", recursive=True)
        mounts.mount_setattr(
            tree,
            set_attributes=mounts.MOUNT_ATTR_RDONLY,
            propagation=mounts.MS_PRIVATE,
            recursive=True,
        )
        return tree
    raise SetupError(
        f"this sandbox hides parts of {item['target']}, and then lets no user namespace mount"
        " a new one: let it show all of it, or use `userns_mode: host`"
    )


def _expect_plain_directory(root: int, target: str, fd: int) -> None:
    """/proc, /sys and /dev must be what they seem: an image that links them elsewhere would
    have our writes below them land there (CVE-2019-19921, CVE-2026-41579)."""
    plain = files.openat2(
        root,
        target,
        os.O_PATH | os.O_DIRECTORY,
        0,
        files.RESOLVE_IN_ROOT | files.RESOLVE_NO_SYMLINKS,
    )
    same = os.fstat(plain).st_ino == os.fstat(fd).st_ino
    os.close(plain)
    if not same:
        raise SetupError(f"{target} is a symbolic link in the image")


def _symlink(root: int, item: Mount) -> None:
    parent, _, name = item["target"].rpartition("/")
    fd = files.make_directories(root, parent or "/")
    try:
        os.symlink(item["to"], name, dir_fd=fd)
    except FileExistsError:
        pass
    os.close(fd)


def _mask(root: int, target: str, null: int) -> int:
    """Hide `target`: an empty read-only directory, or the null device over a file.

    `null` is that device, if it was needed before (-1: not yet); gives it back.
    """
    try:
        fd = files.open_in_root(root, target)
    except (FileNotFoundError, NotADirectoryError):
        return null
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        tree = mounts.new_mount("tmpfs", (("size", "0"),), mounts.MOUNT_ATTR_RDONLY)
    else:
        null = null if null >= 0 else _null_device(root)
        tree = mounts.open_tree("", at=null)
    mounts.move_mount(tree, fd, target)
    os.close(tree)
    os.close(fd)
    return null


def _null_device(root: int) -> int:
    """What the image calls /dev/null may be something else (CVE-2025-31133)."""
    fd = files.open_in_root(root, "/dev/null")
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise SetupError("/dev/null is not the null device")
    return fd


def _read_only(root: int, target: str) -> None:
    try:
        fd = files.open_in_root(root, target)
    except (FileNotFoundError, NotADirectoryError):
        return
    tree = mounts.open_tree("", at=fd, recursive=True)
    mounts.mount_setattr(tree, set_attributes=mounts.MOUNT_ATTR_RDONLY, recursive=True)
    mounts.move_mount(tree, fd, target)
    os.close(tree)
    os.close(fd)


def _volume(root: int, tree: int, item: Mount) -> None:
    if item.get("copy"):
        copyup.fill(root, tree, item["target"], fresh=item["fresh"])
        if item.get("read_only"):
            mounts.mount_setattr(tree, set_attributes=mounts.MOUNT_ATTR_RDONLY)
    _attach(root, tree, item["target"])
