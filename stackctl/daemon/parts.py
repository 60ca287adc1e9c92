"""What the rooms of the engine work with: its parts, and the machine that it is on."""

from __future__ import annotations

from pathlib import Path

from stackctl.daemon.events import Events
from stackctl.daemon.registry import Registry
from stackctl.daemon.volumes import Volumes
from stackctl.image.service import Images
from stackctl.net.service import Net
from stackctl.runtime.container import Runtime
from stackctl.state.paths import Paths
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about this machine and boot that containers are started with."""

    boot_id: str
    resolver_lines: tuple[str, ...]
    publish_address: str

    def hosts(self) -> str:
        """The text of its /etc/hosts as it is now; "" when it cannot be read."""
        try:
            return Path("/etc/hosts").read_text(errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The engine's parts, injected."""

    paths: Paths
    registry: Registry
    runtime: Runtime
    net: Net
    images: Images
    volumes: Volumes
    events: Events
    machine: Machine
