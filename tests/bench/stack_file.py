"""How long a stack file of 200 services takes: python tests/bench/stack_file.py.

Inside the engine (load, desire, plan; models are imported already, the collector set as the
engine sets it), as a whole `stackctl config` command without an engine, and beside one that
runs; without one also of three services. Milliseconds, best and median: of the clock on the wall,
and of the processor where other work keeps the machine busy.
"""

from __future__ import annotations

import os
import resource
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


def stack_file(services: int = SERVICES) -> str:
    lines = ["services:"]
    for i in range(services):
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


def inside(directory: str) -> None:
    image = Image(id="sha256:1", reference="stackctl/host", config=ImageConfig())
    stack = load(LoadRequest(cwd=directory, name="bench")).stack
    wanted = desired(stack, lambda reference: image)
    observed = Observed(project="bench", images=frozenset({"stackctl/host"}))
    assert up_plan(wanted, observed, UpPolicy())


def words(directory: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    program = Path(sys.executable).with_name("stackctl")
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": directory}
    env |= {"STACKCTL_ROOT": f"{directory}/r", "STACKCTL_RUN": directory}
    return [str(program), *arguments], env


@contextmanager
def small_one() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "stack.yaml").write_text(stack_file(3))
        yield directory


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


def command(directory: str, *flags: str) -> None:
    argv, env = words(directory, "config", *flags)
    subprocess.run(argv, env=env, cwd=directory, check=True, capture_output=True)


def processor() -> float:
    """Seconds of this process and of those that it has waited for."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def report(title: str, work: Callable[[str], object], directory: str) -> None:
    took: dict[str, list[float]] = {"wall": [], "processor": []}
    for _ in range(RUNS):
        before = time.perf_counter(), processor()
        work(directory)
        took["wall"].append(1000 * (time.perf_counter() - before[0]))
        took["processor"].append(1000 * (processor() - before[1]))
    shown = (f"{k} {min(v):.0f} best, {statistics.median(v):.0f} median" for k, v in took.items())
    print(f"{title}: {'; '.join(shown)}")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "stack.yaml").write_text(stack_file())
        report("stackctl config without an engine", command, directory)
        report("stackctl config -q without an engine", lambda d: command(d, "-q"), directory)
        with small_one() as small:
            report("stackctl config of 3 services without an engine", command, small)
        if os.geteuid() == 0:
            with engine(directory):
                report("stackctl config beside an engine", command, directory)
        collect_seldom()
        report("load and plan", inside, directory)


if __name__ == "__main__":
    main()
