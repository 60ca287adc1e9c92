"""What a Docker has that one machine without a swarm has not: answered as such a Docker does."""

from __future__ import annotations

from stackctl.api.docker.call import Call, DockerError
from stackctl.api.docker.port import DockerEngine
from stackctl.api.docker.table import Table

_FAMILIES = ("nodes", "services", "tasks", "secrets", "configs")


class ElsewhereRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        pass

    def register(self, table: Table) -> None:
        table.add("GET", "/swarm", self.no_manager)
        table.add("GET", "/swarm/unlockkey", self.no_manager)
        for verb in ("init", "join", "update", "unlock"):
            table.add("POST", f"/swarm/{verb}", self.no_swarm)
        table.add("POST", "/swarm/leave", self.no_part)
        for family in _FAMILIES:
            table.add("GET", f"/{family}", self.no_manager)
            table.add("POST", f"/{family}/create", self.no_manager)
            table.add("GET", f"/{family}/{{id}}", self.no_manager)
            table.add("DELETE", f"/{family}/{{id}}", self.no_manager)
            table.add("POST", f"/{family}/{{id}}/update", self.no_manager)
            table.add("GET", f"/{family}/{{id}}/logs", self.no_manager)
        table.add("GET", "/plugins", self.plugins)
        table.add("GET", "/plugins/privileges", self.no_plugins)
        for verb in ("pull", "create"):
            table.add("POST", f"/plugins/{verb}", self.no_plugins)
        table.add("GET", "/plugins/{name*}/json", self.no_plugin)
        table.add("DELETE", "/plugins/{name*}", self.no_plugin)
        for verb in ("enable", "disable", "upgrade", "push", "set"):
            table.add("POST", f"/plugins/{{name*}}/{verb}", self.no_plugin)

    async def no_manager(self, call: Call) -> None:
        raise DockerError(
            503,
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
            "on a Docker to have one: stackctl runs on one machine.",
        )

    async def no_swarm(self, call: Call) -> None:
        raise DockerError(503, "stackctl runs on one machine: it cannot be a node of a swarm")

    async def no_part(self, call: Call) -> None:
        raise DockerError(503, "This node is not part of a swarm")

    async def plugins(self, call: Call) -> None:
        call.filters(("capability", "enabled"))
        await call.reply([])

    async def no_plugins(self, call: Call) -> None:
        raise DockerError(404, "plugins are not supported: drivers are built in")

    async def no_plugin(self, call: Call) -> None:
        raise DockerError(404, f'plugin "{call["name"]}" not found')
