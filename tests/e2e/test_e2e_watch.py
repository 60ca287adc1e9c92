"""`watch` and `up --watch`: what is saved here arrives in the containers."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

FILE = """\
services:
  web:
    build: .
    init: true
    develop:
      watch:
        - {path: src, action: sync, target: /app, ignore: ["**/*.tmp"], initial_sync: true}
        - {path: conf, action: sync+restart, target: /conf}
        - path: hook
          action: sync+exec
          target: /hook
          exec:
            command: [sh, -c, "cat /hook/x >/seen; echo $$WHO >>/seen; echo heard $$WHO"]
            environment: {WHO: me}
        - {path: Dockerfile, action: rebuild}
"""
DOCKERFILE = """\
FROM stackctl/host
CMD ["sh", "-c", "echo version one; exec sleep infinity"]
"""


def project(stack: Stack) -> Path:
    here = stack.directory
    for name in ("src", "conf", "hook"):
        (here / name).mkdir()
    (here / "src" / "first").write_text("1")
    (here / ".dockerignore").write_text("src/cache\n")
    (here / "Dockerfile").write_text(DOCKERFILE)
    stack.write(FILE)
    return here


def inside(stack: Stack, path: str, content: str) -> None:
    """Waits until a file in the container has this content; "" for: is gone."""

    def has_it() -> bool:
        found = stack.run("exec", "-T", "web", "cat", path)
        return found.out == content if content else found.code == 1

    wait_until(has_it, 30, what=f"{path} in the container: {content!r}")


def lines_of(process: Any, wanted: str) -> str:
    """Reads until a line has `wanted`; all that was read. The test's own limit ends a wait."""
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(f"it ended without {wanted!r}:\n{seen}")


def test_watch_copies_restarts_executes_and_rebuilds(stack: Stack) -> None:
    here = project(stack)
    with stack.start("watch") as process:
        lines_of(process, "watching 4 paths")
        inside(stack, "/app/first", "1")

        (here / "src" / "new" / "deep").mkdir(parents=True)
        (here / "src" / "new" / "deep" / "file").write_text("deep")
        (here / "src" / "left.tmp").write_text("out")
        (here / "src" / "cache").mkdir()
        (here / "src" / "cache" / "x").write_text("out")
        inside(stack, "/app/new/deep/file", "deep")
        assert stack.run("exec", "-T", "web", "ls", "/app").out.split() == ["first", "new"]
        (here / "src" / "new" / "deep" / "file").unlink()
        inside(stack, "/app/new/deep/file", "")

        (here / "hook" / "x").write_text("hooked\n")
        inside(stack, "/seen", "hooked\nme\n")
        lines_of(process, "heard me")

        before = stack.ids()
        (here / "conf" / "a").write_text("a")
        lines_of(process, "web: restarted")
        inside(stack, "/conf/a", "a")
        assert stack.ids() == before

        (here / "Dockerfile").write_text(DOCKERFILE.replace("one", "two"))
        lines_of(process, "runs the new image")
        assert stack.ids() != before and len(stack.ids()) == 1
        assert "version two" in stack.ok("logs", "web").out

        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert stack.states() == {"app-web-1": "running"}
    stack.down()


def test_up_watch_goes_on_with_the_logs_of_what_is_made_anew(stack: Stack) -> None:
    here = project(stack)
    with stack.start("up", "--watch") as process:
        assert "attached to web-1" in lines_of(process, "watching 4 paths")
        (here / "Dockerfile").write_text(DOCKERFILE.replace("one", "two"))
        lines_of(process, "version two")
        (here / "src" / "later").write_text("later")
        lines_of(process, "web: copied src/later")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert stack.states() == {"app-web-1": "exited"}
    stack.down()


def test_a_rule_that_cannot_work_is_told_with_its_place(stack: Stack) -> None:
    stack.write("""\
        services:
          web:
            image: stackctl/host
            develop:
              watch:
                - {path: ., action: sync}
                - {path: ., action: rebuild}
                - {path: ., action: sync+exec, target: /x}
        """)
    found = stack.run("config", "-q").expect(1).err
    for line, text in ((6, "needs a target"), (7, "has no build"), (8, "needs a command")):
        assert any(f"stack.yaml:{line}:" in each and text in each for each in found.splitlines())
    stack.write("services: {web: {image: stackctl/host}}\n")
    assert "develop" in stack.run("watch", "--no-up").expect(2).err
