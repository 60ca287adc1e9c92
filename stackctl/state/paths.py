"""Where an engine keeps its things, and the names it may use in the kernel.

Two engines on one machine differ in root or run-time directory; every kernel
name (bridge, veth, nft table, cgroup) carries the tag derived from both, so
that neither touches what is the other's.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_ROOT = "/var/lib/stackctl"
DEFAULT_RUN = "/run/stackctl"
SOCKET = "engine.sock"


class Paths:
    """Absolute root of state and run-time directory of one engine."""

    __slots__ = ("_places", "_root", "_run", "_tag")

    def __init__(self, root: str | Path, run: str | Path) -> None:
        self._root, self._run = os.fspath(root), os.fspath(run)
        #: Both as Paths, and the tag: made when they are first asked for.
        self._places: tuple[Path, Path] | None = None
        self._tag = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Paths) and (self._root, self._run) == (other._root, other._run)

    def __hash__(self) -> int:
        return hash((self._root, self._run))

    def __repr__(self) -> str:
        return f"Paths({self._root!r}, {self._run!r})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Paths:
        """STACKCTL_ROOT and STACKCTL_RUN, or the defaults."""
        env = os.environ if environment is None else environment
        root = os.path.realpath(env.get("STACKCTL_ROOT") or DEFAULT_ROOT)
        run = os.path.realpath(env.get("STACKCTL_RUN") or DEFAULT_RUN)
        return cls(root, run)

    def with_run(self, run: str) -> Paths:
        """The same root with another run-time directory."""
        return Paths(self._root, run)

    @property
    def root(self) -> Path:
        return (self._places or self._made())[0]

    @property
    def run(self) -> Path:
        return (self._places or self._made())[1]

    def _made(self) -> tuple[Path, Path]:
        self._places = _path(self._root), _path(self._run)
        return self._places

    @property
    def tag(self) -> str:
        """Six hexadecimal digits that tell this engine's kernel objects from another's."""
        if not self._tag:
            self._tag = _digest(f"{self.root}\0{self.run}")[:6]
        return self._tag

    @property
    def socket_name(self) -> str:
        """The socket's path, for who has no other use of pathlib."""
        return os.path.join(self._run, SOCKET)

    @property
    def socket(self) -> Path:
        return self.run / SOCKET

    @property
    def daemon_lock(self) -> Path:
        return self.run / "daemon.lock"

    @property
    def daemon_log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def database(self) -> Path:
        return self.root / "state.db"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    def volume(self, name: str) -> Path:
        return self.volumes / name / "_data"

    def container(self, container_id: str) -> Path:
        """Persistent directory of a container: writable layer, log, generated files."""
        return self.root / "containers" / container_id

    def container_log(self, container_id: str) -> Path:
        return self.container(container_id) / "log.json"

    def container_run(self, container_id: str) -> Path:
        """Run-time directory of a container: its bundle and how it ended."""
        return self.run / "c" / container_id[:16]

    def shim_socket(self, shim: str) -> Path:
        """A shim's socket; `shim` is the project's name, hashed: sun_path holds 107 bytes."""
        return self.run / "shim" / f"{_digest(shim)[:16]}.sock"

    @property
    def keeper_socket(self) -> Path:
        return self.run / "keeper.sock"

    @property
    def keeper_table(self) -> Path:
        return self.run / "keeper.json"

    @property
    def cgroup(self) -> str:
        """Name of the engine's cgroup, relative to the hierarchy's root; containers below."""
        return f"stackctl-{self.tag}"

    @property
    def nft_table(self) -> str:
        return f"stackctl-{self.tag}"

    def bridge(self, network_id: str) -> str:
        """IFNAMSIZ leaves 15 characters."""
        return f"sc{self.tag}{network_id[:7]}"

    def veth(self, endpoint_key: str) -> str:
        """Name of an endpoint's end on the host."""
        return f"v{self.tag}{_digest(endpoint_key)[:8]}"


def _digest(text: str) -> str:
    # Not needed by the CLI, whose every command would pay for the import (2 ms).
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _path(text: str) -> Path:
    # Nor this (7 ms with what it imports).
    from pathlib import Path

    return Path(text)
