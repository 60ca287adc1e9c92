"""Where an engine answers besides its own socket: flags, and the link at Docker's place."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stackctl.api.listening import Link, listening
from stackctl.errors import UsageError

FILES = ("ca.pem", "cert.pem", "key.pem")


def test_what_the_flags_say() -> None:
    hosts = ["tcp://:2376", "tcp://[::1]:1", "unix:///x/y.sock", "/z.sock"]
    found = listening(hosts, verify=True, files=FILES, group="g", link="/d.sock")
    assert found.tcp == (("", 2376), ("::1", 1))
    assert found.sockets == (Path("/x/y.sock"), Path("/z.sock"))
    assert found.files is not None and found.files.key == Path("key.pem").absolute()
    assert (found.group, found.link) == ("g", Path("/d.sock"))
    assert listening((), verify=False, files=("", "", "")).files is None


@pytest.mark.parametrize(
    ("host", "verify", "files"),
    [
        ("tcp://:2376", False, FILES),
        ("tcp://:2376", True, ("ca.pem", "", "key.pem")),
        ("tcp://127.0.0.1:2375", False, ("", "", "")),
        ("http://x", True, FILES),
        ("relative.sock", True, FILES),
    ],
)
def test_what_is_refused(host: str, verify: bool, files: tuple[str, str, str]) -> None:
    with pytest.raises(UsageError):
        listening([host], verify=verify, files=files)


def test_the_link_is_made_and_removed(tmp_path: Path) -> None:
    ours, place = tmp_path / "engine.sock", tmp_path / "docker.sock"
    link = Link(place, ours)
    assert link.make() and place.readlink() == ours
    assert link.make()  # one that a killed engine left
    link.remove()
    assert not place.is_symlink()
    place.symlink_to(tmp_path / "nowhere")
    assert link.make() and place.readlink() == ours
    assert not Link(tmp_path / "no/directory", ours).make()


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    ours, place = tmp_path / "engine.sock", tmp_path / "docker.sock"
    link = Link(place, ours)
    with socket.socket(socket.AF_UNIX) as real:
        real.bind(str(place))
        assert not link.make()
        link.remove()
        assert place.is_socket()
    place.unlink()
    (tmp_path / "other.sock").touch()
    place.symlink_to(tmp_path / "other.sock")
    assert not link.make()
    link.remove()
    assert place.readlink() == tmp_path / "other.sock"
