"""All of Docker's routes. Imported with the first request that is Docker's."""

from __future__ import annotations

from stackctl.api.docker.builds import BuildRoutes
from stackctl.api.docker.containers import ContainerRoutes
from stackctl.api.docker.elsewhere import ElsewhereRoutes
from stackctl.api.docker.events import EventRoutes
from stackctl.api.docker.execs import ExecRoutes
from stackctl.api.docker.images import ImageRoutes
from stackctl.api.docker.networks import NetworkRoutes
from stackctl.api.docker.port import DockerEngine
from stackctl.api.docker.streams import StreamRoutes
from stackctl.api.docker.system import SystemRoutes
from stackctl.api.docker.table import Table
from stackctl.api.docker.volumes import VolumeRoutes

_FAMILIES = (
    SystemRoutes,
    EventRoutes,
    ContainerRoutes,
    StreamRoutes,
    ExecRoutes,
    NetworkRoutes,
    VolumeRoutes,
    ImageRoutes,
    BuildRoutes,
    ElsewhereRoutes,
)


def table(engine: DockerEngine) -> Table:
    routes = Table()
    for family in _FAMILIES:
        family(engine).register(routes)
    return routes
