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

#: A case has as much as goes together: what it costs to begin and to look is buildah's most.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "copy": (
        """\
FROM base
COPY a.txt /new/dir/b.txt
COPY a.txt /opt/
COPY a.txt /opt/c
COPY tree /srv
COPY tree /srv/again/
COPY *.txt tree/[xy] /g/
COPY ["with space", "/a b/c d"]
COPY --chown=app a.txt /1
COPY --chown=app:tty tree /2/
COPY --chown=7:8 a.txt /3
COPY --chmod=640 a.txt run.sh /m/
COPY . /all/
""",
        (),
    ),
    "copy-onto-what-is-there": (
        """\
FROM base
RUN mkdir /real && ln -s real /way && mkdir /file && ln -s /etc/motd /link
COPY a.txt /way/x
COPY a.txt /etc/motd
COPY b.txt /etc/motd
COPY b.txt /file
WORKDIR /w/x
COPY a.txt .
COPY b.txt sub/
""",
        (),
    ),
    "copy-from": (
        """\
FROM base AS one
RUN mkdir /o && echo 1 > /o/f && chown 5:6 /o/f && chmod 4711 /o/f && ln /o/f /o/g
RUN ln -s f /o/s && mkdir /o/d && chmod 1775 /o/d
FROM base
COPY --from=one /o /p/
COPY --from=0 /o/f /q
COPY --from=one --chown=9:9 /o/f /r
COPY --from=base /etc/passwd /etc/group /accounts/
""",
        (),
    ),
    "add": (
        """\
FROM base
ADD a.txt tree /x/
ADD files.tar.gz /t/
ADD files.tar.gz /etc/
ADD plain.gz /z/
ADD --chown=3:4 a.txt /y/
""",
        (),
    ),
    "run": (
        """\
FROM base
RUN echo $BASE > /f && mkdir -p /d/e && chmod 700 /d
RUN ["sh", "-c", "echo $0 > /x", "zero"]
RUN echo \\
# no
  a \\
  b > /g
RUN echo a > /a && ln /a /b && ln -s /nowhere /c && mkfifo /p
""",
        (),
    ),
    "run-changes": (
        """\
FROM base
RUN echo 1 > /one && mkdir /two && echo 2 > /two/f
RUN rm /one && rm -r /two && rm /etc/motd && mkdir /two && echo n > /two/n
RUN mv /etc/group /etc/groups && mv /usr/share /usr/shared
RUN rm -r /two && echo file > /two && chmod 600 /etc/passwd && chown 1:2 /root
""",
        (),
    ),
    "run-mounts": (
        """\
FROM base
RUN --mount=type=cache,target=/c echo x > /c/f && ls /c > /seen
RUN --mount=type=bind,source=tree,target=/t cat /t/x > /copy
RUN --mount=type=tmpfs,target=/t echo 1 > /t/f
RUN --mount=type=cache,target=/c ls /c > /seen-again
""",
        (),
    ),
    "user-and-workdir": (
        """\
FROM base
WORKDIR /a
WORKDIR b/../c
RUN pwd > f
ENV D=/d
WORKDIR $D/e
USER app
RUN id -u > /tmp/u; id -g > /tmp/g
USER 7:8
RUN id -u > /tmp/7
""",
        (),
    ),
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
        "RUN echo $WHO $GIVEN $TAG > /args\nENV SEEN=$GIVEN\nCMD echo $SEEN\n",
        ("GIVEN=yes",),
    ),
    "config": (
        """\
FROM base
LABEL a=1 "b c"="d e"
LABEL a=2 long="x \\
 y"
ARG P=90
EXPOSE 80 53/udp $P
VOLUME /data
VOLUME ["/more", "/most"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=1m30s --timeout=3s --start-period=2s --retries=4 CMD wget -q localhost
MAINTAINER Some One <one@example.org>
CMD ["a", "b c"]
ENTRYPOINT ["/run.sh", "x"]
""",
        (),
    ),
    "shell": (
        'FROM base\nSHELL ["/bin/sh", "-ec"]\nRUN echo $- > /flags\nHEALTHCHECK NONE\n',
        (),
    ),
    "entrypoint-drops-the-bases-command": ('FROM base\nENTRYPOINT ["/run.sh", "x"]\n', ()),
    "onbuild": ("FROM base\nONBUILD RUN echo later > /later\nONBUILD ENV L=1\n", ()),
    "stages": (
        "FROM base AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM base AS unused\n"
        "RUN false\nFROM b\nCOPY --from=a /a /from-a\n",
        (),
    ),
    "from-scratch": (
        "FROM scratch\nCOPY a.txt /\nCOPY --from=base /etc/passwd /etc/passwd\n"
        'ENTRYPOINT ["/a.txt"]\n',
        (),
    ),
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
