"""Images: pull and unpack of a root file system from a registry in the box, import, save, load.

The root is about 195 MB of this machine's own files, as near to a Debian root
file system as can be had without a network: programs, libraries, documents.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from contenders import STACKCTL, Contender
from work import Kind, Samples, timed

_MEGABYTES = 195
_PARTS = ("usr/sbin", "usr/share/perl", "usr/share/zoneinfo", "usr/lib/python3.11", "usr/bin")
_ADDRESS = "127.0.0.1:5055"
NAME = f"{_ADDRESS}/root:1"

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"}}
"""


class Images(Kind):
    """All that moves a root file system; each row ends with the image unpacked and usable."""

    name = "images"
    large = True

    def __init__(self) -> None:
        self._archive: Path | None = None

    def fits(self, contender: Contender) -> bool:
        return shutil.which("docker-registry") is not None

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        archive = self._prepared(directory)
        client, insecure = _client(contender)
        place = directory / "images"

        def step(row: str, *argv: str) -> None:
            samples.add(row, contender, timed(contender, place, (*client, *argv)))

        step("image: pull + unpack, 195 MB", "pull", *insecure, NAME)
        self._commit(contender, place, samples)
        saved = place / f"{contender.name}.tar"
        step("image: save", "save", "-o", str(saved), NAME)
        timed(contender, place, (*client, *_remove(contender), NAME))
        step("image: load", "load", "-i", str(saved))
        timed(contender, place, (*client, *_remove(contender), NAME))
        saved.unlink()
        step("image: import", "import", str(archive), "imported:1")
        timed(contender, place, (*client, *_remove(contender), "imported:1"))
        if contender.name == "stackctl":
            out = place / "tar"
            out.mkdir()
            began = time.monotonic()
            subprocess.run(["tar", "-xzf", str(archive), "-C", str(out)], check=True)
            samples.add("(tar -xzf of the same layer)", contender, time.monotonic() - began)
            shutil.rmtree(out)

    @staticmethod
    def _commit(contender: Contender, place: Path, samples: Samples) -> None:
        """A container that got 50 MB of new files; only these are to be written."""
        new = place / "new"
        if not new.exists():
            new.mkdir()
            for number in range(50):
                (new / str(number)).write_bytes(os.urandom(1_000_000))
        name = f"committed-{contender.name}"

        def do(*argv: str) -> float:
            return timed(contender, place, contender.engine("container", *argv))

        do("create", "--network", "none", "--name", name, NAME, "/bin/true")
        do("cp", str(new), f"{name}:/new")
        samples.add("container: commit 50 MB", contender, do("commit", name, "committed:1"))
        do("rm", "-f", name)
        client, _ = _client(contender)
        timed(contender, place, (*client, *_remove(contender), "committed:1"))

    def _prepared(self, directory: Path) -> Path:
        """The layer, and the registry that has it; once for all contenders."""
        if self._archive is not None:
            return self._archive
        place = directory / "images"
        place.mkdir()
        archive = place / "root.tar.gz"
        names = _chosen()
        tar = ["tar", "-C", "/", "--no-recursion", "-T", "-", "-cf", "-"]
        packed = subprocess.run(
            tar, input="\n".join(names).encode(), stdout=subprocess.PIPE, check=True
        )
        with archive.open("wb") as file:
            subprocess.run(["gzip", "-6"], input=packed.stdout, stdout=file, check=True)
        (place / "registry.yml").write_text(
            _CONFIG.format(root=place / "registry", address=_ADDRESS)
        )
        subprocess.Popen(
            ["docker-registry", "serve", str(place / "registry.yml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._publish(place, archive)
        self._archive = archive
        return archive

    @staticmethod
    def _publish(place: Path, archive: Path) -> None:
        """By an engine of its own, so that none of those measured knows the layer."""
        environment = {
            **os.environ,
            "STACKCTL_ROOT": str(place / "publisher"),
            "STACKCTL_RUN": str(place / "run"),
        }
        for argv in (("import", str(archive), NAME), ("push", NAME)):
            command = [STACKCTL, "image", *argv]
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def _chosen() -> list[str]:
    """Names below / whose files add up to the size that is wanted, directories first."""
    total, names = 0, []
    for part in _PARTS:
        for folder, _, files in os.walk(f"/{part}"):
            names.append(folder[1:])
            for file in sorted(files):
                path = os.path.join(folder, file)
                size = os.lstat(path).st_size
                if total + size > _MEGABYTES * 1_000_000:
                    continue
                total += size
                names.append(path[1:])
    return names


def _client(contender: Contender) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command that handles images, and what lets it pull without TLS."""
    insecure = ("--tls-verify=false",) if contender.name == "podman" else ()
    return contender.engine("image"), insecure


def _remove(contender: Contender) -> tuple[str, ...]:
    return ("rm", "-f")
