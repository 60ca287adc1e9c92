"""A stack in a directory, driven through the command line; and fetching pages from it."""

from __future__ import annotations

import json
import socket
import textwrap
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.engine import Engine, Result

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "stacks"


@dataclass(slots=True)
class Stack:
    """A project directory with the engine that is to run it."""

    engine: Engine
    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    #: Options before the command, such as ("-p", "other").
    options: tuple[str, ...] = ()

    def run(self, *argv: str, **more: Any) -> Result:
        env = {**self.env, **more.pop("env", {})}
        return self.engine.run(*self.options, *argv, cwd=self.directory, env=env, **more)

    def ok(self, *argv: str, **more: Any) -> Result:
        """Runs a command that has to succeed; a failure shows the daemon's log."""
        env = {**self.env, **more.pop("env", {})}
        return self.engine.ok(*self.options, *argv, cwd=self.directory, env=env, **more)

    def up(self, *argv: str, **more: Any) -> Result:
        return self.ok("up", "-d", "--wait", *argv, **more)

    def down(self, *argv: str, **more: Any) -> Result:
        return self.ok("down", "-v", "-t", "2", *argv, **more)

    def start(self, *argv: str, **more: Any) -> Any:
        """The command as a process that goes on; see Engine.start."""
        env = {**self.env, **more.pop("env", {})}
        return self.engine.start(*self.options, *argv, cwd=self.directory, env=env, **more)

    def rows(self, *argv: str) -> list[dict[str, Any]]:
        """`ps --format json`, an object a line as docker compose prints it."""
        out = self.ok("ps", *argv, "--format", "json").out
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def states(self) -> dict[str, str]:
        """Container name -> state, ended ones too."""
        return {row["Name"]: row["State"] for row in self.rows("-a")}

    def ids(self) -> dict[str, str]:
        return {row["Name"]: row["ID"] for row in self.rows("-a")}

    def write(self, text: str) -> None:
        """Writes stack.yaml, dedented."""
        (self.directory / "stack.yaml").write_text(textwrap.dedent(text))


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_address() -> str:
    """The machine's own address towards the world (no packet is sent); 127.0.0.2 without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])


def fetch(
    url: str,
    body: bytes | None = None,
    *,
    timeout: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Status and text of a page. No proxy of the environment is asked. Raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


#: What the engine keeps of a stack: all of it has to go with `down -v`.
OF_A_STACK = ("containers", "endpoints", "networks", "volumes", "ports", "leases", "stacks")


def assert_nothing_of_a_stack(engine: Engine) -> None:
    """After `down -v` only the engine itself may be there: no container's anything."""
    left = engine.census()
    places = ("root/containers/", "root/volumes/", "run/c/")
    assert engine.container_processes() == []
    assert not left.links | left.mounts
    files = [path for path in left.files if path.startswith(places)]
    assert not files, f"left on disk: {files}"
    held = {row for row in left.records if row.split(":")[0] in OF_A_STACK}
    assert not [row for row in held if not row.endswith(": 0")]
    assert not [item for item in left.nft if item.startswith("element")]
