"""The docker command, new and old, against our socket, without knowing that it is ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dockers import Docker, commands
from support.engine import Engine
from support.stack import free_port
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

IMAGE = "stackctl/host"


def test_there_is_a_docker_command_to_test_with() -> None:
    assert commands(), "install docker.io (scripts/packages.sh tests)"


@pytest.fixture(params=commands())
def docker(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Docker]:
    engine.ok("info")
    client = Docker(engine, request.param)
    yield client
    ids = client.ok("ps", "-aq").split()
    if ids:
        client.ok("rm", "-f", "-v", *ids)
    for kind in ("network", "volume"):
        client.run(kind, "prune", "-f")


def test_run_gives_output_and_exit_codes(docker: Docker) -> None:
    assert docker.ok("run", "--rm", IMAGE, "true") == ""
    both = docker.run("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (both.code, both.out, both.err) == (7, "out\n", "err\n")
    assert docker.ok("run", "-i", "--rm", IMAGE, "cat", stdin="through\n") == "through\n"
    missing = docker.run("run", "--rm", IMAGE, "no-such-program")
    assert missing.code == 127 and "executable file not found" in missing.err
    assert docker.run("run", "--rm", IMAGE, "/etc").code == 126
    assert docker.run("run", "--rm", "--memory", "1k", IMAGE, "true").code == 125
    assert docker.ok("ps", "-aq") == ""  # --rm holds for those that could not start, too


def test_much_goes_both_ways(docker: Docker) -> None:
    """Three megabytes through a container: half-close is the end of its input."""
    text = "x" * 1023 + "\n"
    assert docker.ok("run", "-i", "--rm", IMAGE, "cat", stdin=text * 3072) == text * 3072


def test_the_life_of_a_container(docker: Docker) -> None:
    port = str(free_port())
    script = "trap 'exit 5' TERM; echo hello; while :; do sleep 0.1; done"
    name = ("--name", "c1", "-p", f"127.0.0.1:{port}:80", "-l", "a=b", "-e", "X=1")
    identity = docker.ok("run", "-d", *name, IMAGE, "sh", "-c", script).strip()
    assert len(identity) == 64
    row = docker.ok("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Ports}}")
    assert row.strip() == f"{identity} c1 127.0.0.1:{port}->80/tcp"
    assert docker.ok("ps", "-q", "-f", "label=a=b", "-f", "status=running").strip()
    assert not docker.ok("ps", "-q", "-f", "label=a=c").strip()
    wait_until(lambda: docker.ok("logs", "c1") == "hello\n", 10, what="its output in the log")
    assert docker.ok("logs", "-t", "--tail", "1", "c1").endswith("Z hello\n")
    assert docker.ok("port", "c1").strip().endswith(f"127.0.0.1:{port}")
    assert "sleep" in docker.ok("top", "c1")
    shape = json.loads(docker.ok("inspect", "c1"))[0]
    assert shape["State"]["Running"] and "X=1" in shape["Config"]["Env"]
    assert shape["NetworkSettings"]["Ports"]["80/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": port}
    ]
    docker.ok("pause", "c1")
    assert "(Paused)" in docker.ok("ps", "--format", "{{.Status}}")
    docker.ok("unpause", "c1")
    docker.ok("rename", "c1", "c2")
    docker.ok("update", "--memory", "64m", "--memory-swap", "128m", "c2")
    assert docker.ok("inspect", "-f", "{{.HostConfig.Memory}}", "c2").strip() == str(64 << 20)
    assert docker.run("rm", "c2").code == 1  # it runs
    docker.ok("stop", "-t", "5", "c2")
    assert docker.ok("wait", "c2").strip() == "5"
    docker.ok("start", "c2")
    docker.ok("restart", "-t", "0", "c2")
    docker.ok("kill", "c2")
    assert docker.ok("inspect", "-f", "{{.State.ExitCode}}", "c2").strip() == "137"
    docker.ok("rm", "c2")
    gone = docker.run("container", "inspect", "c2")
    assert gone.code == 1 and "No such" in gone.err


def test_exec_cp_diff_and_stats(docker: Docker, tmp_path: Path) -> None:
    docker.ok("run", "-d", "--name", "box", "--init", IMAGE, "sleep", "infinity")
    both = docker.run("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (both.code, both.out, both.err) == (3, "out\n", "err\n")
    assert docker.ok("exec", "-i", "box", "cat", stdin="in\n") == "in\n"
    assert docker.ok("exec", "-u", "12:34", "-w", "/tmp", "-e", "A=B", "box", "sh", "-c",
                     'echo "$(id -u) $PWD $A"').strip() == "12 /tmp B"  # fmt: skip
    assert docker.run("exec", "box", "no-such-program").code == 127
    astray = docker.run("exec", "-w", "/nowhere", "box", "true")
    assert astray.code == 127 and "OCI runtime exec failed: exec failed: " in astray.err
    assert docker.run("exec", "-u", "nobody-knows", "box", "true").code == 126
    docker.ok("exec", "-d", "box", "touch", "/tmp/detached")
    (tmp_path / "file").write_text("content")
    docker.ok("cp", str(tmp_path / "file"), "box:/tmp/copied")
    docker.ok("cp", "box:/tmp/copied", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"
    wait_until(lambda: "A /tmp/detached" in docker.ok("diff", "box"), 10, what="the detached exec")
    assert "A /tmp/copied" in docker.ok("diff", "box").splitlines()
    row = docker.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}").split()
    assert row[0] == "box" and int(row[1]) >= 1


def test_networks_and_volumes(docker: Docker, tmp_path: Path) -> None:
    docker.ok("network", "create", "--label", "k=v", "n1")
    assert docker.ok("network", "ls", "-q", "-f", "label=k=v").strip()
    docker.ok("volume", "create", "v1")
    docker.ok("run", "-d", "--name", "one", "--network", "n1", "--network-alias", "other",
              "-v", "v1:/data", IMAGE, "sh", "-c", "echo kept > /data/f; sleep 1000")  # fmt: skip
    address = docker.ok(
        "inspect", "-f", '{{(index .NetworkSettings.Networks "n1").IPAddress}}', "one"
    ).strip()
    found = docker.ok("run", "--rm", "--network", "n1", IMAGE, "getent", "hosts", "other")
    assert found.split()[0] == address
    members = json.loads(docker.ok("network", "inspect", "n1"))[0]["Containers"]
    assert [m["Name"] for m in members.values()] == ["one"]
    assert docker.run("network", "rm", "n1").code == 1
    assert docker.run("volume", "rm", "v1").code == 1
    assert docker.ok("run", "--rm", "-v", "v1:/x:ro", IMAGE, "cat", "/x/f") == "kept\n"
    docker.ok("run", "-d", "--name", "two", "--init", IMAGE, "sleep", "infinity")
    assert docker.run("exec", "two", "getent", "hosts", "one").code != 0
    docker.ok("network", "connect", "n1", "two")
    assert docker.ok("exec", "two", "getent", "hosts", "one").split()[0] == address
    docker.ok("network", "disconnect", "n1", "two")
    assert docker.run("exec", "two", "getent", "hosts", "one").code != 0
    # Who has stopped keeps no network, but does not run without the one that it was in.
    docker.ok("stop", "-t", "0", "one")
    docker.ok("network", "rm", "n1")
    refused = docker.run("start", "one")
    assert refused.code == 1 and "network n1 not found" in refused.err
    docker.ok("network", "create", "n1")
    docker.ok("network", "connect", "n1", "one")
    docker.ok("start", "one")
    assert docker.ok("exec", "one", "ls", "/sys/class/net").split() == ["eth0", "lo"]
    docker.ok("rm", "-f", "one", "two")
    docker.ok("network", "rm", "n1")
    docker.ok("volume", "rm", "v1")
    # What a volume is by the options of the local driver: memory, a directory of the host's.
    kept = tmp_path / "kept"
    kept.mkdir()
    kept.chmod(0o777)
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
    docker.ok("volume", "create", *options, "mem")
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={kept}")
    docker.ok("volume", "create", *options, "host")
    mount = "src=new,dst=/n,volume-label=a=b,volume-opt=type=tmpfs,volume-opt=o=size=2m"
    shown = docker.ok("run", "--rm", "-v", "mem:/m", "-v", "host:/h", "--mount", mount, IMAGE,
                      "sh", "-c", "touch /h/seen; grep -E ' /(m|n) ' /proc/mounts")  # fmt: skip
    assert "size=1024k" in shown and "size=2048k" in shown and (kept / "seen").exists()
    assert docker.ok("volume", "inspect", "-f", "{{.Labels.a}}", "new").strip() == "b"
    assert "no option" in docker.run("volume", "create", "-o", "no=option", "bad").err
    odd = docker.run("create", "--volume-driver", "odd", "-v", "data:/data", IMAGE)
    assert 'no volume driver "odd"' in odd.err
    assert "no place for a mount" in docker.run("create", "-v", "d:/data", IMAGE).err
    docker.ok("volume", "rm", "mem", "host", "new")
    assert (kept / "seen").exists()
    assert "no such volume" in docker.run("volume", "inspect", "v1").err.lower()


def test_images(docker: Docker, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "sh")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(root, ".")
    identity = docker.ok("import", str(tmp_path / "root.tar"), "tiny:1").strip()
    assert docker.ok("images", "-q", "--no-trunc", "tiny").strip() == identity
    assert docker.ok("run", "--rm", "tiny:1", "/bin/sh", "-c", "echo tiny") == "tiny\n"
    docker.ok("tag", "tiny:1", "other:2")
    assert identity[7:19] in docker.ok("history", "other:2")
    docker.ok("save", "-o", str(tmp_path / "saved.tar"), "tiny:1")
    assert docker.ok("rmi", "tiny:1").strip() == "Untagged: tiny:1"
    assert f"Deleted: {identity}" in docker.ok("rmi", "other:2")
    assert docker.run("inspect", "tiny:1").code == 1
    assert "Loaded image: tiny:1" in docker.ok("load", "-i", str(tmp_path / "saved.tar"))
    assert docker.ok("image", "inspect", "-f", "{{.Id}}", "tiny:1").strip() == identity
    (tmp_path / "Dockerfile").write_text(
        "FROM tiny:1\nARG WHAT\nCOPY said /said\n"
        'RUN ["/bin/sh", "-c", "echo $WHAT > /done; echo building"]\n'
        'CMD ["/bin/sh", "-c", "read a < /done; read b < /said; echo $a $b"]\n'
    )
    (tmp_path / "said").write_text("here\n")
    built = docker.ok(
        "build", "-t", "built:1", "--build-arg", "WHAT=now", "-m", "9m", str(tmp_path)
    )
    assert "building" in built and "Successfully tagged built:1" in built
    assert "memory has no effect" in built and " : RUN " in built
    assert docker.run("build", "--network", "odd", str(tmp_path)).code == 1
    used = docker.ok("system", "df", "--format", "{{.Type}} {{.Size}}").splitlines()
    assert used[0].startswith("Images ") and used[0] != "Images 0B"
    assert docker.ok("run", "--rm", "built:1") == "now here\n"
    (tmp_path / "Dockerfile").write_text('FROM tiny:1\nRUN ["/bin/sh", "-c", "exit 3"]\n')
    failed = docker.run("build", str(tmp_path))
    assert failed.code == 3 and "returned a non-zero code: 3" in failed.err
    docker.ok("rmi", "built:1", "tiny:1")
    absent = docker.run("run", "--rm", "registry.invalid/absent:1", "true")
    assert absent.code == 125 and "registry.invalid" in absent.err


def test_events_and_the_engine_itself(docker: Docker) -> None:
    assert docker.ok("version", "-f", "{{.Server.APIVersion}}").strip() == "1.51"
    assert docker.ok("info", "-f", "{{.OSType}}").strip() == "linux"
    assert IMAGE in docker.ok("images")
    assert json.loads(docker.ok("image", "inspect", IMAGE))[0]["Os"] == "linux"
    listening = subprocess.Popen(
        [docker.program, "events", "-f", "type=container", "--format", "{{.Action}}"],
        env=docker.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert listening.stdout is not None
        # It is told of everything from the moment that its request was answered.
        seen: list[str] = []
        while "destroy" not in seen:
            docker.ok("run", "--rm", IMAGE, "true")
            seen = docker.ok(
                "events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"
            ).split("\n")
        assert {"create", "attach", "start", "die", "destroy"} <= set(seen)
        assert listening.stdout.readline().strip() in seen
    finally:
        listening.kill()
        listening.wait()
    docker.ok("system", "df")
    docker.ok("container", "prune", "-f")
