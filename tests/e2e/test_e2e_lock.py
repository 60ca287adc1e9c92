"""Lock files and bundles: a stack that means the same content tomorrow, and elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.image.service import Images
from support.docker_registry import base_layer, change_layer, docker_registry, publish
from support.stack import Stack
from support.tars import directory, entry, tar

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

STACK = """\
services:
  web:
    image: "${REGISTRY}/app:1"
    init: true
    environment: {PLAIN: "a $$dollar"}
    volumes: [./content:/content:ro, data:/data]
    secrets: [word]
  built:
    build: {dockerfile_inline: "FROM ${REGISTRY}/app:1\\nCOPY content/page /page\\n", context: .}
    command: sleep infinity
    init: true
volumes: {data: }
secrets: {word: {file: ./word.txt}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path) as address:
        publish(tmp_path, f"{address}/app:1", base_layer(), command=("sleep", "infinity"))
        yield address


@pytest.fixture
def app(stack: Stack, registry: str) -> Stack:
    stack.write(STACK)
    stack.env["REGISTRY"] = registry
    (stack.directory / "content").mkdir()
    (stack.directory / "content" / "page").write_text("as it was\n")
    (stack.directory / "content" / "link").symlink_to("page")
    (stack.directory / "word.txt").write_text("secret\n")
    return stack


def test_a_locked_stack_means_the_same_until_it_is_locked_again(
    app: Stack, registry: str, tmp_path: Path
) -> None:
    lock = app.directory / "stack.lock"
    assert app.run("lock", "--check").expect(1).err.rstrip().endswith("does not fit the stack file")
    assert "locked" in app.ok("lock").out
    (name, old), *others = json.loads(lock.read_text())["images"].items()
    # The service that is built has no digest of a registry.
    assert name == f"{registry}/app:1" and not others
    app.ok("lock", "--check")

    new = publish(tmp_path, name, base_layer(), change_layer(), command=("sleep", "infinity"))
    assert new != old
    assert f"{name}@{old}" in app.run("plan").expect(2).out
    app.up("web")
    look = ("exec", "-T", "web", "ls", "/etc")
    assert "added" not in app.ok(*look).out and "removed" in app.ok(*look).out
    assert app.run("plan", "web").expect(0)
    # config asks the registry, whatever the lock says.
    assert f"image: {name}@{new}\n" in app.ok("config", "--resolve-image-digests").out
    (app.directory / "over.yaml").write_text(app.ok("config", "--lock-image-digests").out)
    pinned = app.ok("-f", "stack.yaml", "-f", "over.yaml", "config", "--images").out
    assert f"{name}@{new}\n" in pinned
    # Without the lock the tag counts, which is another image now.
    assert "pull_policy: always" in app.run("plan", "web", "--no-lock", "--pull", "always").out
    app.up("web", "--no-lock", "--pull", "always")
    assert "added" in app.ok(*look).out
    # Locked again it stays as it is: a lock changes what an image is, nothing else.
    before = app.ids()
    assert "changed" in app.ok("lock").out
    assert json.loads(lock.read_text())["images"] == {name: new}
    app.up("web")
    assert app.ids() == before
    assert "as before" in app.ok("lock", "--offline").out

    # Stale: told with the place; the tag is taken.
    app.write(f'services: {{web: {{image: "{registry}/other:1", init: true}}}}')
    publish(tmp_path, f"{registry}/other:1", base_layer(), command=("sleep", "infinity"))
    stale = app.run("plan").expect(2)
    assert "stack.yaml:1:" in stale.err and f'image "{registry}/other:1"' in stale.err
    checked = app.run("lock", "--check").expect(1).out
    assert "not locked" in checked and "not used" in checked
    lock.write_text("{")
    broken = app.run("plan").expect(1)
    assert "is not a lock file" in broken.err and "--no-lock" in broken.err
    app.run("plan", "--no-lock").expect(2)
    lock.unlink()
    app.write(STACK)
    app.down()


