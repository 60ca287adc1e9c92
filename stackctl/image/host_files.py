"""What of the host's /etc and /var the built-in image shows, as skeleton entries.

Three rules, so that no secret of the machine can slip in:

1. A configuration file is taken when it is, byte for byte, what its package
   shipped (dpkg records the hashes). What an administrator wrote, passwords
   included, differs and stays out.
2. Files that no package ships but every program needs (nsswitch.conf,
   ld.so.cache, certificates, ...) come from a short list, and only when everybody
   may read them. Of certificates only public ones.
3. A symlink is taken when it leads into /usr or to something that was taken.

/var and /run hold empty directories only: those of packages, with the owner and
mode they have on the host.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from stackctl.image.host_accounts import Accounts, accounts, is_system
from stackctl.image.skeleton import Directory, Entry, File, Link, ordered

#: Generated or hand-installed, public, and needed: below /etc; a trailing slash takes the tree.
_GENERATED = (
    *("nsswitch.conf", "host.conf", "gai.conf", "networks", "services", "protocols", "rpc"),
    *("ethertypes", "ld.so.conf", "ld.so.conf.d/", "ld.so.cache", "localtime", "timezone"),
    *("os-release", "debian_version", "lsb-release", "redhat-release", "system-release"),
    *("issue", "issue.net", "profile", "bash.bashrc", "bashrc", "inputrc", "login.defs"),
    *("shells", "locale.alias", "locale.conf", "default/locale", "mime.types", "magic"),
    *("magic.mime", "xattr.conf", "pam.conf", "pam.d/", "terminfo/", "skel/"),
    *("ca-certificates.conf", "ssl/openssl.cnf", "ssl/certs/", "pki/tls/certs/"),
    *("pki/tls/openssl.cnf", "pki/ca-trust/extracted/", "crypto-policies/"),
)

#: Of the machine as a machine (booting, jobs, other engines): no use in a container.
_OF_THE_MACHINE = (
    *("apparmor.d", "apt", "cni", "containerd", "containers", "cron.*", "cron*", "dbus-1"),
    *("default/grub*", "docker", "dpkg", "fstab", "grub.d", "init", "init.d", "initramfs-tools"),
    *("kernel", "logrotate.d", "machine-id", "modprobe.d", "modules-load.d", "polkit-1"),
    *("rc?.d", "ssh", "ssl/private", "sudoers*", "sysctl.d", "systemd", "udev", "ufw"),
    *("update-motd.d", "subuid", "subgid", "hosts", "hostname", "resolv.conf", "mtab"),
    *("shadow*", "gshadow*", "passwd*", "group*", "environment"),
)
_LEFT_OUT = re.compile("etc/(?:" + "|".join(fnmatch.translate(p) for p in _OF_THE_MACHINE) + ")")

#: Larger is no configuration.
_LARGEST = 4 << 20

#: Directories of /var whose packages' subdirectories are shown empty.
_VAR = ("cache", "lib", "log", "mail", "opt", "spool", "www")

_TMPFILES = re.compile(r"^[dD][-+=^~$]*\s+(/(?:var|run)/\S+)\s+:?~?([0-7]{3,4}|-)\s+(\S+)\s+(\S+)")


def entries(host: Path) -> tuple[Entry, ...]:
    """Everything of the skeleton root of an image that shows `host` ("/")."""
    known = accounts(_text(host / "etc/passwd"), _text(host / "etc/group"))
    return ordered(
        [
            *_frame(),
            *_top_level(host),
            *_var_directories(host),
            *_tmpfiles(host, known),
            *_etc(host, known),
        ]
    )


def looked_at(host: Path) -> Iterator[str]:
    """A line for all that decides about the entries, from lstat alone: a signature's input."""
    for name in top_level_names(host):
        link = host / name
        yield f"{name} {link.readlink() if link.is_symlink() else ''}"
    for path, status in _walk(host, "etc"):
        yield f"{path} {_traits(status)}"
    for path in ("etc/passwd", "etc/group", "var/lib/dpkg/status", "usr/lib/tmpfiles.d"):
        try:
            yield f"{path} {_traits((host / path).lstat())}"
        except OSError:
            continue
    for name in _VAR:
        for path, status in _children(host, f"var/{name}"):
            yield f"{path} {status.st_mode} {status.st_uid} {status.st_gid}"


