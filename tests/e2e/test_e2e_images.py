"""Images from a registry, in stacks and by the commands for images, on the real command line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.image.build.build import own_platform
from support.docker_registry import base_layer, change_layer, docker_registry, publish
from support.engine import Engine
from support.registries import fake_registry
from support.stack import Stack
from support.tars import entry, tar
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

STACK = """\
services:
  one: {image: "${REGISTRY}/app:1", init: true}
  two: {image: "${REGISTRY}/app:1", command: sleep infinity, init: true}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("registry")
    with docker_registry(directory) as address:
        layers = (base_layer(), change_layer())
        publish(directory, f"{address}/app:1", *layers, command=("sleep", "infinity"))
        yield address


@pytest.fixture
def app(stack: Stack, registry: str) -> Stack:
    stack.write(STACK)
    stack.env["REGISTRY"] = registry
    return stack


def test_up_pulls_what_is_missing_and_then_no_more(app: Stack, registry: str) -> None:
    plan = app.run("plan").expect(2).out
    assert "1 to pull" in plan and plan.count(f"image {registry}/app:1") == 1
    app.up()
    assert set(app.states().values()) == {"running"}
    assert "nothing to do" in app.run("plan").expect(0).text
    # The image as the container sees it: owners, modes, what an upper layer hides and adds.
    script = "stat -c '%u %g %a' /home/app /home/app/own /tmp /bin/setuid; ls /etc; cat /etc/added"
    seen = app.ok("exec", "-T", "two", "sh", "-c", script).out.splitlines()
    assert seen[:4] == ["1000 1000 2750", "1000 1000 640", "0 0 1777", "0 0 4755"]
    assert "removed" not in seen and seen[-1] == "added"
    # A device node of an image opens nothing.
    assert app.run("exec", "-T", "two", "cat", "/node").code != 0
    in_use = app.engine.run("image", "rm", f"{registry}/app:1")
    assert in_use.code == 1 and "in use" in in_use.err
    app.down()


def test_a_service_starts_when_its_own_image_is_here(app: Stack, registry: str) -> None:
    held = threading.Event()
    with fake_registry() as slow:
        slow.add_image(base_layer(), Cmd=["sleep", "infinity"])
        slow.meddle = lambda handler, request: "/blobs/" in request.path and not held.wait(60)
        app.write(f"""\
            services:
              late: {{image: "{slow.name()}", init: true}}
              early: {{image: "{registry}/app:1", init: true}}
            """)
        with app.start("up", "-d", "--wait") as up:
            early = {f"{app.directory.name}-early-1": "running"}
            wait_until(lambda: app.states() == early, 60, what="the early one runs")
            assert slow.asked("GET", "/blobs/") and up.poll() is None
            held.set()
            out, _ = up.communicate(timeout=60)
    assert up.returncode == 0, out
    assert set(app.states().values()) == {"running"} and len(app.states()) == 2
    # Both have their image's command, though it was not known when they were planned.
    assert f"image {slow.name()}" in out and "layer " in out
    ps = app.engine.ok("container", "inspect", f"{app.directory.name}-late-1").out
    assert json.loads(ps)[0]["Config"]["Cmd"] == ["sleep", "infinity"]
    # An existing container: what the pull brings decides, and here it is the same.
    before = app.ids()
    assert "pull_policy: always" in app.run("plan", "early", "--pull", "always").expect(2).out
    app.up("early", "--pull", "always")
    assert app.ids() == before
    wait_until(lambda: "every_1s" in _plan_with(app, registry, "every_1s"), 60, what="it is old")
    assert "pull" not in _plan_with(app, registry, "every_12h")
    app.down("--remove-orphans")


def _plan_with(app: Stack, registry: str, policy: str) -> str:
    app.write(f'services: {{early: {{image: "{registry}/app:1", pull_policy: {policy}}}}}')
    return app.run("plan").out


def test_an_image_that_is_nowhere_is_said_so(app: Stack, registry: str) -> None:
    app.write(f'services: {{a: {{image: "{registry}/nowhere:1"}}}}')
    failed = app.run("up", "-d")
    assert failed.code == 1
    assert f"{registry} does not have nowhere:1" in failed.err
    app.write(f'services: {{a: {{image: "{registry}/app:1", pull_policy: never}}}}')
    assert "never" in app.run("up", "-d").expect(1).err
    app.down()


