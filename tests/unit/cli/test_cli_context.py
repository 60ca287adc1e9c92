"""Contexts: made, chosen, changed, exchanged; and which engine a command line means."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stackctl.cli.choice import Wished, chosen
from stackctl.errors import NotFound, UsageError
from stackctl.state.endpoints import LocalEngine, RemoteEngine, tcp_address


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """What --engine says of certificates."""
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(f"text of {name}\n")
    return ",".join(f"{name}={tmp_path}/{name}.pem" for name in ("ca", "cert", "key"))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


def endpoint(environment: dict[str, str], **wished: str) -> str:
    return str(chosen(Wished(**wished), environment))


def test_made_used_changed_removed(cli: Any, home: dict[str, str], pem: str) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        outcome = cli("context", *arguments, environment=home)
        assert outcome.code == code, outcome
        return str(outcome.out + outcome.err)

    run("create", "far", "--docker", f"host=tcp://far:2376,{pem}", "--description", "build box")
    assert "is a context" in run("create", "far", "--docker", "host=unix:///x/engine.sock", code=1)
    directory = Path(home["HOME"], ".config/stackctl/contexts/far")
    key = directory / "tls/docker/key.pem"
    assert key.read_text() == "text of key\n"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert endpoint(home).startswith("unix://") and run("show") == "default\n"
    run("use", "far")
    assert run("show") == "far\n" and endpoint(home) == "tcp://far:2376"
    assert run("ls", "-q") == "default\nfar\n"
    assert run("ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}}").splitlines()[1] == (
        "far true tcp://far:2376"
    )
    assert "build box" in run("ls")
    run("create", "near", "--from", "far")
    run("update", "near", "--engine", "host=tcp://near")
    (shape,) = json.loads(run("inspect", "near"))
    assert shape["Endpoints"]["docker"]["Host"] == "tcp://near"
    assert shape["TLSMaterial"] == {"docker": ["ca.pem", "cert.pem", "key.pem"]}
    assert "in use" in run("rm", "far", code=1)
    run("rm", "-f", "far", "near")
    assert run("show") == "default\n" and run("ls", "-q") == "default\n"
    assert "there is no context" in run("use", "far", code=1)
    assert not list(directory.parent.iterdir())


def test_exported_files_are_dockers(
    cli: Any, home: dict[str, str], pem: str, tmp_path: Path
) -> None:
    file = tmp_path / "far.dockercontext"
    cli("context", "create", "far", "--docker", f"host=tcp://far:2376,{pem}", environment=home)
    assert cli("context", "export", "far", str(file), environment=home).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        assert tar.getnames() == [
            "meta.json",
            *(f"tls/docker/{n}.pem" for n in ("ca", "cert", "key")),
        ]
    assert cli("context", "import", "again", str(file), environment=home).code == 0
    assert endpoint(home, context="again") == "tcp://far:2376"
    assert cli("context", "export", "far", str(file), environment=home).code == 2  # it is there

    # As docker writes one whose engine is not checked, and something else altogether.
    raw = json.dumps(
        {"Name": "x", "Endpoints": {"docker": {"Host": "tcp://x:1", "SkipTLSVerify": True}}}
    ).encode()
    with tarfile.open(file, "w") as tar:
        entry = tarfile.TarInfo("meta.json")
        entry.size = len(raw)
        tar.addfile(entry, io.BytesIO(raw))
    refused = cli("context", "import", "x", str(file), environment=home)
    assert refused.code == 2 and "SkipTLSVerify" in refused.err
    file.write_bytes(b"no archive")
    assert cli("context", "import", "x", str(file), environment=home).code == 2


def test_what_goes_before_what(cli: Any, home: dict[str, str], pem: str) -> None:
    cli("context", "create", "far", "--docker", f"host=tcp://far:1,{pem}", environment=home)
    cli("context", "create", "near", "--docker", f"host=tcp://near:2,{pem}", environment=home)
    cli("context", "use", "far", environment=home)
    assert endpoint(home) == "tcp://far:1"
    by_context = {**home, "STACKCTL_CONTEXT": "near"}
    assert endpoint(by_context) == "tcp://near:2"
    by_host = {**by_context, "STACKCTL_HOST": "unix:///x/engine.sock"}
    assert endpoint(by_host) == "unix:///x/engine.sock"
    assert endpoint(by_host, context="far") == "tcp://far:1"
    assert endpoint(by_host, context="default").endswith("/run/stackctl/engine.sock")
    certificates = {**by_host, "DOCKER_CERT_PATH": "/certs"}
    found = chosen(Wished(host="tcp://[::1]:3"), certificates)
    assert isinstance(found, RemoteEngine) and str(found.files.key) == "/certs/key.pem"
    assert (found.host, str(found)) == ("::1", "tcp://[::1]:3")
    with pytest.raises(NotFound):
        endpoint(by_host, context="none")
    with pytest.raises(UsageError):
        endpoint(by_host, host="tcp://x", context="far")
    ours = chosen(Wished(), {"STACKCTL_ROOT": "/r", "STACKCTL_RUN": "/n"})
    assert isinstance(ours, LocalEngine) and ours.may_start


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://a", ("a", 2376)),
        ("tcp://a:1/", ("a", 1)),
        ("tcp://:5", ("", 5)),
        ("tcp://[::1]", ("::1", 2376)),
        ("tcp://[::]:7", ("::", 7)),
    ],
)
def test_tcp_addresses(text: str, address: tuple[str, int]) -> None:
    assert tcp_address(text) == address


@pytest.mark.parametrize("text", ["tcp://a:b", "tcp://a:70000", "tcp://::1", "tcp://a/b:1"])
def test_what_is_no_tcp_address(text: str) -> None:
    with pytest.raises(UsageError):
        tcp_address(text)
