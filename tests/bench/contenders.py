"""Who is measured: how each is started, spoken to and ended.

Each has the same content to run: /bin/busybox, statically linked. Docker and
Podman have it as an image of one file; stackctl's `stackctl/host` shows the
machine's own, which is the same file.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

IMAGE = "bench:1"
STACKCTL = str(Path(sys.executable).with_name("stackctl"))


class Contender(ABC):
    """One engine with its compose command."""

    name = ""
    compose_name = ""
    #: The image reference that means the common content.
    image = IMAGE
    has_health = True

    def __init__(self, home: Path) -> None:
        self.home = home

    @abstractmethod
    def lacks(self) -> str:
        """Why it cannot take part; "" when it can."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def open(self) -> None:
        """Starts what has to run before the first command."""

    @abstractmethod
    def close(self) -> None: ...

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @property
    def socket(self) -> Path | None:
        """Where Docker's API is served; None: nowhere."""
        return None

    @abstractmethod
    def compose(self, *argv: str) -> tuple[str, ...]:
        """The whole command line of a compose command."""

    @abstractmethod
    def is_own(self, comm: str, cmdline: str) -> bool:
        """Whether a process of the box is the engine's own (not a container's)."""

    @abstractmethod
    def engine(self, *argv: str) -> tuple[str, ...]:
        """The whole command line of an engine's command ("network", "create"...)."""

    def removal(self, *containers: str) -> tuple[str, ...]:
        """The whole command line that kills containers and removes them."""
        return self.engine("container", "rm", "-f", *containers)

    def pid(self, container: str) -> int:
        """The process id, in the box, of a container's first process."""
        inspect = self.engine("container", "inspect", "--format", "{{.State.Pid}}", container)
        environment = {**os.environ, **self.environment}
        done = subprocess.run(inspect, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    def up_until_healthy(self, last: str) -> tuple[str, ...]:
        return self.compose("up", "-d")

    def wait_healthy(self, container: str) -> None:
        """Returns when the container is healthy, if the command before did not wait for it."""
        return

    def memory(self) -> int:
        """Proportional set size of the engine's own processes, bytes."""
        total = 0
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                comm = (entry / "comm").read_text().strip()
                cmdline = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if cmdline and self.is_own(comm, cmdline):
                    rollup = (entry / "smaps_rollup").read_text().splitlines()
                    total += sum(int(x.split()[1]) * 1024 for x in rollup if x.startswith("Pss:"))
            except OSError:
                continue
        return total


class Stackctl(Contender):
    name = compose_name = "stackctl"
    image = "stackctl/host"

    def lacks(self) -> str:
        return "" if Path(STACKCTL).exists() else f"{STACKCTL} does not exist"

    def version(self) -> str:
        return _first_line([STACKCTL, "version"])

    def open(self) -> None:
        self.home.mkdir()

    def close(self) -> None:
        pass  # the box's end ends it

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STACKCTL_ROOT": str(self.home / "root"),
            "STACKCTL_RUN": str(self.home / "run"),
        }

    def compose(self, *argv: str) -> tuple[str, ...]:
        return (STACKCTL, *argv)

    def engine(self, *argv: str) -> tuple[str, ...]:
        return (STACKCTL, "net" if argv[0] == "network" else argv[0], *argv[1:])

    @property
    def socket(self) -> Path:
        return self.home / "run" / "engine.sock"

    def up_until_healthy(self, last: str) -> tuple[str, ...]:
        return self.compose("up", "-d", "--wait")

    def is_own(self, comm: str, cmdline: str) -> bool:
        return "python" in cmdline.split()[0] and "stackctl" in cmdline and "bench" not in cmdline


class Docker(Contender):
    name = "docker"
    compose_name = "docker-compose"

    def __init__(self, home: Path, group: str) -> None:
        super().__init__(home)
        self.group = group
        self.daemon: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.home / "docker.sock"

    def lacks(self) -> str:
        for program in ("dockerd", "docker-compose", "/usr/bin/docker"):
            if not shutil.which(program):
                return f"{program} is not installed"
        return ""

    def version(self) -> str:
        compose = _first_line(["docker-compose", "version", "--short"])
        return f"{_first_line(['dockerd', '--version'])}; docker-compose {compose}"

    def open(self) -> None:
        self.home.mkdir()
        log = (self.home / "log").open("wb")
        command = ["dockerd", "--data-root", f"{self.home}/data", "--exec-root", f"{self.home}/x"]
        command += ["--host", f"unix://{self.socket}", "--pidfile", f"{self.home}/pid"]
        command += ["--bip", "172.31.255.1/24", "--cgroup-parent", f"/{self.group}"]
        self.daemon = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
        )
        _wait(lambda: self._get("/_ping").endswith("OK"), 60, "dockerd answers")
        subprocess.run(
            ["/usr/bin/docker", "import", "-", IMAGE],
            input=image_tar(),
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(30)

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    def compose(self, *argv: str) -> tuple[str, ...]:
        return ("docker-compose", *argv)

    def engine(self, *argv: str) -> tuple[str, ...]:
        return ("/usr/bin/docker", *argv)

    def wait_healthy(self, container: str) -> None:
        path = f"/containers/{container}/json"
        _wait(lambda: '"Status":"healthy"' in self._get(path), 120, f"{container} healthy")

    def _get(self, path: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.socket))
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: d\r\n\r\n".encode())
                parts = []
                while part := connection.recv(65536):
                    parts.append(part)
            return b"".join(parts).decode()
        except OSError:
            return ""

    def is_own(self, comm: str, cmdline: str) -> bool:
        return comm.startswith(("dockerd", "containerd", "docker-proxy"))


