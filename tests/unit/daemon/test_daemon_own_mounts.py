"""What is made on the host for a bind mount, and what is not."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stackctl.daemon import own_mounts
from stackctl.errors import ContainerError
from stackctl.image.service import Images
from stackctl.model.container import BindMount, ContainerConfig


def config(source: str) -> ContainerConfig:
    mounts = (BindMount(source=source, target="/x"),)
    return ContainerConfig(name="c", image="i", image_id="i", argv=("x",), mounts=mounts)


def make(config: ContainerConfig) -> None:
    asyncio.run(own_mounts.make_bind_sources(config))


def check(config: ContainerConfig) -> None:
    asyncio.run(own_mounts.check_bind_sources(config))


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    make(config(str(tmp_path / "a/b")))
    assert (tmp_path / "a/b").is_dir()


def test_what_has_to_be_there_is_asked_without_making_anything(tmp_path: Path) -> None:
    check(config(str(tmp_path / "a")))
    needed = BindMount(source=str(tmp_path / "a"), target="/y", create_host_path=False)
    # The mount before it makes it.
    both = config(str(tmp_path / "a"))
    both = replace(both, mounts=(*both.mounts, needed))
    check(both)
    with pytest.raises(ContainerError, match=r"the bind source .*/a does not exist"):
        check(replace(both, mounts=(needed,)))
    assert not (tmp_path / "a").exists()
    make(both)
    assert (tmp_path / "a").is_dir()


def test_the_engine_goes_on_while_a_path_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a mount whose server has gone."""
    goes_on = threading.Event()

    def exists(self: Path) -> bool:
        return goes_on.wait(10)

    monkeypatch.setattr(Path, "exists", exists)
    asked = config(str(tmp_path / "a"))

    async def both(work: Coroutine[Any, Any, object]) -> None:
        waits = asyncio.ensure_future(work)
        await asyncio.sleep(0.01)
        assert not waits.done()
        goes_on.set()
        await waits
        goes_on.clear()

    monkeypatch.setattr(own_mounts, "DOCKER_SOCKETS", (str(tmp_path / "a"),))
    no_images = cast("Images", None)
    asyncio.run(both(own_mounts.settled(asked, None, no_images, tmp_path, renew=False)))
    asyncio.run(both(own_mounts.check_bind_sources(asked)))
    asyncio.run(both(own_mounts.make_bind_sources(asked)))


def test_the_engines_socket_takes_dockers_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source_of(named: Path) -> str:
        no_images = cast("Images", None)
        (mount,) = asyncio.run(
            own_mounts.settled(config(str(named)), None, no_images, ours, renew=False)
        )
        assert isinstance(mount, BindMount)
        return mount.source

    ours, docker, link = (tmp_path / name for name in ("engine.sock", "docker.sock", "link"))
    monkeypatch.setattr(own_mounts, "DOCKER_SOCKETS", (str(docker),))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(ours))
    link.symlink_to(ours)
    assert source_of(docker) == str(ours)
    # A link to it: by the record's name of it the engine knows who may speak to it.
    assert source_of(link) == str(ours)
    assert source_of(tmp_path / "other") == str(tmp_path / "other")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(docker))
    assert source_of(docker) == str(docker)
    # One that has gone since then: no directory is made in its place.
    docker.unlink()
    with pytest.raises(ContainerError, match=r"there is no socket .* any more"):
        make(config(str(docker)))
    assert not docker.exists()
