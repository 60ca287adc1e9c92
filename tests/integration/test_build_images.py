"""Builds by the real engine: what RUN sees, what the cache keeps, what a failure says."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl.image.build.tree import Tree
from stackctl.image.service import Images
from support.builds import build, document, small_context, text, with_base
from support.dockerfiles import BASE, make_base
from support.engine import Engine, Result
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "overlay", "userns", "cgroup", "program:busybox")


@pytest.fixture
def base(engine: Engine, tmp_path: Path) -> Engine:
    return with_base(engine, tmp_path)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return small_context(tmp_path)


def test_only_what_changed_is_built_again(base: Engine, context: Path) -> None:
    file = "FROM base\nRUN echo 1 > /one\nCOPY f /f\nRUN cat /f > /two\nENV E=1\n"
    assert "CACHED" not in build(base, context, file).err.partition("[2/4]")[2]
    first = document(base)
    assert build(base, context, file).err.count("CACHED") == 4
    assert document(base) == first
    (context / "f").touch()
    assert build(base, context, file).err.count("CACHED") == 4
    (context / "f").write_text("two\n")
    assert build(base, context, file).err.count("CACHED") == 2
    assert text(base, "two") == "two\n"
    # A changed config is another image to whatever comes after it (CVE-2024-24557).
    shown = build(base, context, file.replace("RUN echo", "HEALTHCHECK NONE\nRUN echo")).err
    assert shown.count("CACHED") == 1
    assert build(base, context, file, "--no-cache").err.count("CACHED") == 1
    _goes_when_it_is_told_to(base, context, file)


def test_a_layer_may_come_twice(base: Engine, context: Path) -> None:
    file = """FROM base
