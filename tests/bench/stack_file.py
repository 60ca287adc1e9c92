"""How long a stack file of 200 services takes: python tests/bench/stack_file.py.

Inside the engine (load, desire, plan; models are imported already, the collector set as the
engine sets it), as a whole `stackctl config` command without an engine, and beside one that
runs. Milliseconds, best and median.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stackctl.daemon.desired import desired
from stackctl.daemon.service import collect_seldom
from stackctl.model.image import Image, ImageConfig
from stackctl.scheduler.desired import Observed, UpPolicy
from stackctl.scheduler.plan import up_plan
from stackctl.spec.loader import LoadRequest, load

SERVICES = 200
RUNS = 15


def stack_file() -> str:
    lines = ["services:"]
    for i in range(SERVICES):
        lines += [
            f"  s{i}:",
            "    image: stackctl/host",
            f"    command: sleep {i}",
            f"    environment: {{A: '{i}', B: \"${{X:-y}}\"}}",
            "    ports: ['80']",
            f"    volumes: ['d{i % 20}:/data', './src:/src:ro']",
            "    networks: [front, back]",
            "    healthcheck: {test: [CMD, 'true'], interval: 5s}",
            "    restart: always",
        ]
        if i:
            lines.append(f"    depends_on: {{s{i - 1}: {{condition: service_healthy}}}}")
    lines += ["networks: {front: , back: }", "volumes:", *(f"  d{i}:" for i in range(20))]
    return "\n".join(lines) + "\n"


def inside(directory: str) -> float:
    image = Image(id="sha256:1", reference="stackctl/host", config=ImageConfig())
    began = time.perf_counter()
    stack = load(LoadRequest(cwd=directory, name="bench")).stack
    wanted = desired(stack, lambda reference: image)
    observed = Observed(project="bench", images=frozenset({"stackctl/host"}))
    assert up_plan(wanted, observed, UpPolicy())
    return time.perf_counter() - began


def words(directory: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    program = Path(sys.executable).with_name("stackctl")
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": directory}
    env |= {"STACKCTL_ROOT": f"{directory}/r", "STACKCTL_RUN": directory}
    return [str(program), *arguments], env


@contextmanager
def engine(directory: str) -> Iterator[None]:
    argv, env = words(directory, "daemon")
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not Path(directory, "engine.sock").exists():
            time.sleep(0.1)
        time.sleep(2)  # it loads what a first request needs
        yield
    finally:
        process.terminate()
        process.wait()


def command(directory: str) -> float:
    began = time.perf_counter()
    argv, env = words(directory, "config")
    subprocess.run(argv, env=env, cwd=directory, check=True, capture_output=True)
    return time.perf_counter() - began


def report(title: str, work: Callable[[str], float], directory: str) -> None:
    took = [work(directory) * 1000 for _ in range(RUNS)]
    print(f"{title}: best {min(took):.0f} ms, median {statistics.median(took):.0f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "stack.yaml").write_text(stack_file())
        report("stackctl config without an engine", command, directory)
        if os.geteuid() == 0:
            with engine(directory):
                report("stackctl config beside an engine", command, directory)
        collect_seldom()
        report("load and plan", inside, directory)


if __name__ == "__main__":
    main()
