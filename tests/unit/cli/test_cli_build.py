"""What `image build` takes from standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

BUILT = {"type": "result", "images": [{"id": "sha256:" + "0" * 64, "digest": "", "names": []}]}


@pytest.fixture
def built(cli: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds with this on standard input: (outcome, what was asked, the kept file's content)."""

    def build(content: Any, *arguments: str) -> tuple[Any, dict[str, Any], bytes]:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stream)))
        kept: list[bytes] = []

        def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
            context = body["builds"][0]["context"]
            kept.append(Path(context).read_bytes() if context.startswith("/") else b"")
            return [BUILT]

        engine.answers["build"] = answer
        engine.requests.clear()
        outcome = cli("image", "build", *arguments)
        wishes = [body["builds"][0] for body in engine.bodies("build")]
        return outcome, (wishes or [{}])[0], (kept or [b""])[0]

    return build


def _tar(kind: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        info = tarfile.TarInfo("Dockerfile")
        info.size = 2 << 20
        archive.addfile(info, io.BytesIO(b"#" * info.size))
    return out.getvalue()


def test_an_archive_is_known_and_kept_whole(built: Any) -> None:
    plain = _tar(tarfile.PAX_FORMAT)
    old = bytearray(_tar(tarfile.USTAR_FORMAT))
    old[257:265] = bytes(8)  # as before POSIX: only the sum tells
    total = sum(old[:148]) + 8 * 32 + sum(old[156:512])
    old[148:156] = b"%06o\0 " % total
    zstd = b"\x28\xb5\x2f\xfd" + bytes(600)
    packed = gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), zstd
    for content in (plain, bytes(old), *packed):
        outcome, wish, kept = built(content, "-f", "other", "-")
        assert outcome.code == 0 and kept == content
        assert wish["dockerfile"] == "other" and not Path(wish["context"]).exists()


def test_text_is_a_dockerfile(built: Any) -> None:
    for arguments in (("-",), ("-f", "-", "https://example.org/x.git")):
        for content in (b"FROM a\n", b"", b"# " + b"x" * 5000 + b"\nFROM a\n"):
            outcome, wish, _ = built(content, *arguments)
            assert (outcome.code, wish["text"], wish["dockerfile"]) == (0, content.decode(), "-")


class _Endless(io.RawIOBase):
    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.given += len(buffer)
        return len(buffer)


def test_endless_text_is_not_read_to_its_end(built: Any) -> None:
    endless = _Endless()
    outcome, wish, _ = built(endless, "-")
    assert outcome.code == 2 and not wish
    assert outcome.err.startswith("error: standard input is no Dockerfile: it has more than 4 MiB")
    assert endless.given < 8 << 20


def test_flags_of_the_classic_builder(cli: Any, engine: Any) -> None:
    engine.answers["build"] = [BUILT]
    quiet = ("--rm", "--force-rm", "--compress", "--disable-content-trust", "--isolation=default")
    assert cli("image", "build", *quiet, ".").code == 0
    for flag, reason in (
        ("-m=64m", "memory and processors"),
        ("--cpuset-cpus=0", "memory and processors"),
        ("--squash", "--squash is not supported: `FROM scratch`"),
        ("--cgroup-parent=x", "--cgroup-parent is not supported"),
        ("--security-opt=x", "--security-opt is not supported"),
        ("--isolation=hyperv", "it is for Windows"),
    ):
        refused = cli("image", "build", flag, ".")
        assert refused.code == 2 and reason in refused.err
    assert len(engine.bodies("build")) == 1


def test_an_archive_is_loaded_for_a_platform(cli: Any, engine: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"")
    assert cli("image", "load", "-i", str(tmp_path / "a.tar"), "--platform", "arm64").code == 0
    (body,) = engine.bodies("image-load")
    assert body["platform"] == "arm64"