ARG V
ENV X=${V:-2} Y=a$V
LABEL l=$X "m"='$X'
WORKDIR rel/$X
USER ${V:-0}
STOPSIGNAL SIG${V:-INT}
RUN true
RUN :
COPY --link f /d/f
RUN rm -r /d
COPY --link f /d/f
RUN test -e /d/f
"""
    build(base, context, file)
    # History tells what was carried out: others rebuild Dockerfiles from it.
    told = [row["created_by"] for row in document(base)[1]["history"]]
    assert {"ENV X=2 Y=a", "LABEL l=2 m=$X", "WORKDIR /rel/2 # buildkit"} < {*told}
    assert {"USER 0", "STOPSIGNAL SIGINT"} < {*told}
    layers = document(base)[1]["rootfs"]["diff_ids"]
    assert len(set(layers)) < len(layers)
    assert base.ok("container", "run", "--rm", "made", "cat", "/d/f").out == "one\n"


def _goes_when_it_is_told_to(base: Engine, context: Path, file: str) -> None:
    """What builds have left takes space, is told, and goes; then images go."""
    used = {
        row["Type"]: row
        for row in map(json.loads, base.ok("system", "df", "--format", "json").out.splitlines())
    }
    # base, made, what `made` was before, and the machine's own are images.
    assert int(used["Images"]["TotalCount"]) >= 3 and used["Images"]["Active"] == "0"
    assert used["Images"]["Size"] != "0B" and used["Images"]["Reclaimable"].endswith("(100%)")
    assert int(used["Build Cache"]["TotalCount"]) > 4
    shown = base.ok("system", "df", "-v").out
    assert "made:latest" in shown and "Build cache usage:" in shown
    assert "--force is needed" in base.run("builder", "prune").expect(2).err
    nothing = base.ok("builder", "prune", "-af", "--filter", "until=1h").out
    assert nothing == "Total reclaimed space: 0B\n"
    # Without -a the steps of images that are here stay.
    assert "Deleted build cache objects:" in base.ok("builder", "prune", "-f").out
    assert build(base, context, file).err.count("CACHED") == 4
    base.ok("builder", "prune", "-a", "-f")
    assert build(base, context, file).err.count("CACHED") == 1
    pruned = base.ok("system", "prune", "-a", "-f").out
    assert "untagged: made:latest" in pruned and "Deleted build cache objects:" in pruned
    store = Images(base.paths).store
    assert not store.index.records() and not list(store.blobs.all())


def test_what_is_wrong_is_told_with_its_line(base: Engine, context: Path) -> None:
    failing = "FROM base\nENV A=1\nRUN echo out; ls /nowhere\nCMD a\n"
    result = build(base, context, failing, code=1)
    assert f"{context.parent}/Dockerfile:3: RUN echo out; ls /nowhere: exit code 1" in result.err
    assert "3 >>> RUN echo out" in result.err
    assert "/nowhere: No such file" in result.err.partition("error:")[2]
    assert f"{context.parent}/Dockerfile:4: JSONArgsRecommended: " in result.err
    # What could be better: a check builds nothing, and may count as a mistake.
    file = "FROM base AS a\nARG X=kept\nFROM a\nENV B=$BSAE\nRUN echo $X > /x\n"
    checked = build(base, context, file, "--check", code=1)
    assert checked.out == "Check complete, 1 warning has been found.\n"
    said = "Dockerfile:4: UndefinedVar: Usage of undefined variable '$BSAE' (did you mean $BASE?)"
    assert said in checked.err and "RUN" not in checked.err
    strict = "BUILDKIT_DOCKERFILE_CHECK=error=true"
    refused = build(base, context, file, "--build-arg", strict, code=1)
    assert said in refused.err.partition("error:")[2] and "RUN" not in refused.err
    assert Images(base.paths).store.find("made") is None
    assert said in build(base, context, file).err and text(base, "x") == "kept\n"
    fine = build(base, context, "FROM base\nRUN true\n", "--call", "check")
    assert fine.out == "Check complete, no warnings have been found.\n"
    assert not (base.paths.root / "build/work").exists()


def test_unneeded_stages_are_not_built_and_needed_ones_are_once(
    base: Engine, context: Path
) -> None:
    file = (
        "FROM base AS never\nRUN false\nFROM base AS a\nRUN echo a > /a\n"
        "FROM base AS b\nRUN echo b > /b\nFROM scratch AS last\n"
        "COPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=a /a /again\n"
    )
    shown = build(base, context, file).err
    assert "never" not in shown and shown.count("RUN echo a") == 1
    assert (text(base, "a"), text(base, "b"), text(base, "again")) == ("a\n", "b\n", "a\n")
    assert (
        "RUN"
        not in build(base, context, file, "--target", "last", "--no-cache").err.partition(
            "RUN echo b"
        )[2]
    )


def test_run_is_root_of_nothing_but_its_container(base: Engine, context: Path) -> None:
    file = (
        "FROM base\nRUN --network=none ls /sys/class/net > /net; cat /proc/self/uid_map > /map;"
        " pwd > /dir; env | sort > /env\n"
    )
    build(base, context, file, "--build-arg", "HTTP_PROXY=http://p")
    assert text(base, "net") == "lo\n"
    assert (text(base, "map") or "").split()[1] != "0"
    assert text(base, "dir") == "/\n"
    shown = text(base, "env") or ""
    assert "HTTP_PROXY=http://p" in shown and "STACKCTL" not in shown
    assert "http://p" not in str(document(base)[1])
    # Nothing of the start is in the layer.
    assert text(base, "run/secrets") is None


def test_secrets_are_seen_and_not_kept(base: Engine, context: Path) -> None:
    (context.parent / "token").write_text("kx93\n")
    file = (
        "FROM base\nRUN --mount=type=secret,id=t,required cat /run/secrets/t | wc -c > /n\n"
        "RUN --mount=type=secret,id=t,env=T echo ${#T} > /m\n"
    ).replace("| wc -c > /n", "> /dev/null && echo read > /n")
    build(base, context, file, "--secret", f"id=t,src={context.parent}/token")
    assert (text(base, "n"), text(base, "m")) == ("read\n", "5\n")
    found = [p for p in base.paths.root.rglob("*") if p.is_file() and b"kx93" in p.read_bytes()]
    assert found == []
    missing = build(base, context, file.replace("id=t,", "id=u,"), code=1)
    assert "the secret 'u' was not given" in missing.err


def test_caches_of_run_persist_and_are_in_no_layer(base: Engine, context: Path) -> None:
    file = "FROM base\nARG n\nRUN --mount=type=cache,target=/c echo $n >> /c/f; cat /c/f > /seen\n"
    build(base, context, file, "--build-arg", "n=1")
    build(base, context, file, "--build-arg", "n=2")
    assert text(base, "seen") == "1\n2\n"
    assert text(base, "c/f") is None
    # It counts as what builds have left, and goes with it; but not while a RUN has it.
    assert "exec.cachemount" in base.ok("system", "df", "-v").out
    busy = file.replace(
        "cat /c/f", "while [ -e /c/f ] && [ ! -e /c/go ]; do sleep 0.1; done; cat /c/f"
    )
    thread = threading.Thread(target=lambda: build(base, context, busy, "--build-arg", "n=3"))
    thread.start()
    [cached] = (base.paths.root / "build/mounts").iterdir()
    wait_until(lambda: (cached / "f").read_text().endswith("3\n"), what="the RUN to begin")
    base.ok("builder", "prune", "-af")
    (cached / "go").touch()
    thread.join()
    assert text(base, "seen") == "1\n2\n3\n"
    base.ok("builder", "prune", "-f")
    assert not cached.exists()


def test_here_documents(base: Engine, context: Path) -> None:
    file = (
        "FROM base\nENV N=7\nCOPY <<A <<'B' /h/\nn=$N\nA\nn=$N\nB\n"
        "RUN <<E\necho one > /1\necho two > /2\nE\n"
        "RUN cat <<X > /3 && cat <<Y > /4\nthree\nX\nfour\nY\n"
        "RUN <<'S'\n#!/bin/cat\nas a script\nS\n"
    )
    shown = build(base, context, file).err
    assert (text(base, "h/A"), text(base, "h/B")) == ("n=7\n", "n=$N\n")
    assert [text(base, n) for n in "1234"] == ["one\n", "two\n", "three\n", "four\n"]
    assert "as a script" in shown


def test_onbuild_runs_in_the_image_that_is_based_on_it(base: Engine, context: Path) -> None:
    build(base, context, "FROM base\nONBUILD COPY f /from-child\nONBUILD ENV C=1\n", "-t", "par")
    build(base, context, "FROM par\nRUN echo $C > /c\n")
    assert (text(base, "from-child"), text(base, "c")) == ("one\n", "1\n")
    assert "OnBuild" not in document(base)[1]["config"]


def test_a_saved_cache_serves_another_engine(
    engines: Callable[[], Engine], context: Path, tmp_path: Path
) -> None:
    make_base(tmp_path / "base", shutil.which("busybox") or "")
    file = f"{BASE}RUN echo 1 > /one\nCOPY data /data\n"
    (tmp_path / "base/data").write_text("data\n")
    first, second = engines(), engines()
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    saved = f"type=local,dest={tmp_path}/saved"
    build(first, tmp_path / "base", file, *flags, "--cache-to", saved)
    restored = f"type=local,src={tmp_path}/saved"
    shown = build(second, tmp_path / "base", file, *flags, "--cache-from", restored).err
    assert shown.count("CACHED") == 3
    assert document(second) == document(first)
    # A damaged blob is no blob.
    for blob in (tmp_path / "saved/blobs").iterdir():
        blob.write_bytes(b"rubbish")
    third = engines()
    shown = build(third, tmp_path / "base", file, *flags, "--cache-from", restored).err
    assert "CACHED" not in shown
    # Made anew, at another time, byte for byte the same.
    assert document(third) == document(first)


def test_on_the_host_image(engine: Engine, context: Path) -> None:
    file = (
        "FROM stackctl/host\nRUN rm /usr/bin/env && echo own > /usr/share/own\n"
        "RUN echo e > /etc/own\n"
        "COPY f /usr/local/share/f\nRUN ! test -e /usr/bin/env && cat /usr/share/own\n"
    )
    build(engine, context, file)
    assert Path("/usr/bin/env").exists() and not Path("/usr/share/own").exists()
    (context / "stack.yaml").write_text(
        "name: h\nservices: {s: {image: made, command: cat /usr/share/own /etc/own"
        " /usr/local/share/f}}\n"
    )
    shown = engine.ok("-f", str(context / "stack.yaml"), "up", "--no-log-prefix").out
    assert shown.split() == ["own", "e", "one"]
    engine.ok("-f", str(context / "stack.yaml"), "down")


def test_links_of_a_context_lead_nowhere_outside(base: Engine, context: Path) -> None:
    (context.parent / "outside").write_text("secret\n")
    (context / "link").symlink_to("../outside")
    (context / "root").symlink_to("/etc/shadow")
    for name in ("link", "root", "../outside"):
        result = build(base, context, f"FROM base\nCOPY {name} /x\n", code=1)
        assert "is not in the build context" in result.err
    build(base, context, "FROM base\nCOPY . /x/\n")
    with Tree(Images(base.paths).store.ensure_unpacked(document(base)[0])) as tree:
        node = tree.find("x/link", follow=False)
        assert node is not None and tree.link_target(node) == "../outside"


def test_a_killed_engine_leaves_a_store_that_builds(base: Engine, context: Path) -> None:

    file = "FROM base\nRUN echo 1 > /one\nRUN echo 1 > /began; sleep 600\n"
    failed: list[Result] = []
    (context.parent / "Dockerfile").write_text(file)
    argv = ("image", "build", "-f", str(context.parent / "Dockerfile"), str(context))
    thread = threading.Thread(target=lambda: failed.append(base.run(*argv)))
    thread.start()
    began = "build/work/*/*/upper/began"
    wait_until(lambda: any(base.paths.root.glob(began)), what="the second RUN to begin")
    base.kill(base.daemon_pids(), signal.SIGKILL)
    thread.join()
    assert failed[0].code != 0
    base.ok("ls")  # the next engine
    wait_until(lambda: not base.container_processes() and not base.shim_pids())
    build(base, context, "FROM base\nRUN echo 1 > /one\nRUN echo 2 > /two\n")
    assert text(base, "two") == "2\n"
    assert not (base.paths.root / "build/work").exists()


def test_stacks_build_what_they_need(base: Engine, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM base\nARG who\nRUN echo $who > /who\nCMD cat /who\n")
    (context / "stack.yaml").write_text(
        "name: s\nservices:\n  a:\n    build: {context: ., args: {who: me}}\n"
        "  b: {image: b:1, build: {context: ., args: {who: me}, tags: ['c:1']}}\n"
    )
    stack = ("-f", str(context / "stack.yaml"))
    plan = base.run(*stack, "plan").expect(2).out
    assert plan.count(" build ") == 2, plan
    shown = base.ok(*stack, "up").out
    assert shown.count("| me") == 2
    assert "build" not in base.run(*stack, "plan").out
    assert "built" in base.ok(*stack, "up", "-d", "--build").err
    # The same build for two services is done once.
    shown = base.ok(*stack, "--progress", "plain", "build", "--no-cache").err
    assert shown.count("RUN echo") == 1
    assert document(base, "c:1")[0] == document(base, "b:1")[0] == document(base, "s-a")[0]
    # What a registry may have is pulled first where that is asked for.
    (context / "stack.yaml").write_text(
        "name: s\nservices:\n  b: {image: 'localhost:1/b', pull_policy: always, build: .}\n"
    )
    assert "pull_policy: always" in base.run(*stack, "plan").expect(2).out
    assert "localhost:1/b could not be pulled: " in base.ok(*stack, "up", "-d").err
    made = document(base, "localhost:1/b")[0]
    base.ok("image", "tag", "base", "localhost:1/b")
    base.ok(*stack, "up", "-d")  # it is here: no reason to build
    assert document(base, "localhost:1/b")[0] == document(base, "base")[0] != made
    base.ok(*stack, "down", "--remove-orphans")
    # What is not there is told with its place, and only when it is to be built.
    (context / "stack.yaml").write_text(
        "name: s\nservices:\n  a:\n    image: base\n    build: ./none\n"
        "  b:\n    build: {context: ., dockerfile: Absent}\n"
    )
    assert " build " not in base.run(*stack, "plan", "a").expect(2).out
    for name, line, words in (("a", 5, "none cannot be read"), ("b", 7, "there is no Absent in")):
        refused = base.run(*stack, "build", name).expect(1).err
        assert f"stack.yaml:{line}:" in refused and words in refused, refused


def test_a_dockerfile_cannot_give_itself_rights(base: Engine, context: Path) -> None:
    for flag, word in (("--security=insecure", "security.insecure"), ("--network=host", "host")):
        result = build(base, context, f"FROM base\nRUN {flag} echo 1 > /f\n", code=1)
        assert f"--allow {'' if word != 'host' else 'network.'}{word}" in result.err
    file = "FROM base\nRUN --security=insecure cat /proc/self/uid_map > /map\n"
    build(base, context, file, "--allow", "security.insecure")
    assert (text(base, "map") or "").split()[:2] == ["0", "0"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--platform", "linux/s390x"), "this machine builds for"),
        (("--output", "type=disc"), "there is no type 'disc'"),
        (("--target", "none"), "there is no stage 'none'"),
        (("--cache-to", "type=gha"), "of a kind that is not supported"),
        (("--secret", "src=x"), "has no id"),
        (("--network", "bridge"), "--network is default, none or host"),
    ],
)
def test_what_cannot_be_is_refused(
    engine: Engine, context: Path, flags: tuple[str, ...], words: str
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\n")
    result = engine.run("image", "build", *flags, str(context))
    assert result.code != 0
    assert words in result.err
