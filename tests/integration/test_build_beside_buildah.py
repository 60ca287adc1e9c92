"""The same Dockerfiles built here and by buildah: same files, modes, owners and config."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stackctl.image.build.tree import Tree
from stackctl.image.service import Images
from support.dockerfiles import BASE, CASES, listing, make_base, make_context
from support.engine import Engine

pytestmark = [
    pytest.mark.needs("root", "overlay", "userns", "program:busybox", "program:buildah"),
    pytest.mark.timeout(300),
]

#: buildah makes the directories of some VOLUMEs as well; BuildKit and we do not.
_VOLUMES = {"data", "more", "most"}
#: What starting a process leaves in a root that had nothing of it; neither tool means it.
_STARTED = {"proc", "sys", "dev", "run", "run/secrets", "etc/hosts", "etc/resolv.conf"}


class Buildah:
    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, *argv: str) -> str:
        words = ["buildah", "--root", str(self._home / "root"), "--runroot"]
        words += [str(self._home / "run"), "--storage-driver", "vfs", *argv]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def build(self, name: str, file: Path, context: Path, *argv: str) -> None:
        flags = ("--isolation", "chroot", "--pull-never", "--identity-label=false", "-q")
        flags += ("--format", "docker")
        self("bud", *flags, "-t", name, "-f", str(file), *argv, str(context))

    def image(self, name: str) -> tuple[dict[str, str], dict[str, Any]]:
        document = json.loads(self("inspect", "--type", "image", name))["Docker"]
        config = {**document["config"], "author": document.get("author", "")}
        if config.get("OnBuild"):
            return {}, config  # its triggers would run in the container that shows the files
        container = self("from", "--pull-never", name)
        files = listing(Path(self("mount", container)))
        self("rm", container)
        return files, config


def ours(engine: Engine, name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Files and config of an image in the engine's store."""
    store = Images(engine.paths).store
    found = store.find(name)
    assert found is not None
    document = store.config(found[0])
    files = {}
    with Tree(store.ensure_unpacked(found[0])) as tree:
        for node in tree.walk(tree.root):
            status = node.status
            owner = f"{status.st_uid}:{status.st_gid}"
            if node.is_link:
                files[node.path] = f"link -> {tree.link_target(node)} {owner}"
                continue
            rest = tree.read(node, 1 << 24)[:200].decode("utf-8", "replace") if node.is_file else ""
            files[node.path] = f"{stat.filemode(status.st_mode)} {owner} {rest!r}"
    return files, {**document["config"], "author": document.get("author", "")}


def normal(config: dict[str, Any]) -> dict[str, Any]:
    """Only what an image's user sees, in one form: both leave empty things out or in."""
    keys = "Env Cmd Entrypoint User Labels ExposedPorts Volumes StopSignal Healthcheck OnBuild"
    found = {key: config.get(key) or None for key in (*keys.split(), "Shell", "author")}
    found["WorkingDir"] = config.get("WorkingDir") or "/"
    if found["Env"] is not None:
        found["Env"] = sorted(found["Env"])
    return found


def test_both_build_the_same(engine: Engine, tmp_path: Path) -> None:
    busybox = shutil.which("busybox") or ""
    context, base = tmp_path / "context", tmp_path / "base"
    make_context(context, busybox)
    make_base(base, busybox)
    (base / "Dockerfile").write_text(BASE)
    buildah = Buildah(tmp_path / "buildah")
    buildah.build("base", base / "Dockerfile", base)
    engine.ok("image", "build", "-q", "-t", "base", str(base))
    differences = []
    for name, (text, arguments) in CASES.items():
        file = tmp_path / f"{name}.Dockerfile"
        file.write_text(text)
        flags = [word for each in arguments for word in ("--build-arg", each)]
        engine.ok("image", "build", "-q", "-t", name, "-f", str(file), *flags, str(context))
        buildah.build(name, file, context, *flags)
        mine, theirs = ours(engine, name), buildah.image(name)
        for path in sorted(set(mine[0]) | set(theirs[0])) if theirs[0] else ():
            one, other = mine[0].get(path), theirs[0].get(path)
            if one != other and path not in _STARTED | _VOLUMES:
                differences.append(f"{name}: {path}: {one} here, {other} there")
        for key, value in normal(mine[1]).items():
            other_value = normal(theirs[1])[key]
            if value != other_value:
                differences.append(f"{name}: {key}: {value} here, {other_value} there")
        buildah("rmi", name)
    assert not differences, "\n".join(differences)
