"""What a build takes and gives besides Dockerfile and store: agents, repositories, services,
caches in registries, results as files; and equal steps that are done once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackctl.image.service import Images
from support.builds import build, document, small_context, text, with_base
from support.docker_registry import docker_registry
from support.engine import Engine
from support.web import web

pytestmark = pytest.mark.needs("root", "overlay", "userns", "cgroup", "program:busybox")


@pytest.fixture
def base(engine: Engine, tmp_path: Path) -> Engine:
    return with_base(engine, tmp_path)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return small_context(tmp_path)


@contextmanager
def agent(place: Path) -> Iterator[Path]:
    """Something that listens on a socket and greets, as HTTP so that curl can ask it."""
    said = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nagent\n"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        place.chmod(0o600)
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield place
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def repository(place: Path) -> str:
    """A Git repository in place/repo.git, to be had over plain HTTP; its commit."""
    work = place / "work"
    (work / "sub").mkdir(parents=True)
    (work / "sub/Dockerfile").write_text("FROM base\nCOPY g /g\nRUN cat /g > /seen\n")
    (work / "sub/g").write_text("from git\n")

    def git(*argv: str) -> str:
        flags = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        argv = ("git", *flags, "-C", str(work), *argv)
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    # A submodule, by an address relative to the repository's: another branch of its own.
    git("commit", "-q", "-m", "inner")
    git("branch", "inner")
    module = '[submodule "in"]\n\tpath = in\n\turl = ./\n\tbranch = inner\n'
    (work / "in").mkdir()
    (work / ".gitmodules").write_text(module)
    git("add", ".gitmodules")
    git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'inner')},in")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    (work / "sub/g").write_text("later\n")
    git("commit", "-q", "-am", "second")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(place / "repo.git")], check=True)
    subprocess.run(["git", "-C", str(place / "repo.git"), "update-server-info"], check=True)
    return git("rev-parse", "v1")


@pytest.mark.needs("program:curl")
def test_run_speaks_to_the_callers_agent_and_never_to_its_socket(
    engine: Engine, context: Path
) -> None:
    file = (
        "FROM stackctl/host\n"
        "RUN --mount=type=ssh,required curl -s --unix-socket $SSH_AUTH_SOCK http://a/ > /said\n"
        'RUN --mount=type=ssh,id=other echo "none: $SSH_AUTH_SOCK" > /other\n'
        "RUN --mount=type=ssh,target=/s,mode=0666,uid=7 stat -c %a:%u /s > /mode\n"
    )
    with agent(context.parent / "agent") as place:
        build(engine, context, file, "--ssh", f"default={place}")
        given = engine.run(
            *("image", "build", "-q", "--no-cache", "-f", str(context.parent / "Dockerfile")),
            *("--ssh", "default", str(context)),
            env={"SSH_AUTH_SOCK": str(place)},
        )
        assert given.code == 0, given.err
    assert text(engine, "said") == "agent\n"
    assert text(engine, "other") == "none: \n"
    assert text(engine, "mode") == "666:7\n"
    assert not (engine.paths.run / "build").exists() or not any(
        (engine.paths.run / "build").iterdir()
    )
    missing = build(engine, context, file, "--no-cache", code=1)
    assert "the agent 'default' was not given" in missing.err


@pytest.mark.needs("program:ssh-agent")
def test_keys_come_in_an_agent_of_the_build(engine: Engine, context: Path) -> None:
    key = context.parent / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    file = "FROM stackctl/host\nRUN --mount=type=ssh ssh-add -L > /keys\n"
    build(engine, context, file, "--ssh", f"default={key}")
    shown = (text(engine, "keys") or "").split()[:2]
    assert shown == key.with_name("key.pub").read_text().split()[:2]
    bad = context.parent / "bad"
    bad.write_text("no key\n")
    bad.chmod(0o600)
    refused = build(engine, context, file, "--no-cache", "--ssh", f"default={bad}", code=1)
    assert "--ssh default" in refused.err and "bad" in refused.err


def test_results_as_files(base: Engine, context: Path, tmp_path: Path) -> None:
    file = (
        "FROM base AS made\nRUN mkdir /o && echo 1 > /o/f && ln /o/f /o/g && ln -s f /o/l"
        " && chown 5:6 /o/f && chmod 640 /o/f\nFROM scratch\nCOPY --from=made /o /o\n"
    )
    out = tmp_path / "out"
    (out / "o").mkdir(parents=True)
    (out / "o/l").write_text("in the way\n")
    (out / "stays").write_text("stays\n")
    before = len(Images(base.paths).store.images())
    flags = [f"type=tar,dest={out}.tar", f"type=docker,dest={out}.docker,name=x:1"]
    flags += [f"type=oci,dest={out}.oci,tar=false"]
    words = [word for flag in flags for word in ("-o", flag)]
    (context.parent / "Dockerfile").write_text(file)
    plain = ("image", "build", "-q", "-f", str(context.parent / "Dockerfile"))
    base.ok(*plain, "-o", str(out), *words, str(context))
    assert (out / "o/f").read_text() == "1\n" and (out / "stays").exists()
    status = (out / "o/f").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o640, os.getuid())
    assert (out / "o/l").readlink() == Path("f")
    assert (out / "o/g").stat().st_ino == status.st_ino
    with tarfile.open(f"{out}.tar") as tar:
        found = {m.name: (m.mode, m.uid, m.gid) for m in tar.getmembers()}
        assert tar.getnames() == ["o", "o/f", "o/g", "o/l"]
    assert found["o/f"] == (0o640, 5, 6)
    with tarfile.open(f"{out}.docker") as tar:
        listed = tar.extractfile("manifest.json")
        assert listed is not None and json.load(listed)[0]["RepoTags"] == ["x:1"]
    # A layout is a context; nothing of all this is in the store but what is asked for.
    assert len(Images(base.paths).store.images()) == before
    flags = ["--build-context", f"lay=oci-layout://{out}.oci", "--metadata-file", f"{out}.json"]
    build(base, context, "FROM lay\nCOPY f /z\n", *flags)
    assert (text(base, "o/f"), text(base, "z")) == ("1\n", "one\n")
    assert (
        json.loads(Path(f"{out}.json").read_text())["containerimage.config.digest"]
        == (document(base)[0])
    )
    # So is a directory, for FROM as for COPY: its files alone.
    (out / ".dockerignore").write_text("stays\n")
    file = "FROM files AS a\nENV A=1\nFROM a\nCOPY --from=files o/f /y\n"
    for cached in (0, 2):
        shown = build(base, context, file, "--build-context", f"files={out}").err
        assert shown.count("CACHED") == cached
    assert (text(base, "o/f"), text(base, "y"), text(base, "stays")) == ("1\n", "1\n", None)
    assert "A=1" in document(base)[1]["config"]["Env"]


@pytest.mark.needs("program:git")
def test_repositories_and_addresses(base: Engine, context: Path, tmp_path: Path) -> None:
    commit = repository(tmp_path)
    served = tmp_path / "served"
    served.mkdir()
    (served / "Containerfile").write_text("FROM base\nRUN echo by address > /by\n")
    with tarfile.open(served / "c.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "work/sub", ".")
    (tmp_path / "repo.git").rename(served / "repo.git")
    with web(served) as address:
        url = f"{address}/repo.git"
        base.ok("image", "build", "-q", "-t", "made", f"{url}#v1:sub")
        assert text(base, "seen") == "from git\n"
        base.ok("image", "build", "-q", "-t", "made", f"{url}?subdir=sub")
        assert text(base, "seen") == "later\n"
        file = (
            f"FROM base\nADD --checksum={commit} {url}#v1:sub /git\n"
            f"ADD --keep-git-dir {url} /whole/\nADD {address}/Containerfile /c\n"
            f"ADD --unpack {address}/c.tar.gz /t/\nADD {address}/c.tar.gz /kept/\n"
        )
        build(base, context, file)
        assert text(base, "git/g") == "from git\n" and text(base, "git/.git/HEAD") is None
        assert text(base, "whole/.git/HEAD") is not None
        assert text(base, "whole/in/sub/g") == "from git\n"
        assert (text(base, "whole/sub/g"), text(base, "t/g")) == ("later\n", "later\n")
        assert text(base, "t/c.tar.gz") is None
        again = build(base, context, file)
        assert again.err.count("CACHED") == 6
        wrong = build(base, context, file.replace("#v1:sub", "#main:sub"), code=1)
        assert f"not {commit}" in wrong.err
        base.ok("image", "build", "-q", "-t", "made", f"{address}/Containerfile")
        assert text(base, "by") == "by address\n"
        base.ok("image", "build", "-q", "-t", "made", f"{address}/c.tar.gz")
        assert text(base, "seen") == "later\n"
        gone = base.run("image", "build", f"{url}#nothing")
        assert gone.code == 1 and "nothing" in gone.err


def test_a_service_is_based_on_another_and_limits_count(base: Engine, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM under\nRUN cat /below > /over; ulimit -n > /n\n")
    stack = context / "stack.yaml"
    stack.write_text(
        "name: b\nservices:\n"
        "  web: {build: {context: ., ulimits: {nofile: 77},"
        " additional_contexts: {under: service:low}}}\n"
        '  low: {build: {dockerfile_inline: "FROM base\\nRUN echo below > /below\\n"}}\n'
    )
    shown = base.ok("-f", str(stack), "--progress", "plain", "build", "--no-cache").err
    assert (text(base, "over", "b-web"), text(base, "n", "b-web")) == ("below\n", "77\n")
    assert shown.count("echo below") == 1
    stack.write_text(stack.read_text().replace("service:low", "service:law"))
    wrong = base.run("-f", str(stack), "config")
    assert wrong.code == 1 and 'based on "law", which no service is called' in wrong.err


@pytest.mark.needs("program:docker-registry")
def test_a_registry_keeps_the_cache(
    engines: Callable[[], Engine], context: Path, tmp_path: Path
) -> None:
    file = "FROM scratch AS a\nCOPY f /a\nFROM scratch\nCOPY --from=a /a /b\nCOPY f /c\n"
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    with docker_registry(tmp_path) as address:
        first, second, third, fourth = (engines() for _ in range(4))
        ref = f"type=registry,ref={address}/cache:1"
        build(first, context, file, *flags, "--cache-to", ref)
        shown = build(second, context, file, *flags, "--cache-from", ref).err
        assert shown.count("CACHED") == 3
        assert document(second) == document(first)
        # The image itself carries the cache of its own layers.
        name = f"{address}/made:1"
        argv = ("-t", name, "--push", "-f", str(context.parent / "Dockerfile"), str(context))
        second.ok("image", "build", *flags, "--cache-to", "type=inline", *argv)
        shown = build(third, context, file, *flags, "--cache-from", name).err
        assert shown.count("CACHED") == 2
        assert (text(third, "b"), text(third, "c")) == ("one\n", "one\n")
        none = build(fourth, context, file, *flags, "--cache-from", f"{address}/none:1")
        assert "no cache is taken from" in none.err and "CACHED" not in none.err


def test_equal_steps_at_once_are_done_once(base: Engine, context: Path) -> None:
    cache = "--mount=type=cache,target=/c,id=count,sharing=locked"
    other = "--mount=type=cache,target=/d,id=other,sharing=locked"
    run = f"RUN {cache} {other} echo x >> /c/f; cat /c/f > /seen\n"
    back = f"RUN {other} {cache} echo back > /back\n"
    file = f"FROM base AS a\n{run}{back}FROM base AS b\n{run}FROM base AS c\n{back}{run}"
    file += "FROM scratch\nCOPY --from=a /seen /a\nCOPY --from=b /seen /b\nCOPY --from=c /seen /c\n"

    def times(word: str) -> tuple[bool, int]:
        """Whether a and b show the same moment, and how often the step was done in all.

        The step of a and b is the same, that of c lies on another layer. Which of the two is
        first is open.
        """
        a, b, c = ((text(base, name) or "").count(word) for name in "abc")
        return a == b, max(a, c)

    shown = build(base, context, file, "--no-cache").err
    assert times("x") == (True, 2), shown
    # Of two builds at once as well.
    (context.parent / "Dockerfile").write_text(file.replace("echo x", "echo 'y'"))
    argv = ("image", "build", "-f", str(context.parent / "Dockerfile"), str(context))
    threads = [threading.Thread(target=lambda: base.ok(*argv)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    base.ok(*argv[:2], "-t", "made", *argv[2:])
    assert times("y") == (True, 2)


def test_links_do_not_depend_on_what_they_lie_on(base: Engine, context: Path) -> None:
    file = "FROM base\nRUN echo {} > /one\nCOPY --link --chown=app f /etc/x/\nWORKDIR /w\n"
    build(base, context, file.format(1))
    again = build(base, context, file.format(2)).err
    assert "CACHED" in again.partition("COPY --link")[2].partition("WORKDIR")[0]
    assert (text(base, "one"), text(base, "etc/x/f")) == ("2\n", "one\n")
    layers = document(base)[1]["rootfs"]["diff_ids"]
    build(base, context, "FROM scratch\nCOPY --link --chown=1000:1001 f /etc/x/\n")
    assert document(base)[1]["rootfs"]["diff_ids"] == [layers[2]]


def test_a_time_that_is_given_makes_the_same_image(
    engines: Callable[[], Engine], context: Path, tmp_path: Path
) -> None:
    """Another engine, another time, another order: byte for byte the same."""
    (context / "d").mkdir()
    for name in ("x", "y", "z"):
        (context / "d" / name).write_text(name)
    file = "FROM base AS a\nRUN echo 1 > /1\nFROM base\nCOPY d /d\nCOPY --from=a /1 /1\n"
    file += "RUN mkdir /m && echo 2 > /m/2 && rm /1\nWORKDIR /w\n"
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    found = []
    for number in range(2):
        engine = engines()
        place = tmp_path / f"engine-{number}"
        place.mkdir()
        with_base(engine, place)
        if number:
            for name in ("z", "x", "y"):  # made anew, in another order
                (context / "d" / name).unlink()
                (context / "d" / name).write_text(name)
            # What was built without it is no shortcut.
            build(engine, context, file)
        build(engine, context, file, *flags)
        found.append(document(engine)[1])
    # The bases were made at different times; their layers are the same.
    one, other = found
    assert one["rootfs"] == other["rootfs"]


def test_parents_wildcards_and_the_stages_name(base: Engine, context: Path) -> None:
    places = "a/b/c/d/e a/b2/c/d/e a/b/c2/d/e2"
    file = (
        f"FROM base AS base\nWORKDIR /test\nRUN mkdir -p {places} && echo > a/b/c/d/e/bay"
        " && echo > a/b2/c/d/e/bar && echo > a/b/c2/d/e2/baz\n"
        "FROM base AS final\nARG TARGETSTAGE\nENV STAGE=$TARGETSTAGE\n"
        "COPY --from=base --parents /test/a/b/./c/d /1/\n"
        "COPY --from=base --parents /test/a/./b/./c /2/\n"
        "COPY --from=base --parents /test/a/b*/./c/**/e /3/\n"
        "COPY --from=base --parents /test/a/b/c*/./d/**/baz /test/a/b*/./c/**/bar /4/\n"
        "COPY none* f /5/\nCOPY none* /6/\n"
    )
    build(base, context, file)
    for path in ("1/c/d/e/bay", "2/b/c/d/e/bay", "3/c/d/e/bar", "4/d/e2/baz", "4/c/d/e/bar"):
        assert text(base, path) is not None, path
    assert (text(base, "4/c/d/e/bay"), text(base, "5/f")) == (None, "one\n")
    assert "STAGE=final" in document(base)[1]["config"]["Env"]
    assert (
        "is not in the build context" in build(base, context, "FROM base\nCOPY no /\n", code=1).err
    )
