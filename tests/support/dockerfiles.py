"""Dockerfiles that stackctl and buildah both build: each covers an instruction or a rule.

Every case is (name, Dockerfile, arguments). The context is made by `make_context`; `base`
is an image of a small root: busybox, /etc/passwd with app (1000:1001), /etc/group.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

BASE = """\
FROM scratch
ADD root.tar /
ENV PATH=/usr/bin:/bin BASE=1
CMD ["sh"]
"""

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "copy-file": (
        "FROM base\nCOPY a.txt /new/dir/b.txt\nCOPY a.txt /opt/\nCOPY a.txt /opt/c\n",
        (),
    ),
    "copy-directory": ("FROM base\nCOPY tree /srv\nCOPY tree /srv/again/\n", ()),
    "copy-glob": ("FROM base\nCOPY *.txt tree/[xy] /g/\n", ()),
    "copy-json": ('FROM base\nCOPY ["with space", "/a b/c d"]\n', ()),
    "copy-chown": (
        "FROM base\nCOPY --chown=app a.txt /1\nCOPY --chown=app:tty tree /2/\n"
        "COPY --chown=7:8 a.txt /3\n",
        (),
    ),
    "copy-chmod": ("FROM base\nCOPY --chmod=640 a.txt run.sh /m/\n", ()),
    "copy-onto-link": ("FROM base\nRUN mkdir /real && ln -s real /way\nCOPY a.txt /way/x\n", ()),
    "copy-over-file": ("FROM base\nCOPY a.txt /etc/motd\nCOPY b.txt /etc/motd\n", ()),
    "copy-relative": ("FROM base\nWORKDIR /w/x\nCOPY a.txt .\nCOPY b.txt sub/\n", ()),
    "copy-ignored": ("FROM base\nCOPY . /all/\n", ()),
    "copy-from-stage": (
        "FROM base AS one\nRUN mkdir /o && echo 1 > /o/f && chown 5:6 /o/f && chmod 4711 /o/f\n"
        "FROM base\nCOPY --from=one /o /p/\nCOPY --from=0 /o/f /q\n",
        (),
    ),
    "copy-from-image": ("FROM scratch\nCOPY --from=base /etc/passwd /etc/passwd\n", ()),
    "add-file": ("FROM base\nADD a.txt tree /x/\n", ()),
    "add-archive": ("FROM base\nADD files.tar.gz /t/\nADD files.tar.gz /etc/\n", ()),
    "add-compressed-file": ("FROM base\nADD plain.gz /z/\n", ()),
    "run-shell": ("FROM base\nRUN echo $BASE > /f && mkdir -p /d/e && chmod 700 /d\n", ()),
    "run-exec": ('FROM base\nRUN ["sh", "-c", "echo $0 > /x", "zero"]\n', ()),
    "run-removes": (
        "FROM base\nRUN echo 1 > /one && mkdir /two && echo 2 > /two/f\n"
        "RUN rm /one && rm -r /two && rm /etc/motd && mkdir /two && echo n > /two/n\n",
        (),
    ),
    "run-renames": ("FROM base\nRUN mv /etc/motd /etc/motto && mv /usr/share /usr/shared\n", ()),
    "run-links": ("FROM base\nRUN echo a > /a && ln /a /b && ln -s /nowhere /c && mkfifo /p\n", ()),
    "run-continued": ("FROM base\nRUN echo \\\n# no\n  a \\\n  b > /f\n", ()),
    "user": (
        "FROM base\nUSER app\nRUN id -u > /tmp/u; id -g > /tmp/g\nUSER 7:8\nRUN id -u > /tmp/7\n",
        (),
    ),
    "workdir": ("FROM base\nWORKDIR /a\nWORKDIR b/../c\nRUN pwd > f\nENV D=/d\nWORKDIR $D/e\n", ()),
    "env": (
        'FROM base\nENV A=1 B="two words" C=it\\\'s\nENV D old form $A\nENV A=2 E=$A\n'
        "RUN env | grep -E '^[A-E]=' | sort > /env\n",
        (),
    ),
    "expansion": (
        "FROM base\nENV V=value EMPTY=\nENV A=${V:-no} B=${NONE:-dflt} C=${V:+set} D=${EMPTY:-e}\n"
        "WORKDIR /${V}/$A\nCOPY a.txt ${V}.txt\nLABEL l=${V}-x\n",
        (),
    ),
    "arg": (
        "ARG TAG=base\nFROM $TAG\nARG WHO=nobody\nARG GIVEN\nARG TAG\n"
        "RUN echo $WHO $GIVEN $TAG > /args\nENV SEEN=$GIVEN\n",
        ("GIVEN=yes",),
    ),
    "label": ('FROM base\nLABEL a=1 "b c"="d e"\nLABEL a=2 long="x \\\n y"\n', ()),
    "expose": ("FROM base\nARG P=90\nEXPOSE 80 53/udp $P\n", ()),
    "volume": ('FROM base\nVOLUME /data\nVOLUME ["/more", "/most"]\n', ()),
    "cmd": ("FROM base\nCMD echo $BASE\n", ()),
    "cmd-exec": ('FROM base\nCMD ["a", "b c"]\n', ()),
    "entrypoint": ('FROM base\nENTRYPOINT ["/run.sh", "x"]\n', ()),
    "entrypoint-and-cmd": ('FROM base\nCMD ["y"]\nENTRYPOINT ["/run.sh"]\n', ()),
    "shell": ('FROM base\nSHELL ["/bin/sh", "-ec"]\nRUN echo $- > /flags\n', ()),
    "stopsignal": ("FROM base\nSTOPSIGNAL SIGQUIT\n", ()),
    "healthcheck": (
        "FROM base\nHEALTHCHECK --interval=1m30s --timeout=3s --start-period=2s --retries=4 "
        "CMD wget -q localhost\n",
        (),
    ),
    "healthcheck-none": ("FROM base\nHEALTHCHECK NONE\n", ()),
    "maintainer": ("FROM base\nMAINTAINER Some One <one@example.org>\n", ()),
    "onbuild": ("FROM base\nONBUILD RUN echo later > /later\nONBUILD ENV L=1\n", ()),
    "stages": (
        "FROM base AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM base AS unused\n"
        "RUN false\nFROM b\nCOPY --from=a /a /from-a\n",
        (),
    ),
    "from-scratch": ('FROM scratch\nCOPY a.txt /\nENTRYPOINT ["/a.txt"]\n', ()),
    "run-mount-cache": (
        "FROM base\nRUN --mount=type=cache,target=/c echo x > /c/f && ls /c > /seen\n",
        (),
    ),
    "run-mount-bind": (
        "FROM base\nRUN --mount=type=bind,source=tree,target=/t cat /t/x > /copy\n",
        (),
    ),
    "run-mount-tmpfs": ("FROM base\nRUN --mount=type=tmpfs,target=/t echo 1 > /t/f\n", ()),
}


def make_context(place: Path, busybox: str) -> None:
    """Every file has a time that does not change: archives are the same each time."""
    (place / "tree/sub").mkdir(parents=True)
    (place / "a.txt").write_text("a\n")
    (place / "b.txt").write_text("b\n")
    (place / "with space").write_text("s\n")
    (place / "tree/x").write_text("x\n")
    (place / "tree/y").write_text("y\n")
    (place / "tree/sub/deep").write_text("deep\n")
    (place / "tree/sub").chmod(0o750)
    (place / "tree/x").chmod(0o600)
    (place / "tree/link").symlink_to("x")
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    (place / "skip.log").write_text("skipped\n")
    (place / "keep.log").write_text("kept\n")
    (place / "out").mkdir()
    (place / "out/inner").write_text("no\n")
    (place / ".dockerignore").write_text("*.log\n!keep.log\nout\n**/deep\n*.tar*\n!files.tar.gz\n")
    _files_archive(place / "files.tar.gz")
    import gzip

    with (place / "plain.gz").open("wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        packed.write(b"not an archive\n")


def make_base(place: Path, busybox: str) -> None:
    """A context with root.tar, the root that all cases begin from."""
    place.mkdir()
    with tarfile.open(place / "root.tar", "w") as tar:
        for name in ("bin", "etc", "usr", "usr/bin", "usr/share", "tmp", "root"):
            _add(tar, name, tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        _add(tar, "bin/busybox", content=Path(busybox).read_bytes(), mode=0o755)
        for (
            name
        ) in "sh cat chmod chown echo env grep id ln ls mkdir mkfifo mv pwd rm sleep sort".split():  # noqa: SIM905
            _add(tar, f"bin/{name}", tarfile.SYMTYPE, link="busybox")
        _add(tar, "usr/share/doc", content=b"doc\n")
        _add(tar, "etc/motd", content=b"hello\n")
        _add(tar, "etc/passwd", content=b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n")
        _add(tar, "etc/group", content=b"root:x:0:\napp:x:1001:\ntty:x:5:\n")
        for name in ("etc/hosts", "etc/resolv.conf", "etc/hostname"):
            _add(tar, name, content=b"")


def _files_archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        _add(tar, "f/one", content=b"1\n", mode=0o640, owner=(3, 4))
        _add(tar, "f/two", tarfile.SYMTYPE, link="one")
        _add(tar, "three", tarfile.LNKTYPE, link="f/one", mode=0o640, owner=(3, 4))


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    content: bytes = b"",
    mode: int = 0o644,
    link: str = "",
    owner: tuple[int, int] = (0, 0),
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.mtime = kind, mode, link, 1_600_000_000
    entry.uid, entry.gid = owner
    entry.size = len(content) if kind == tarfile.REGTYPE else 0
    tar.addfile(entry, io.BytesIO(content))


def listing(root: Path) -> dict[str, str]:
    """Path -> kind, mode, owner, content, of a directory as it is on disk."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in sorted((*names, *files)):
            path = Path(directory) / name
            found[str(path.relative_to(root))] = describe(path)
    return found


def describe(path: Path) -> str:
    import stat

    status = path.lstat()
    kind = stat.filemode(status.st_mode)
    rest = ""
    if stat.S_ISLNK(status.st_mode):
        return f"link -> {path.readlink()} {status.st_uid}:{status.st_gid}"
    if stat.S_ISREG(status.st_mode):
        rest = path.read_bytes()[:200].decode("utf-8", "replace")
    return f"{kind} {status.st_uid}:{status.st_gid} {rest!r}"
