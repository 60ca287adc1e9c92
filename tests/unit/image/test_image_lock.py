"""Lock files and bundles: what is pinned, what is refused, what goes along."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from stackctl.errors import ImageError, UsageError
from stackctl.image import lockfile
from stackctl.image.bundle import (
    BundledImage,
    Contents,
    Description,
    read_project,
    relative_sources,
    write_project,
)
from support.tars import END

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("ghcr.io/acme/api:1.2", "ghcr.io/acme/api:1.2"),
        (f"nginx@{DIGEST}", ""),
        ("stackctl/host", ""),
        ("NOT/an image", ""),
        ("", ""),
    ],
)
def test_what_can_be_locked(image: str, whole: str) -> None:
    assert lockfile.lockable(image) == whole


def test_a_lock_file_round_trips_and_pins(tmp_path: Path) -> None:
    path = lockfile.path_of(str(tmp_path / "compose.yaml"))
    assert path == tmp_path / "compose.lock" and lockfile.read(path) is None
    images = {"docker.io/library/redis:7": DIGEST, "docker.io/library/nginx:latest": DIGEST}
    lockfile.write(path, images)
    assert lockfile.read(path) == images
    assert path.read_text() == lockfile.text(dict(reversed(images.items())))
    assert lockfile.pins(["nginx", "redis:8"], images) == {
        "nginx": f"docker.io/library/nginx:latest@{DIGEST}"
    }


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2, "images": {}}', '{"version": 1, "images": {"a": "1"}}'],
)
def test_what_is_no_lock_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stack.lock"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"stack\.lock") as told:
        lockfile.read(path)
    assert "--no-lock" in told.value.hint


def test_host_paths_of_a_bundle() -> None:
    data = {
        "services": {
            "a": {
                "volumes": [
                    {"type": "bind", "source": "/p/data", "target": "/1"},
                    {"type": "bind", "source": "/p/data/inner", "target": "/2"},
                    {"type": "bind", "source": "/p/missing", "target": "/3"},
                    {"type": "bind", "source": "/elsewhere", "target": "/4"},
                    {"type": "bind", "source": "/p", "target": "/5"},
                    {"type": "volume", "source": "named", "target": "/6"},
                ]
            }
        },
        "secrets": {"s": {"file": "/p/s.txt"}, "t": {"file": "/run/t.txt"}},
    }
    taken, outside = relative_sources(data, "/p", lambda path: "missing" not in path)
    assert taken == {"data": "/p/data", "s.txt": "/p/s.txt", "secrets/t": "/run/t.txt"}
    # A whole project directory is not taken: the bundle itself may lie in it.
    assert list(outside) == ["/elsewhere", "/p"]
    sources = [mount["source"] for mount in data["services"]["a"]["volumes"]]
    assert sources == ["./data", "./data/inner", "./missing", "/elsewhere", "/p", "named"]
    assert data["secrets"] == {"s": {"file": "./s.txt"}, "t": {"file": "./secrets/t"}}


def test_a_project_comes_out_as_it_went_in(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "f").write_bytes(b"x" * 700)
    (tree / "sub" / "f").chmod(0o4640)
    (tree / "link").symlink_to("sub/f")
    image = BundledImage(name="nginx", id=DIGEST, digest=DIGEST)
    described = Description(project="p", images=(image,))
    out = io.BytesIO()
    write_project(out.write, described, Contents(texts={"stack.yaml": "a"}, trees={"t": tree}))
    place = tmp_path / "place"
    place.mkdir()
    assert read_project(io.BytesIO(out.getvalue() + END).read, place) == described
    assert (place / "stack.yaml").read_text() == "a"
    assert (place / "t/link").read_bytes() == b"x" * 700
    # The bit that makes others root does not come along.
    assert (place / "t/sub/f").stat().st_mode & 0o7777 == 0o640
    with pytest.raises(ImageError, match="no bundle"):
        read_project(io.BytesIO(END).read, tmp_path)
