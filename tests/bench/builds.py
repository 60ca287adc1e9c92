"""Builds: six steps on a small base, cold and fully cached, beside classic Docker and BuildKit.

The base is the common content; the steps copy 200 files, run four commands and set
configuration. Cold means that every step is done: a word in the first one changes each time.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from contenders import IMAGE, Contender, image_tar
from work import Kind, Samples, timed

_DOCKERFILE = """\
FROM {base}
RUN echo {word} > /one && busybox mkdir -p /srv/app
COPY app /srv/app
RUN busybox find /srv/app -type f | busybox sort > /srv/list
RUN busybox cat /srv/app/* | busybox sha256sum > /srv/sum
WORKDIR /srv/app
RUN busybox wc -l /srv/list > /srv/count
"""


class Builds(Kind):
    """RUN, COPY, RUN, RUN, WORKDIR, RUN; no network for RUN where that can be said."""

    name = "builds"

    def __init__(self) -> None:
        self._count = 0
        self._based: set[str] = set()

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        for variant, environment, command in _commands(contender):
            place = directory / f"builds-{variant or contender.name}"
            self._context(place)
            self._base(contender, directory)
            self._count += 1
            (place / "Dockerfile").write_text(
                _DOCKERFILE.format(base=_base_name(contender), word=f"{variant}{self._count}")
            )
            for row in ("build: six steps, cold", "build: six steps, cached"):
                shown = f"{row} ({variant})" if variant else row
                samples.add(shown, contender, timed(contender, place, command, environment))

    @staticmethod
    def _context(place: Path) -> None:
        app = place / "app"
        if app.exists():
            return
        app.mkdir(parents=True)
        for number in range(200):
            (app / f"file{number:03}").write_text(f"content of {number}\n" * 50)

    def _base(self, contender: Contender, directory: Path) -> None:
        """Docker and Podman have the common content as an image; stackctl takes the same tar."""
        if contender.name != "stackctl" or contender.name in self._based:
            return
        self._based.add(contender.name)
        archive = directory / "base.tar"
        archive.write_bytes(image_tar())
        command = [*contender.compose("image", "import", str(archive), IMAGE)]
        environment = {**os.environ, **contender.environment}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def _base_name(contender: Contender) -> str:
    return f"localhost/{IMAGE}" if contender.name == "podman" else IMAGE


def _commands(contender: Contender) -> list[tuple[str, dict[str, str], tuple[str, ...]]]:
    """(variant, environment, command); the first is what the row compares."""
    match contender.name:
        case "docker":
            argv = ("/usr/bin/docker", "build", "-t", "made", ".")
            return [
                ("", {"DOCKER_BUILDKIT": "1"}, argv),
                ("classic", {"DOCKER_BUILDKIT": "0"}, argv),
            ]
        case "podman":
            flags = ("--layers", "--pull-never")
            return [("", {}, ("podman", "build", *flags, "-t", "made", "."))]
    command = contender.compose("image", "build", "-t", "made", ".")
    return [("", {}, command)]
