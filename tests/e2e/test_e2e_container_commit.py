"""diff, commit and export of containers, with each storage driver."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.docker_registry import base_layer
from support.engine import STACKCTL, Engine
from support.stack import Stack
from support.tars import directory, entry, tar

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

#: Files are added, changed, removed and replaced, in the root and in a volume.
WORK = """
echo new >/etc/added; echo more >>/etc/passwd; rm /etc/removed; chmod 700 /home/app
rm -r /opt/old; mkdir -p /opt/old; echo y >/opt/old/y; ln -s /etc/added /link
echo no >/data/in-volume
"""
CHANGED = [
    *("A /data", "C /etc", "A /etc/added", "C /etc/passwd", "D /etc/removed"),
    *("C /home", "C /home/app", "A /link"),
    *("C /opt", "C /opt/old", "D /opt/old/x", "A /opt/old/y"),
]


@pytest.fixture(params=["overlay", "vfs"])
def driven(engine: Engine, request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An engine with the image base:1, and the container "worked" that has ended after WORK."""
    engine.extra["STACKCTL_STORAGE_DRIVER"] = request.param
    root = tmp_path / "root.tar"
    more = tar(directory("opt"), directory("opt/old"), entry("opt/old/x", b"x"))
    root.write_bytes(base_layer().removesuffix(bytes(1024)) + more)
    engine.ok("image", "import", "-c", "ENV PATH=/bin", "-c", "LABEL a=b", str(root), "base:1")
    made = engine.run(
        *("container", "run", "--name", "worked", "-v", "/data", "-e", "MINE=1", "-w", "/home"),
        *("-u", "0:0", "--expose", "80", "--stop-signal", "SIGINT", "base:1", "sh", "-ec", WORK),
    )
    assert made.code == 0, made
    return engine


def test_diff_commit_and_export(driven: Engine, tmp_path: Path) -> None:
    assert driven.ok("container", "diff", "worked").out.splitlines() == CHANGED
    made = driven.ok(
        *("container", "commit", "-a", "Somebody", "-m", "why", "-c", "ENV FROM=$PATH:/x"),
        *("-c", 'CMD ["cat", "/etc/added"]', "-c", "LABEL c=d", "worked", "became:2"),
    ).out.strip()
    assert made.startswith("sha256:")
    (image,) = json.loads(driven.ok("image", "inspect", "became:2").out)
    (base,) = json.loads(driven.ok("image", "inspect", "base:1").out)
    assert (image["Id"], image["Parent"]) == (made, base["Id"])
    assert (image["Author"], image["Comment"]) == ("Somebody", "why")
    # Only the changes are a layer; the base's are shared.
    assert image["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    assert image["Config"] == {
        "Cmd": ["cat", "/etc/added"],
        "Env": ["PATH=/bin", "MINE=1", "FROM=/bin:/x"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"a": "b", "c": "d"},
        "StopSignal": "SIGINT",
        "User": "0:0",
        "Volumes": {"/data": {}},
        "WorkingDir": "/home",
    }
    assert driven.ok("container", "run", "--rm", "became:2").out == "new\n"
    script = "stat -c %a /home/app; cat /etc/passwd; ls /etc /opt/old; readlink /link; ls /data"
    shown = driven.ok("container", "run", "--rm", "became:2", "sh", "-c", script).out
    passwd = "root:x:0:0:root:/:/bin/sh\napp:x:1000:1000::/:/bin/sh\nmore\n"
    before, _, after = shown.partition(passwd)
    assert before == "700\n"
    # Neither what was removed, nor what the engine mounts, nor what lies in the volume.
    names = ["added", "group", "hostname", "hosts", "passwd", "resolv.conf"]
    listed = [line for line in after.splitlines() if line and not line.startswith("/etc:")]
    assert [n for n in listed if n in (*names, "removed")] == [n for n in names if n in listed]
    assert "removed" not in listed and listed[-3:] == ["/opt/old:", "y", "/etc/added"]
    _layer_has_only_the_changes(driven, tmp_path)

    target = tmp_path / "out.tar"
    driven.ok("container", "export", "-o", str(target), "worked")
    with tarfile.open(target) as tar:
        files = {member.name: member for member in tar}
        added = tar.extractfile("etc/added")
        assert added is not None and added.read() == b"new\n"
    assert (files["home/app/own"].uid, files["home/app/own"].mode) == (1000, 0o640)
    assert files["bin/setuid"].mode == 0o4755
    assert "SCHILY.xattr.security.capability" in files["bin/server"].pax_headers
    assert files["data"].isdir() and "data/in-volume" not in files
    assert "etc/removed" not in files and files["link"].linkname == "/etc/added"
    again = driven.ok("image", "import", str(target), "flat:1").out.strip()
    assert again.startswith("sha256:")
    assert driven.ok("container", "run", "--rm", "flat:1", "/bin/cat", "/etc/added").out == "new\n"
    driven.ok("container", "rm", "-v", "worked")


