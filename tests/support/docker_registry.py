"""A real registry (Debian's docker-registry) on a port of its own, and images to put into it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackctl.image.content import OCI_TAR_GZIP, Layer
from stackctl.image.registry.credentials import Keyring
from stackctl.image.registry.http import Pauses
from stackctl.image.registry.push import Pusher
from stackctl.image.registry.settings import Settings
from stackctl.image.store import Store
from stackctl.model.image import Image
from stackctl.model.reference import parse
from stackctl.state.paths import Paths
from support.registries import digest
from support.tars import directory, entry, gz, symlink, tar
from support.waiting import wait_until

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "{address}"}}
"""

#: cap_net_bind_service=ep, as security.capability has it (version 2, effective).
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
PROGRAMS = ("sh", "ls", "cat", "sleep", "id", "stat", "mkdir", "rm", "touch", "true", "echo")


@contextmanager
def docker_registry(directory_: Path) -> Iterator[str]:
    """Its address, host:port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    file = directory_ / "registry.yml"
    file.write_text(_CONFIG.format(root=directory_ / "registry", address=address))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(address), what="the registry answers")
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def base_layer() -> bytes:
    """A root with busybox, and what is easily lost on the way: owners, modes, rights, nodes."""
    busybox = Path("/bin/busybox").read_bytes()
    return tar(
        directory("bin"),
        entry("bin/busybox", busybox, mode=0o755),
        *(symlink(f"bin/{name}", "busybox") for name in PROGRAMS),
        entry("tmp/", kind=b"5", mode=0o1777),
        directory("etc"),
        entry("etc/passwd", b"root:x:0:0:root:/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"),
        entry("home/app/", kind=b"5", mode=0o2750, uid=1000, gid=1000),
        entry("home/app/own", b"mine\n", mode=0o640, uid=1000, gid=1000),
        entry("bin/server", b"#!/bin/sh\n", mode=0o755, xattrs={"security.capability": CAPABILITY}),
        entry("bin/setuid", b"#!/bin/sh\n", mode=0o4755),
        entry("node", kind=b"3", device=os.makedev(1, 7), mode=0o666),
        entry("etc/removed", b"x"),
    )


def change_layer() -> bytes:
    return tar(directory("etc"), entry("etc/.wh.removed"), entry("etc/added", b"added\n"))


def put_image(store: Store, name: str, *tars: bytes, command: tuple[str, ...] = ()) -> Image:
    layers = []
    for raw in tars:
        found = store.put_blob(gz(raw))
        layers.append(
            Layer(
                digest=found.digest, diff_id=digest(raw), size=found.size, media_type=OCI_TAR_GZIP
            )
        )
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"], "Labels": {"made": "by a test"}},
        "rootfs": {"type": "layers", "diff_ids": [digest(raw) for raw in tars]},
    }
    return store.put_image(json.dumps(config).encode(), layers, [name])


def push(store: Store, name: str) -> str:
    pusher = Pusher(store, Settings(), Keyring({"HOME": "/nonexistent"}), Pauses())
    return pusher.push(parse(name))[0]


def publish(directory_: Path, name: str, *tars: bytes, command: tuple[str, ...] = ()) -> str:
    """Put an image into a registry by way of a store that is not needed afterwards."""
    store = Store(Paths(directory_ / "publisher", directory_ / "publisher-run"))
    put_image(store, name, *tars, command=command)
    return push(store, name)
