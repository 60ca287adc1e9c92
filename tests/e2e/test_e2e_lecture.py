"""The example of the lectures, from an empty engine: base, build, run, commit, push, pull.

Debian is made of its packages, and the build installs nginx from the package index: names,
outgoing packets and apt's sandbox have to work inside a container.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from support.docker_registry import docker_registry
from support.engine import Engine
from support.stack import fetch, free_port
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

DOCKERFILE = """\
FROM debian:bookworm
MAINTAINER Alumno <alumno@example.org>
RUN apt-get -y update && apt-get -y install nginx
COPY index.html /var/www/html/index.html
ENV SALUDO hola
EXPOSE 80
CMD ["nginx", "-g", "daemon off;"]
"""
PAGE = "<h1>Hola desde stackctl</h1>\n"
NAME = "nginx-aplicacion:2025.01"


@pytest.mark.timeout(600)
def test_the_lecture(engine: Engine, tmp_path: Path) -> None:
    engine.ok("image", "bootstrap", "debian:bookworm", "--variant", "apt", limit=400)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "index.html").write_text(PAGE)
    engine.ok("image", "build", "-t", NAME, ".", cwd=tmp_path, limit=400)
    (built,) = json.loads(engine.ok("image", "inspect", NAME).out)
    assert built["Author"] == "Alumno <alumno@example.org>"
    assert "80/tcp" in built["Config"]["ExposedPorts"]
    assert "SALUDO=hola" in built["Config"]["Env"]

    port = 80 if _is_free(80) else free_port()
    run = ("container", "run", "-d", "-p", f"{port}:80")
    engine.ok(*run, "--name", "mi-aplicacion", NAME)
    assert wait_until(lambda: _page(port), 60) == (200, PAGE)

    # A change, committed, pushed, removed, pulled: the file is gone in the new one, and the
    # layer that has it is still there.
    engine.ok("container", "exec", "mi-aplicacion", "rm", "/var/www/html/index.html")
    with docker_registry(tmp_path) as registry:
        name = f"{registry}/nginx-aplicacion:2025.02"
        engine.ok("container", "commit", "mi-aplicacion", name)
        engine.ok("container", "rm", "-f", "mi-aplicacion")
        (changed,) = json.loads(engine.ok("image", "inspect", name).out)
        layers = built["RootFS"]["Layers"]
        assert changed["RootFS"]["Layers"][:-1] == layers
        engine.ok("image", "push", name, limit=120)
        for each in (name, NAME, "debian:bookworm"):
            engine.ok("image", "rm", "-f", each)
        engine.ok("image", "prune", "-a", "-f")
        engine.ok("image", "pull", name, limit=120)
    (pulled,) = json.loads(engine.ok("image", "inspect", name).out)
    assert pulled["Id"] == changed["Id"] and pulled["RootFS"] == changed["RootFS"]
    look = ("container", "run", "--rm", name, "ls", "/var/www/html/")
    assert "index.html" not in engine.ok(*look).out
    kept = engine.paths.images / "layers"
    assert list(kept.glob("*/root/var/www/html/index.html"))
    assert engine.run("image", "verify", limit=120).code == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _page(port: int) -> tuple[int, str] | None:
    try:
        return fetch(f"http://127.0.0.1:{port}/")
    except OSError:
        return None