def _traits(status: os.stat_result) -> str:
    return (
        f"{status.st_mode} {status.st_uid} {status.st_gid}"
        f" {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    )


def _frame() -> Iterator[Entry]:
    for path in ("boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys"):
        yield Directory(path)
    yield Directory("root", 0o700)
    yield Directory("tmp", 0o1777)
    yield Directory("run/lock", 0o1777)
    yield Directory("usr")
    for path in ("var", "var/backups", "var/cache", "var/lib", "var/log", "var/opt", "var/spool"):
        yield Directory(path)
    yield Directory("var/tmp", 0o1777)
    yield Directory("var/local", 0o2775, 0, 50)
    yield Directory("var/mail", 0o2775, 0, 8)
    yield Link("var/run", "/run")
    yield Link("var/lock", "/run/lock")
    yield Link("var/spool/mail", "../mail")


def _top_level(host: Path) -> Iterator[Entry]:
    """/bin, /lib, ... as the host has them: links into /usr, or places to mount on."""
    for name in top_level_names(host):
        path = host / name
        yield Link(name, str(path.readlink())) if path.is_symlink() else Directory(name)


def top_level_names(host: Path) -> list[str]:
    names = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
    return [name for name in names if os.path.lexists(host / name)]


def _var_directories(host: Path) -> Iterator[Entry]:
    """Directories of packages, and those whose owner is a system account; never what is in them."""
    found = {path for path in _package_paths(host) if path.split("/")[1] in _VAR}
    for name in _VAR:
        for path, status in _subdirectories(host, f"var/{name}"):
            if status.st_uid or status.st_gid:
                found.add(path)
    for path in sorted(found):
        try:
            status = os.lstat(host / path)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield _directory(path, status)


def _subdirectories(host: Path, top: str) -> Iterator[tuple[str, os.stat_result]]:
    """One level, and a second below directories of root's: what an account owns is its own."""
    for path, status in _children(host, top):
        yield path, status
        if status.st_uid == 0 and status.st_mode & stat.S_IROTH:
            yield from _children(host, path)


def _children(host: Path, top: str) -> list[tuple[str, os.stat_result]]:
    try:
        found = [(f"{top}/{entry.name}", entry) for entry in os.scandir(host / top)]
    except OSError:
        return []
    return [
        (path, entry.stat(follow_symlinks=False))
        for path, entry in found
        if entry.is_dir(follow_symlinks=False)
    ]


def _package_paths(host: Path) -> set[str]:
    """Paths below /var that dpkg's packages brought, relative to the host's root."""
    paths: set[str] = set()
    for file in os.scandir(host / "var/lib/dpkg/info") if _is_dpkg(host) else ():
        if file.name.endswith(".list"):
            listed = Path(file.path).read_bytes()
            # Most packages have nothing there, and the lists are long.
            if b"\n/var/" in listed:
                paths.update(
                    line[1:].decode(errors="replace")
                    for line in listed.splitlines()
                    if line.startswith(b"/var/") and line.count(b"/") > 2
                )
    return paths


def _is_dpkg(host: Path) -> bool:
    return (host / "var/lib/dpkg/info").is_dir()


def _tmpfiles(host: Path, known: Accounts) -> Iterator[Entry]:
    """Directories that packages want made at boot (tmpfiles.d(5)), e.g. /run/postgresql."""
    for file in sorted((host / "usr/lib/tmpfiles.d").glob("*.conf")):
        for line in _text(file).splitlines():
            found = _TMPFILES.match(line)
            if not found or "%" in found[1]:
                continue
            path = posixpath.normpath(found[1]).replace("/var/run/", "/run/", 1).lstrip("/")
            user, group = (name.lstrip(":") for name in (found[3], found[4]))
            if path.startswith(("run/systemd", "run/user", "run/lock", "var/lib/systemd")):
                continue
            if user not in (*known.uids, "-", "root") or group not in (*known.gids, "-", "root"):
                continue
            mode = 0o755 if found[2] == "-" else int(found[2], 8)
            yield Directory(path, mode, known.uids.get(user, 0), known.gids.get(group, 0))


def _etc(host: Path, known: Accounts) -> Iterator[Entry]:
    taken: dict[str, Entry] = {}
    links: list[Link] = []
    shipped = _shipped(host)
    for path, status in _walk(host, "etc"):
        name = path.removeprefix("etc/")
        if stat.S_ISLNK(status.st_mode):
            links.append(Link(path, str((host / path).readlink())))
        elif stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST:
            content = _wanted(host / path, name, status, shipped.get(f"/{path}"))
            if content is not None:
                taken[path] = _file(path, content, status)
                for directory in _above(host, path):
                    taken.setdefault(directory.path, directory)
    yield from taken.values()
    yield from _links(links, set(taken))
    yield File("etc/passwd", known.passwd.encode())
    yield File("etc/group", known.group.encode())
    yield Link("etc/mtab", "/proc/mounts")
    # Filled (or mounted over) for every container.
    for name in ("hostname", "hosts", "resolv.conf"):
        yield File(f"etc/{name}", b"")


def _wanted(path: Path, name: str, status: os.stat_result, shipped: str | None) -> bytes | None:
    """The content when the file may be shown."""
    generated = any(
        name.startswith(wanted) if wanted.endswith("/") else name == wanted for wanted in _GENERATED
    )
    if not shipped and not (generated and status.st_mode & stat.S_IROTH):
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    # dpkg records MD5; it says "as shipped", nobody is kept out by it.
    if shipped and hashlib.md5(content, usedforsecurity=False).hexdigest() == shipped:
        return content
    if not generated or not status.st_mode & stat.S_IROTH or b"PRIVATE KEY" in content:
        return None
    return content


def _shipped(host: Path) -> dict[str, str]:
    """Configuration files of dpkg's packages -> MD5 as shipped; empty on other distributions."""
    text = _text(host / "var/lib/dpkg/status")
    return dict(re.findall(r"^ (/etc/\S+) ([0-9a-f]{32})(?: obsolete)?$", text, re.MULTILINE))


def _links(links: Iterable[Link], taken: set[str]) -> Iterator[Link]:
    """Those that lead somewhere that is there, until no further one does."""
    waiting = list(links)
    while True:
        found = [link for link in waiting if _leads_somewhere(link, taken)]
        if not found:
            return
        yield from found
        taken.update(link.path for link in found)
        waiting = [link for link in waiting if link.path not in taken]


def _leads_somewhere(link: Link, taken: set[str]) -> bool:
    target = posixpath.normpath(posixpath.join("/", posixpath.dirname(link.path), link.target))
    inside = target.lstrip("/")
    return inside in taken or inside.split("/")[0] in ("usr", "bin", "sbin", "lib", "lib64", "proc")


def _walk(host: Path, top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files and links below `top` that are not left out, in any order."""
    try:
        found = sorted(os.scandir(host / top), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        path = f"{top}/{entry.name}"
        if _LEFT_OUT.match(path):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(host, path)
        else:
            yield path, entry.stat(follow_symlinks=False)


def _above(host: Path, path: str) -> Iterator[Directory]:
    while (path := posixpath.dirname(path)) not in ("", "etc"):
        yield _directory(path, os.lstat(host / path))


def _directory(path: str, status: os.stat_result) -> Directory:
    uid, gid = _owner(status)
    return Directory(path, stat.S_IMODE(status.st_mode), uid, gid)


def _file(path: str, content: bytes, status: os.stat_result) -> File:
    uid, gid = _owner(status)
    # No set-id bits: nothing in /etc has a use for them.
    return File(path, content, stat.S_IMODE(status.st_mode) & 0o777, uid, gid)


def _owner(status: os.stat_result) -> tuple[int, int]:
    """A person's file becomes root's: that person is not known inside."""
    uid, gid = status.st_uid, status.st_gid
    return (uid if is_system(uid) else 0, gid if is_system(gid) else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
