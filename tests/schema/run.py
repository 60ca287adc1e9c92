"""schemathesis over Docker's API as an engine of its own answers it: `make schemathesis SPEC=path`.

The specification file is Docker's and not in this project; what is generated from it goes
through a TCP port of this machine's loopback to the engine's socket. The engine is thrown
away afterwards. No part of the tests: they must not need the file.

A failure is an answer of the 500s (but for what has no swarm), and an answer that is not
what the schema says. Statuses that the file does not list are none: it lists 400 almost
nowhere, and whoever sends nonsense gets it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.waiting import wait_until
from support.wire import Api

STACKCTL = str(Path(sys.executable).with_name("stackctl"))
CHECKS = "not_a_server_error,response_schema_conformance,response_headers_conformance"
#: Archives are bytes like any others.
_HOOKS = """import schemathesis
schemathesis.serializer.alias("application/x-tar", "application/octet-stream")
"""
#: One machine without a swarm has none of these: 503 is the documented answer.
WITHOUT = ("Swarm", "Node", "Service", "Task", "Secret", "Config", "Plugin")
#: They speak another protocol, or (events) answer with any number of documents, none included.
NOT_ASKED = ("/session", "/events")


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def forward(path: Path, ready: threading.Event, found: list[int]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(path))
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        writer.close()
        inner_writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    found.append(server.sockets[0].getsockname()[1])
    ready.set()
    await server.serve_forever()


@contextlib.contextmanager
def engine() -> Iterator[Path]:
    """A daemon with directories of its own; its socket. All of it goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="stackctl-schema-") as directory:
        environment = {
            **os.environ,
            "STACKCTL_ROOT": f"{directory}/root",
            "STACKCTL_RUN": f"{directory}/run",
        }
        daemon = subprocess.Popen([STACKCTL, "daemon"], env=environment)
        socket = Path(directory, "run", "engine.sock")
        try:
            wait_until(socket.exists, 60, what="the engine to listen")
            yield socket
        finally:
            try:
                emptied(Api(socket))
            finally:
                daemon.terminate()
                daemon.wait()


def emptied(api: Api) -> None:
    """By itself, and not by the CLI: what fuzzing made may have any name."""
    for entry in api("GET", "/containers/json?all=1").json:
        api("DELETE", f"/containers/{entry['Id']}?force=1&v=1")
    api("POST", "/networks/prune")
    api("POST", "/volumes/prune?filters=%7B%22all%22%3A%5B%221%22%5D%7D")
    for entry in api("GET", "/images/json").json:
        api("DELETE", f"/images/{entry['Id']}?force=1")


def image(api: Api) -> None:
    """busybox, from this machine's static one."""
    program = shutil.which("busybox")
    if program is None:
        sys.exit("install busybox-static")
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(program, "bin/busybox")
            for name in ("sh", "sleep", "cat"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        file.seek(0)
        made = api("POST", "/images/create?fromSrc=-&repo=busybox&tag=latest", file.read())
        assert made.status == 200, made.body


def objects(api: Api) -> dict[str, list[str]]:
    """Things to ask about, by the operation's family."""
    wish = {"Image": "busybox", "Cmd": ["sleep", "100000"], "Labels": {"kept": "1"}}
    names = []
    for name in ("one", "two"):
        assert api("POST", f"/containers/create?name={name}", wish).status == 201
        assert api("POST", f"/containers/{name}/start").status == 204
        names.append(name)
    assert api("POST", "/containers/create?name=idle", wish).status == 201
    assert api("POST", "/networks/create", {"Name": "back"}).status == 201
    assert api("POST", "/volumes/create", {"Name": "data"}).status == 201
    made = api("POST", "/containers/one/exec", {"Cmd": ["sleep", "1"]}).json["Id"]
    return {
        "containers": [*names, "idle", "missing"],
        "networks": ["back", "bridge", "host", "missing"],
        "volumes": ["data", "missing"],
        "images": ["busybox", "stackctl/host", "missing"],
        "exec": [made, "missing"],
        "distribution": ["127.0.0.1:1/missing"],
    }


def config(found: dict[str, list[str]], spec: Path, file: Path) -> None:
    """schemathesis' own configuration: real names for path parameters, times that end."""
    import yaml

    lines = []
    for path, methods in yaml.safe_load(spec.read_text())["paths"].items():
        family = path.split("/")[1]
        for method in methods:
            values: dict[str, list[object]] = {}
            for name in ("id", "name"):
                if f"{{{name}}}" in path and family in found:
                    values[f"path.{name}"] = list(found[family])
            if path.endswith(("/stats", "/logs")):
                values["query.stream"] = [False]
                values["query.follow"] = [False]
            if path.endswith("/wait"):
                values["path.id"] = ["idle", "missing"]
                values["query.condition"] = ["not-running"]
            if path == "/images/create":
                # Registries that refuse at once: no name is looked up anywhere.
                values["query.fromImage"] = ["127.0.0.1:1/x", "no name", ""]
            if values:
                lines += ["[[operations]]", f'include-name = "{method.upper()} {path}"']
                lines += ["[operations.parameters]"]
                lines += [f'"{name}" = {json.dumps(value)}' for name, value in values.items()]
    file.write_text("\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spec", type=Path)
    parser.add_argument("--schemathesis", default="schemathesis", help="the program")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    # It runs in a directory of its own, where relative paths lead nowhere.
    program = Path(shutil.which(options.schemathesis) or options.schemathesis).absolute()
    spec = options.spec.absolute()
    with engine() as socket, tempfile.TemporaryDirectory() as directory:
        api = Api(socket)
        image(api)
        configuration = Path(directory, "schemathesis.toml")
        config(objects(api), spec, configuration)
        ready, port = threading.Event(), list[int]()
        proxy = threading.Thread(
            target=lambda: asyncio.run(forward(socket, ready, port)), daemon=True
        )
        proxy.start()
        ready.wait()
        command = [str(program), f"--config-file={configuration}", "run", str(spec)]
        command += [f"--url=http://127.0.0.1:{port[0]}/v1.51", f"--checks={CHECKS}"]
        command += ["--phases=examples,coverage,fuzzing", f"--max-time={options.seconds}"]
        command += ["--continue-on-failure", "--no-shrink", "--request-timeout=20"]
        command += ["--warnings=off", *(f"--exclude-tag={tag}" for tag in WITHOUT)]
        command += [f"--exclude-path={path}" for path in NOT_ASKED]
        if options.seed is not None:
            command.append(f"--seed={options.seed}")
        hooks = Path(directory, "hooks.py")
        hooks.write_text(_HOOKS)
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(hooks)}
        code = subprocess.run(command, cwd=directory, env=environment, check=False).returncode
        assert api("GET", "/_ping").status in (200, 404), "the engine is gone"
        return code


if __name__ == "__main__":
    sys.exit(main())
