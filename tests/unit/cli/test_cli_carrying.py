"""What goes along to an engine on another machine: contexts without what is ignored, files."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stackctl.cli.archive import Chunks
from stackctl.cli.carrying import Carrying, packed
from stackctl.daemon.carried import filled, here, source
from stackctl.errors import DockerfileError, StackFileErrors, UsageError
from stackctl.model.build import BuildRequest
from stackctl.spec.loader import load
from stackctl.spec.project import LoadRequest


def names(context: Path, dockerfile: str = "Dockerfile") -> list[str]:
    content = b"".join(packed(context, dockerfile))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return tar.getnames()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in ("Dockerfile", "a.log", "keep.log", "sub/b.log", "sub/c", "gone/d", "back/e/f"):
        path = tmp_path / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "context/link").symlink_to("/etc/passwd")
    return tmp_path / "context"


def test_contexts_are_packed_without_what_is_ignored(context: Path) -> None:
    assert "gone/d" in names(context) and "link" in names(context)
    ignored = "**/*.log\n!keep.log\ngone\nback\n!back/e/f\nDockerfile\n.dockerignore\n"
    (context / ".dockerignore").write_text(ignored)
    expected = [".dockerignore", "Dockerfile", "back/e/f", "keep.log", "link", "sub", "sub/c"]
    assert names(context) == expected
    (context / "Dockerfile.dockerignore").write_text("sub\n")
    assert "sub/c" not in names(context) and "a.log" in names(context)
    (context / "Dockerfile.dockerignore").write_text("[\n")
    with pytest.raises(DockerfileError):
        names(context)


class Recorder:
    """A client that keeps what it is asked."""

    def __init__(self) -> None:
        self.uploads: list[bytes] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def upload(self, content: Any) -> str:
        parts = []
        while piece := content.read(1 << 16):
            parts.append(piece)
        self.uploads.append(b"".join(parts))
        return f"u{len(self.uploads)}"

    def call(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append((verb, body))
        return {"type": "result", "exit_code": 0}


def test_single_builds_send_each_path_once(context: Path, tmp_path: Path) -> None:
    outside = tmp_path / "Other"
    outside.write_text("FROM scratch\n")
    client = Recorder()
    build = {"context": str(context), "dockerfile": str(outside)}
    build["contexts"] = {"same": str(context), "image": "docker-image://x"}  # type: ignore[assignment]
    Carrying(client, "tcp://far:1").call("build", {"builds": [build]})  # type: ignore[arg-type]
    ((_, body),) = client.requests
    assert body["uploads"] == {str(context): "u1", str(outside): "u2"}
    assert client.uploads[1] == b"FROM scratch\n"
    wish = BuildRequest(context=str(context), dockerfile=str(outside))
    uploads = {str(context): "/r/1", str(outside): "/r/2"}
    assert here(wish, uploads) == BuildRequest(context="/r/1", dockerfile="/r/2")
    assert here(wish, None) is wish
    with pytest.raises(UsageError, match="was not sent"):
        here(wish, {})
    with pytest.raises(UsageError, match="cache"):
        here(BuildRequest(cache_to=("type=local,dest=/x",)), {})


def test_files_and_credentials_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text(
        "services: {a: {image: x, secrets: [s]}}\n"
        "secrets: {s: {file: binary}, unused: {file: none}}\n"
    )
    (tmp_path / "binary").write_bytes(b"\xff\x00secret")
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r": {"auth": "x"}}}))
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    project = {"files": [], "cwd": str(tmp_path), "environment": environment}
    client = Recorder()
    far = Carrying(client, "tcp://far:1")  # type: ignore[arg-type]
    far.call("ps", {"project": project})
    far.call("config", {"project": project})
    (_, quick), (_, whole) = client.requests
    assert list(quick["project"]["carried"]) == [str(tmp_path / "stack.yaml")]
    carried = whole["project"]["carried"]
    assert base64.b64decode(carried[str(tmp_path / "binary")]) == b"\xff\x00secret"
    auths = json.loads(whole["project"]["environment"]["DOCKER_AUTH_CONFIG"])
    assert auths == {"auths": {"r": {"auth": "x"}}}

    files = source(whole["project"])
    stack = filled(load(LoadRequest.of(whole["project"], files)).stack, files)
    text = stack.contents["secrets", "s"]
    assert text.encode("utf-8", "surrogateescape") == b"\xff\x00secret"
    assert stack.secrets["s"].file is None
    del carried[str(tmp_path / "binary")]
    files = source(whole["project"])
    with pytest.raises(StackFileErrors, match='secret "s"'):
        filled(load(LoadRequest.of(whole["project"], files)).stack, files)


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("container-run", {"wish": {"HostConfig": {"Binds": ["/x:/y"]}}}),
        ("container-create", {"wish": {"HostConfig": {"Mounts": [{"Type": "bind"}]}}}),
        ("run", {"project": {"environment": {}}, "volumes": ["./x:/y"]}),
        ("login", {}),
    ],
)
def test_what_cannot_go_along(verb: str, body: dict[str, Any]) -> None:
    client = Recorder()
    with pytest.raises(UsageError):
        Carrying(client, "tcp://far:1").call(verb, body)  # type: ignore[arg-type]
    assert not client.requests


def test_chunks_are_a_file(context: Path) -> None:
    file, whole = Chunks(packed(context)), b"".join(packed(context))
    parts = []
    while piece := file.read(1000):
        parts.append(piece)
    assert b"".join(parts) == whole
