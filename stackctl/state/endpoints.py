"""Where an engine is: on this machine, or behind TCP with mutual TLS. Opens nothing.

    unix:///run/stackctl/engine.sock    or the path alone
    tcp://build.example:2376            with ca.pem, cert.pem and key.pem of a directory

Plain TCP does not exist: whoever reaches an engine is root on its machine.
"""

from __future__ import annotations

from stackctl.errors import UsageError
from stackctl.state.paths import SOCKET, Paths
from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Docker's, for TLS.
PORT = 2376


class TlsFiles(NamedTuple):
    """PEM files: the authority that the other side's certificate is of, and our own."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, directory: Path) -> TlsFiles:
        """Named as docker's clients name them."""
        return cls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")

    @property
    def all(self) -> tuple[Path, Path, Path]:
        return self.authority, self.certificate, self.key


class LocalEngine(NamedTuple):
    paths: Paths
    #: Ours, by its directories: one may be started when none answers.
    may_start: bool

    def __str__(self) -> str:
        return f"unix://{self.paths.socket_name}"


class RemoteEngine(NamedTuple):
    host: str
    port: int
    files: TlsFiles

    def __str__(self) -> str:
        return f"tcp://{bracketed(self.host)}:{self.port}"


Endpoint = LocalEngine | RemoteEngine


def endpoint(host: str, files: TlsFiles | None, environment: Mapping[str, str]) -> Endpoint:
    """What `--host` names; without it our own engine. Raises UsageError."""
    ours = Paths.from_environment(environment)
    if not host:
        return LocalEngine(ours, may_start=True)
    if host.startswith("tcp://"):
        name, port = tcp_address(host)
        return RemoteEngine(name, port, files or _known_files(host, environment))
    path = host.removeprefix("unix://")
    if "://" in path or not path.startswith("/"):
        raise UsageError(
            f'--host "{host}" is no address of an engine',
            hint="unix:///run/stackctl/engine.sock, the absolute path alone, or tcp://HOST:2376",
        )
    run, _, name = path.rstrip("/").rpartition("/")
    if name != SOCKET:
        raise UsageError(
            f'--host "{host}" does not name an engine\'s socket',
            hint=f"an engine's socket is called {SOCKET}",
        )
    return LocalEngine(ours.with_run(run or "/"), may_start=False)


def tcp_address(text: str) -> tuple[str, int]:
    """Host (without brackets, maybe empty) and port of tcp://HOST[:PORT]. Raises UsageError."""
    address = text.removeprefix("tcp://").rstrip("/")
    host, colon, port = address.rpartition(":")
    if address.endswith("]") or not colon:
        host, port = address, str(PORT)
    bare = host.removeprefix("[").removesuffix("]")
    is_bracketed = len(host) - len(bare) == 2
    if not port.isascii() or not port.isdecimal() or int(port) > 65535 or "/" in address:
        raise UsageError(f'"{text}" is no TCP address', hint="for example tcp://10.0.0.5:2376")
    if ":" in bare and not is_bracketed:
        raise UsageError(f'"{text}" is no TCP address', hint="IPv6 in brackets: tcp://[::1]:2376")
    return bare, int(port)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _known_files(host: str, environment: Mapping[str, str]) -> TlsFiles:
    directory = environment.get("STACKCTL_CERT_PATH") or environment.get("DOCKER_CERT_PATH")
    if not directory:
        raise UsageError(
            f"{host} needs certificates: an engine is reached over TCP by mutual TLS only",
            hint="a directory with ca.pem, cert.pem and key.pem: set STACKCTL_CERT_PATH, "
            "or keep them in a context (stackctl context create)",
        )
    from pathlib import Path

    return TlsFiles.of(Path(directory))