class Podman(Contender):
    """Podman with stores of its own, in a mount namespace without the unified cgroup tree.

    crun refuses machines that mount v1 controllers and a v2 tree; a process that
    sleeps holds a mount namespace without the latter, and every command enters
    it (nsenter costs about a millisecond).
    """

    name = "podman"
    compose_name = "podman-compose"
    #: Its health checks need systemd's timers.
    has_health = False

    def __init__(self, home: Path, group: str) -> None:
        super().__init__(home)
        self.group = group
        self.holder: subprocess.Popen[bytes] | None = None

    def lacks(self) -> str:
        for program in ("podman", "crun", "podman-compose"):
            if not shutil.which(program, path=self._path()):
                return f"{program} is not installed"
        return ""

    @staticmethod
    def _path() -> str:
        """podman-compose may be installed beside this interpreter."""
        return os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])

    def version(self) -> str:
        compose = shutil.which("podman-compose", path=self._path()) or ""
        done = subprocess.run([compose, "--version"], capture_output=True, text=True, check=False)
        lines = [x for x in done.stdout.splitlines() if "podman-compose" in x]
        return f"{_first_line(['podman', '--version'])}; {lines[0] if lines else ''}"

    def open(self) -> None:
        self.home.mkdir()
        unmount = "umount /sys/fs/cgroup/unified 2>/dev/null; exec sleep infinity"
        self.holder = subprocess.Popen(["unshare", "--mount", "--", "sh", "-c", unmount])
        holder = self.holder.pid
        _wait(lambda: Path(f"/proc/{holder}/comm").read_text() == "sleep\n", 5, "the holder")
        (self.home / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"\n'
            f'[network]\nnetwork_config_dir = "{self.home}/net"\n'
        )
        wrapper = self.home / "bin" / "podman"
        wrapper.parent.mkdir()
        stores = f"--root {self.home}/store --runroot {self.home}/run --tmpdir {self.home}/tmp"
        wrapper.write_text(
            f'#!/bin/sh\nexec nsenter --target {holder} --mount --wdns="$PWD" -- '
            f'{shutil.which("podman")} {stores} --cgroup-manager cgroupfs "$@"\n'
        )
        wrapper.chmod(0o755)
        subprocess.run(
            [str(wrapper), "import", "-q", "-", f"localhost/{IMAGE}"],
            input=image_tar(),
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def close(self) -> None:
        if self.holder is not None:
            self.holder.kill()
            self.holder.wait()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.home / "containers.conf"),
            "PATH": f"{self.home}/bin{os.pathsep}{self._path()}",
        }

    def compose(self, *argv: str) -> tuple[str, ...]:
        return ("podman-compose", *argv)

    def engine(self, *argv: str) -> tuple[str, ...]:
        # An absolute name: a command's is looked up in the caller's PATH.
        return (f"{self.home}/bin/podman", *argv)

    def removal(self, *containers: str) -> tuple[str, ...]:
        # Without the 0 each may take ten seconds to end by itself.
        return self.engine("container", "rm", "-f", "-t", "0", *containers)

    def is_own(self, comm: str, cmdline: str) -> bool:
        return comm.startswith(("podman", "conmon", "aardvark", "dnsmasq"))


def every(home: Path, group: str) -> tuple[Contender, ...]:
    """All there are; their stores below `home`, their control groups below `group`."""
    return (
        Stackctl(home / "stackctl"),
        Docker(home / "docker", group),
        Podman(home / "podman", group),
    )


def image_tar() -> bytes:
    """An image's root with /bin/busybox and a link to it as /bin/sh, as a tar."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.add(busybox(), "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(link)
    return raw.getvalue()


def busybox() -> str:
    found = shutil.which("busybox")
    if not found:
        raise SystemExit("bench: busybox is not installed: apt-get install busybox-static")
    return str(Path(found).resolve())


def _first_line(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["unknown version"])[0]


def _wait(condition, limit: float, what: str) -> None:  # type: ignore[no-untyped-def]
    """Looks every 5 ms; raises SystemExit when `limit` seconds have passed."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: in vain after {limit:g} s: {what}")
        time.sleep(0.005)
