"""Docker's own programs, pointed at an engine of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.engine import Engine, Result

#: Seconds that one command of a foreign client may take.
LIMIT = 60.0


def commands() -> list[str]:
    """Every `docker` of this machine, Debian's old one and a newer one in front of it."""
    found = [shutil.which("docker"), "/usr/bin/docker"]
    return list(dict.fromkeys(p for p in found if p and os.access(p, os.X_OK)))


@dataclass(slots=True)
class Docker:
    """One client program; `host` is what DOCKER_HOST says."""

    engine: Engine
    program: str

    @property
    def host(self) -> str:
        return f"unix://{self.engine.paths.socket}"

    @property
    def environment(self) -> dict[str, str]:
        home = self.engine.home / "client"
        home.mkdir(exist_ok=True)
        return {
            **self.engine.environment,
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(home),
            "HOME": str(home),
            "DOCKER_CLI_HINTS": "false",
            # The classic builder: a BuildKit session is gRPC over the socket.
            "DOCKER_BUILDKIT": "0",
        }

    def run(self, *argv: str, stdin: str = "", cwd: Path | None = None) -> Result:
        done = subprocess.run(
            [self.program, *argv],
            cwd=cwd,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
        return Result(
            argv=(self.program, *argv),
            code=done.returncode,
            out=done.stdout,
            err=done.stderr,
            elapsed=0.0,
        )

    def ok(self, *argv: str, stdin: str = "", cwd: Path | None = None) -> str:
        result = self.run(*argv, stdin=stdin, cwd=cwd)
        assert result.code == 0, f"{result}\n{self.engine.logs()}"
        return result.out


@dataclass(slots=True)
class RemoteDocker(Docker):
    """The same client, over TCP; `certificates` has ca.pem, cert.pem and key.pem."""

    address: str = ""
    certificates: Path = Path()

    @property
    def host(self) -> str:
        return f"tcp://{self.address}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **Docker.environment.fget(self),  # type: ignore[attr-defined]
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(self.certificates),
        }
