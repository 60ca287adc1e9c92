"""/version, /info and /system/df."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import UTC, datetime

from stackctl import __version__
from stackctl.api.docker.builds import cached
from stackctl.api.docker.call import NEWEST, OLDEST, Call, DockerError
from stackctl.api.docker.images import containers_by_image, machine, summary
from stackctl.api.docker.port import DockerEngine, Message
from stackctl.api.docker.table import Table
from stackctl.model.container import Status


class SystemRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("GET", "/version", self.version)
        table.add("GET", "/info", self.info)
        table.add("GET", "/system/df", self.disk_usage)

    async def version(self, call: Call) -> None:
        newest, oldest = _text(NEWEST), _text(OLDEST)
        system = platform.uname()
        engine = {
            "ApiVersion": newest,
            "Arch": machine(),
            "BuildTime": "",
            "Experimental": "false",
            "GitCommit": __version__,
            "GoVersion": f"python{platform.python_version()}",
            "KernelVersion": system.release,
            "MinAPIVersion": oldest,
            "Os": "linux",
        }
        await call.reply(
            {
                "Platform": {"Name": "stackctl"},
                "Components": [{"Name": "Engine", "Version": __version__, "Details": engine}],
                "Version": __version__,
                "ApiVersion": newest,
                "MinAPIVersion": oldest,
                "GitCommit": __version__,
                "GoVersion": engine["GoVersion"],
                "Os": "linux",
                "Arch": machine(),
                "KernelVersion": system.release,
                "BuildTime": "",
            }
        )

    async def info(self, call: Call) -> None:
        engine = self._engine
        records = engine.containers()
        images = await engine.images.images()
        groups_v2 = await asyncio.to_thread(os.path.exists, "/sys/fs/cgroup/cgroup.controllers")
        await call.reply(
            {
                "ID": engine.engine_id,
                "Containers": len(records),
                "ContainersRunning": sum(r.status is Status.RUNNING for r in records),
                "ContainersPaused": sum(r.status is Status.PAUSED for r in records),
                "ContainersStopped": sum(not r.status.is_alive for r in records),
                "Images": len(images),
                "Driver": "overlay2",
                "DriverStatus": [["Backing Filesystem", "host"], ["Native Overlay Diff", "true"]],
                "DockerRootDir": str(engine.root),
                "SystemStatus": None,
                "Plugins": {
                    "Volume": ["local"],
                    "Network": ["bridge", "host", "null"],
                    "Authorization": [],
                    "Log": ["json-file", "local", "none"],
                },
                "CgroupDriver": "cgroupfs",
                "CgroupVersion": "2" if groups_v2 else "1",
                "NEventsListener": 0,
                "KernelVersion": platform.release(),
                "OperatingSystem": await asyncio.to_thread(_operating_system),
                "OSVersion": "",
                "OSType": "linux",
                "Architecture": platform.machine(),
                "IndexServerAddress": "https://index.docker.io/v1/",
                "RegistryConfig": _registries(),
                "NCPU": os.cpu_count() or 1,
                "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                "GenericResources": [],
                "HttpProxy": "",
                "HttpsProxy": "",
                "NoProxy": "",
                "Name": platform.node(),
                "Labels": [],
                "ExperimentalBuild": False,
                "ServerVersion": __version__,
                "Runtimes": {"runc": {"path": "stackctl"}},
                "DefaultRuntime": "runc",
                "Swarm": _no_swarm(),
                "LiveRestoreEnabled": True,
                "Isolation": "",
                "InitBinary": "stackctl-init",
                "ContainerdCommit": {"ID": ""},
                "RuncCommit": {"ID": ""},
                "InitCommit": {"ID": ""},
                "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"],
                "Warnings": [],
                "LoggingDriver": "json-file",
                "SystemTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "Debug": False,
                "NFd": 0,
                "NGoroutines": 0,
                "MemoryLimit": True,
                "SwapLimit": True,
                "KernelMemory": False,
                "CpuCfsPeriod": True,
                "CpuCfsQuota": True,
                "CPUShares": True,
                "CPUSet": True,
                "PidsLimit": True,
                "OomKillDisable": not groups_v2,
                "IPv4Forwarding": True,
                "BridgeNfIptables": False,
                "BridgeNfIp6tables": False,
                "DefaultAddressPools": [],
                "CDISpecDirs": [],
                "ClientInfo": None,
            }
        )

    async def disk_usage(self, call: Call) -> None:
        wanted = call.texts("type")
        for kind in wanted:
            if kind not in _USAGE:
                raise DockerError(400, f"unknown object type: {kind}")
        usage = await self._engine.disk_usage()
        counts = containers_by_image(self._engine)
        usage["Images"] = [
            summary(named, counts.get(named.image.id, 0))
            for named in await self._engine.images.images()
        ]
        usage["BuildCache"] = [cached(row) for row in await self._engine.images.build_cache()]
        usage["LayersSize"] = await self._engine.images.layers_size()
        if wanted:
            keys = {_USAGE[kind] for kind in wanted}
            keys |= {"LayersSize"} if "Images" in keys else set()
            usage = {key: value for key, value in usage.items() if key in keys}
        await call.reply(usage)


_USAGE = {
    "container": "Containers",
    "image": "Images",
    "volume": "Volumes",
    "build-cache": "BuildCache",
}


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _registries() -> Message:
    return {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
        },
        "Mirrors": [],
    }


def _no_swarm() -> Message:
    return {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": [],
    }