def _layer_has_only_the_changes(engine: Engine, directory: Path) -> None:
    archive = directory / "became.tar"
    engine.ok("image", "save", "-o", str(archive), "became:2")
    with tarfile.open(archive) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None
        layer = outer.extractfile(json.load(manifest)[0]["Layers"][-1])
        assert layer is not None
        with tarfile.open(fileobj=io.BytesIO(layer.read())) as tar:
            names = {name for name in tar.getnames() if not name.endswith(".wh..wh..opq")}
    whiteouts = {"etc/.wh.removed", "opt/old/.wh.x"}
    assert names - whiteouts == {line[3:] for line in CHANGED if not line.startswith("D ")}


def test_commit_and_export_of_a_running_container(engine: Engine, tmp_path: Path) -> None:
    engine.ok("container", "run", "-d", "--name", "lives", "stackctl/host", "sleep", "600")
    engine.ok("container", "exec", "lives", "sh", "-c", "mkdir /usr/mine; echo 1 >/usr/mine/f")
    assert engine.ok("container", "diff", "lives").out.splitlines() == [
        *("C /usr", "A /usr/mine", "A /usr/mine/f")
    ]
    engine.ok("container", "commit", "lives", "held:1")
    engine.ok("container", "commit", "--no-pause", "lives", "free:1")
    seen = engine.ok(
        *("system", "events", "--since", "1h", "--until", "0s", "-f", "container=lives"),
        *("--format", "{{.Action}}"),
    ).out.split()
    assert seen[-4:] == ["pause", "unpause", "commit", "commit"]
    shown = engine.ok("container", "inspect", "-f", "{{.State.Status}}", "lives")
    assert shown.out == "running\n"
    for name in ("held:1", "free:1"):
        command = ("container", "run", "--rm", name, "cat", "/usr/mine/f")
        assert engine.ok(*command).out == "1\n"
    for argv, words in (
        (("commit", "lives", "stackctl/host"), "built-in"),
        (("commit", "lives", "Bad Name"), "Bad Name"),
        (("commit", "-c", "COPY a b", "lives"), "COPY a b"),
        (("commit", "-c", "EXPOSE many", "lives"), "many"),
        (("commit", "nobody"), "nobody"),
        (("export", "nobody"), "nobody"),
        (("export", "-o", str(tmp_path), "lives"), "directory"),
        (("diff", "nobody"), "nobody"),
    ):
        result = engine.run("container", *argv)
        assert result.code and words in result.err, result
    # Whoever leaves in the middle of an export disturbs nobody.
    command = [STACKCTL, "container", "export", "lives"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=engine.environment) as export:
        assert export.stdout is not None
        assert b"ustar" in export.stdout.read(512)
        export.kill()
    assert engine.ok("container", "exec", "lives", "echo", "here").out == "here\n"
    engine.ok("container", "rm", "-f", "lives")


def test_of_a_service(stack: Stack, tmp_path: Path) -> None:
    root = tmp_path / "root.tar"
    root.write_bytes(base_layer())
    stack.run("image", "import", "-c", "ENV PATH=/bin", str(root), "base:1").expect(0)
    stack.write(
        """\
        services:
          web:
            image: base:1
            init: true
            command: ["sh", "-c", "hostname >/etc/me; sleep 600"]
            scale: 2
            healthcheck: {test: "test -s /etc/me", interval: 1s}
        """
    )
    stack.up()
    made = stack.run("commit", "--index", "2", "-m", "x", "web", "second:1").expect(0).out.strip()
    names = {
        index: stack.ok("exec", "--index", index, "web", "cat", "/etc/me").out for index in "12"
    }
    out = stack.run("container", "run", "--rm", "second:1", "cat", "/etc/me").expect(0).out
    assert out == names["2"] != names["1"]
    (image,) = json.loads(stack.run("image", "inspect", made).expect(0).out)
    assert "Labels" not in image["Config"]  # an image is no service of a stack
    target = tmp_path / "out.tar"
    stack.run("export", "-o", str(target), "--index", "1", "web").expect(0)
    with tarfile.open(target) as tar:
        file = tar.extractfile("etc/me")
        assert file is not None and file.read().decode() == names["1"]
    assert os.listdir(tmp_path).count("out.tar") == 1
    assert stack.run("commit", "nothing", "x:1").expect(1).err
    stack.down()