def test_the_commands_for_images(app: Stack, registry: str, tmp_path: Path) -> None:
    engine = app.engine
    name = f"{registry}/app:1"
    assert name in engine.ok("image", "pull", name).out
    engine.ok("image", "tag", name, "mine:2")
    rows = [
        json.loads(line) for line in engine.ok("image", "ls", "--format", "json").out.splitlines()
    ]
    assert {"mine", f"{registry}/app", "stackctl/host"} == {row["Repository"] for row in rows}
    (own,) = json.loads(engine.ok("image", "inspect", "stackctl/host").out)
    assert own["RepoTags"] == ["stackctl/host:latest"] and own["Os"] == "linux"
    assert engine.ok("image", "inspect", "-f", "{{.Id}}", own["Id"][7:19]).out == f"{own['Id']}\n"
    for verb in (
        ("tag", "stackctl/host", "x:1"),
        ("rm", "stackctl/host"),
        ("save", "stackctl/host"),
    ):
        assert "is the machine itself" in engine.run("image", *verb).expect(1).err, verb
    (shown,) = json.loads(engine.ok("image", "inspect", "mine:2").out)
    assert shown["Config"]["Labels"] == {"made": "by a test"}
    assert sorted(shown["RepoTags"]) == sorted(["mine:2", name])
    assert _listed(engine, "reference=min*") == ["mine:2"]
    assert _listed(engine, "since=stackctl/host") == []  # they are older than the machine's own
    assert _listed(engine, "before=stackctl/host") == sorted(["mine:2", name])
    assert _listed(engine, "label=made=by a test", "reference=mine") == ["mine:2"]
    assert _listed(engine, "dangling=true") == []
    assert engine.run("image", "ls", "-f", "size=1").code == 2
    assert engine.ok("image", "inspect", "-f", "{{.Id}}", name).out.strip() == shown["Id"]
    engine.ok("image", "prune", "-a", "-f", "--filter", "label!=made")  # none of them
    archive = tmp_path / "saved.tar"
    engine.ok("image", "save", "-o", str(archive), "mine:2")
    assert "Untagged: mine:2" in engine.ok("image", "rm", "mine:2").out
    assert f"Deleted: {shown['Id']}" in engine.ok("image", "rm", name).out
    assert "Loaded image: mine:2" in engine.ok("image", "load", "-i", str(archive)).out
    assert json.loads(engine.ok("image", "inspect", "mine:2").out)[0]["Id"] == shown["Id"]
    for tag in ("1", "2"):
        engine.ok("image", "tag", "mine:2", f"{registry}/copy:{tag}")
    pushed = engine.ok("image", "push", "-a", f"{registry}/copy").out.splitlines()
    assert [line.partition(" ")[0] for line in pushed] == ["1:", "2:"]
    engine.ok("image", "rm", "-f", f"{registry}/copy:1", f"{registry}/copy:2")
    pulled = engine.ok("image", "pull", "-a", "-q", f"{registry}/copy").out.splitlines()
    assert sorted(pulled) == [f"{registry}/copy:1", f"{registry}/copy:2"]
    assert engine.run("image", "pull", "-a", f"{registry}/copy:2").code == 2
    for command in (("inspect",), ("history",), ("save", "-o", str(archive)), ("rm",), ("push",)):
        wrong = engine.run("image", *command, "--platform", "linux/s390x", "mine:2").expect(1)
        assert "not for linux/s390x" in wrong.err, command
    engine.ok("image", "inspect", "--platform", own_platform(), "mine:2")
    assert engine.run("image", "verify").code == 0
    app.write('services: {a: {image: "mine:2", command: "true"}}')
    app.ok("run", "--rm", "-T", "a", "cat", "/etc/added")
    app.down()


def _listed(engine: Engine, *filters: str) -> list[str]:
    flags = [part for text in filters for part in ("-f", text)]
    out = engine.ok("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", *flags).out
    return sorted(line for line in out.splitlines() if line != "stackctl/host:latest")


def test_a_daemon_killed_in_a_pull_leaves_images_that_verify(
    app: Stack, registry: str, tmp_path: Path, engine: Engine
) -> None:
    name = f"{registry}/large:1"
    publish(tmp_path, name, tar(*(entry(f"d/{n}", os.urandom(30_000)) for n in range(600))))
    images = engine.paths.images
    with engine.start("image", "pull", name) as pulling:
        wait_until(lambda: any((images / "layers").glob(".new-*/root/d/*")), what="it unpacks")
        engine.kill(engine.daemon_pids())
        pulling.wait(timeout=20)
    assert engine.run("image", "verify").code == 0
    engine.ok("image", "pull", name)
    assert engine.run("image", "verify").code == 0
    assert name.partition(":")[0] in engine.ok("image", "ls").out
    assert not [n for n in os.listdir(images / "layers") if n.startswith(".")]


def test_container_run_pulls_what_is_missing(engine: Engine, registry: str) -> None:
    image = f"{registry}/app:1"
    never = engine.run("container", "run", "--rm", "--pull", "never", image, "true").expect(125)
    assert "not on this machine" in never.err
    first = engine.run("container", "run", "--rm", image, "echo", "out")
    assert (first.code, first.out) == (0, "out\n")
    assert f"Unable to find image '{image}' locally" in first.err
    assert first.err.count(": Complete") == 2 and "Downloaded newer image" in first.err
    again = engine.run("container", "run", "--rm", image, "echo", "out")
    assert (again.out, again.err) == ("out\n", "")
    always = engine.ok("container", "create", "--pull", "always", image, "true")
    assert "Image is up to date" in always.err and len(always.out.strip()) == 64
    assert engine.run("container", "create", "--pull", "often", image).expect(2).err
    # Nothing of another platform runs by mistake, and -q says nothing of a pull.
    other = engine.run("container", "run", "--rm", "--platform", "linux/s390x", image, "true")
    assert other.code == 125 and "Unable to find image" in other.err
    own = engine.run("container", "run", "--rm", "--platform", "linux/amd64", image, "true")
    assert (own.code, own.err) == (0, "")
    engine.ok("container", "rm", always.out.strip())
    engine.ok("image", "rm", image)
    quiet = engine.run("container", "run", "--rm", "-q", image, "echo", "out")
    assert (quiet.code, quiet.out, quiet.err) == (0, "out\n", "")
    gone = engine.run("container", "run", "--rm", f"{registry}/none:1", "true").expect(125)
    assert "none:1" in gone.err and "Unable to find image" in gone.err