def test_a_bundle_brings_a_stack_to_a_machine_without_a_registry(
    app: Stack, registry: str, tmp_path: Path
) -> None:
    file = tmp_path / "all.tar"
    app.ok("lock")
    app.ok("bundle", "-o", str(file))
    assert file.stat().st_mode & 0o777 == 0o600  # secrets are in it
    for name in (f"{registry}/app:1", f"{app.directory.name}-built"):
        app.engine.run("image", "rm", "-f", name)
    app.engine.ok("image", "prune", "-a", "-f")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(app.directory)
    # Nobody answers there any more.
    there = Stack(engine=app.engine, directory=elsewhere / "project")
    app.engine.ok("unbundle", str(file), "-C", "project", cwd=elsewhere)
    assert sorted(p.name for p in there.directory.iterdir()) == [
        "content",
        "stack.lock",
        "stack.yaml",
        "word.txt",
    ]
    assert (there.directory / "content" / "link").readlink() == Path("page")
    again = app.engine.run("unbundle", str(file), "-C", "project", cwd=elsewhere)
    assert again.code == 1 and "has something in it" in again.err
    there.up("--pull", "never")
    seen = there.ok(
        "exec", "-T", "web", "sh", "-c", "cat /content/link /run/secrets/word; echo $PLAIN"
    )
    assert seen.out == "as it was\nsecret\na $dollar\n"
    assert there.ok("exec", "-T", "built", "cat", "/page").out == "as it was\n"
    # The lock file came along and fits.
    there.ok("lock", "--check")
    assert app.engine.run("image", "verify").code == 0
    there.down()


@pytest.mark.parametrize(
    "bad",
    [
        entry("stackctl-bundle/project/../../escaped", b"x"),
        entry("stackctl-bundle/project/out", kind=b"2", link=b"../../.."),
        entry("stackctl-bundle/project/node", kind=b"3"),
        entry("stackctl-bundle/bundle.json", b'{"version": 9, "project": "x", "images": []}'),
    ],
)
def test_a_hostile_bundle_writes_nothing(engine, tmp_path: Path, bad: bytes) -> None:
    described = b'{"version": 1, "project": "x", "images": []}'
    file = tmp_path / "bad.tar"
    file.write_bytes(
        tar(
            entry("stackctl-bundle/bundle.json", described),
            directory("stackctl-bundle/project"),
            entry("stackctl-bundle/project/stack.yaml", b"services: {}\n"),
            bad,
        )
    )
    place = tmp_path / "place"
    place.mkdir()
    refused = engine.run("unbundle", str(file), cwd=place)
    assert refused.code == 1 and "bundle" in refused.err
    assert not any(place.iterdir()) and not (tmp_path / "escaped").exists()


def test_bootstrap_says_what_it_needs(engine, tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path)}
    lacking = engine.run("image", "bootstrap", "debian:bookworm", env=nothing).expect(1)
    assert "neither mmdebstrap nor debootstrap" in lacking.err and "apt-get install" in lacking.err
    assert "names no suite" in engine.run("image", "bootstrap", "debian").expect(2).err
    _by_debootstrap(engine, tmp_path)


def _by_debootstrap(engine, tmp_path: Path) -> None:
    """A tool that makes a directory: what it was called with, and what becomes of that."""
    tool = tmp_path / "debootstrap"
    tool.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/called\necho words\n'
        'mkdir -p "$4/etc" "$4/var/cache/apt/archives" "$4/var/lib/apt/lists"\n'
        'echo 1 > "$4/etc/f"; chown 5:6 "$4/etc/f"; echo deb > "$4/var/cache/apt/archives/a.deb"\n'
        'echo l > "$4/var/lib/apt/lists/l"; [ "$3" != broken ] || exit 3\n'
    )
    tool.chmod(0o755)
    there = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    flags = ("--tool", "debootstrap", "--mirror", "http://m.test/debian", "--include", "a,b")
    made = engine.run("image", "bootstrap", *flags, "debian:bookworm", env=there).expect(0)
    assert "words" in made.err and made.out.startswith("sha256:")
    called = (tmp_path / "called").read_text().split()
    assert called[0].startswith("--variant=") and called[1] == "--include=a,b"
    assert (called[2], called[4:]) == ("bookworm", ["http://m.test/debian"])
    store = Images(engine.paths).store
    (layer,) = store.ensure_unpacked(store.find("debian:bookworm")[0])
    files = {str(p.relative_to(layer)) for p in Path(layer).rglob("*") if p.is_file()}
    assert files == {"etc/f"} and Path(layer, "etc/f").stat().st_uid == 5
    broken = engine.run("image", "bootstrap", *flags, "debian:broken", env=there).expect(1)
    assert "debootstrap ended with 3" in broken.err and store.find("debian:broken") is None
