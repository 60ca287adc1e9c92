"""Files that are meant to do harm: refused with less work than an honest large file takes.

Each is read in a process of its own, so that its memory can be told from others'. Processor
time is compared with that of a file of 200 services in the same process: a clock on a busy
machine proves nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Reads the honest file, then the hostile one; prints what the latter cost.
CHILD = """\
import json, resource, sys, time
from stackctl.errors import StackFileError
from stackctl.spec.loader import LoadRequest, load

def peak():
    # Of this program alone: ru_maxrss remembers the process that it was forked from.
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(fields["VmHWM"].split()[0])

def read(name):
    began = time.process_time()
    try:
        load(LoadRequest(cwd=sys.argv[1], files=(name,), name="p", environment={"V": "x" * 1000}))
        said = ""
    except StackFileError as error:
        said = str(error)
    return time.process_time() - began, said

usual, said = read("honest.yaml")
assert not said, said
before = peak()
took, said = read("hostile.yaml")
print(json.dumps({"said": said[:2000], "share": took / usual, "seconds": took,
    "kib": peak() - before}))
"""

HONEST = "services:\n" + "".join(
    f"  s{i}:\n    image: a\n    environment: {{A: '{i}', B: \"${{X:-y}}\"}}\n"
    f"    ports: ['80']\n    volumes: ['./src:/src:ro']\n    healthcheck: {{test: x}}\n"
    for i in range(200)
)


def laughs() -> str:
    levels = [f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(["x-0: &a0 [lol]", *levels, "services: {a: {image: *a11}}"])


def merges() -> str:
    levels = [f"x-{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 30)]
    return "\n".join(["x-0: &a0 {k: v}", *levels, "services: {a: {<<: *a29, image: a}}"])


def copies() -> str:
    variables = ", ".join(f"K{i}: v" for i in range(3000))
    others = "".join(f"  s{i}: {{extends: base}}\n" for i in range(1000))
    return f"services:\n  base: {{image: a, environment: {{{variables}}}}}\n{others}"


HOSTILE = {
    "billion laughs": laughs,
    "merge bomb": merges,
    "nested lists": lambda: "a: " + "[" * 100_000,
    "nested maps": lambda: "a: " + "{a: " * 100_000,
    "nested blocks": lambda: "".join(" " * i + "a:\n" for i in range(3000)),
    "nested dashes": lambda: "- " * 100_000 + "a",
    "nested variables": lambda: "services: {a: {image: '" + "${A:-" * 100_000 + "'}}",
    "a variable many times": lambda: "x-a: &a '" + "$V" * 30_000 + "'\nservices: {a: {image: *a}}",
    "NUL bytes": lambda: "services: {a: {image: 'a\0b'}}",
    "NUL in a command": lambda: 'services: {a: {image: a, command: ["a\\0b"]}}',
    "a line of 100 MB": lambda: "services: {a: {image: " + "a" * 100_000_000 + "}}",
    "a comment of 100 MB": lambda: "#" + "a" * 100_000_000,
    "aliases": lambda: "x-a: &a a\nservices: {a: {image: a, dns: [" + "*a, " * 400_000 + "]}}",
    "many copies": copies,
    "many documents": lambda: "---\n{}\n" * 200_000,
    "many keys": lambda: "services:\n" + "".join(f"  s{i}: {{}}\n" for i in range(200_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_without_much_time_or_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / "honest.yaml").write_text(HONEST)
    (tmp_path / "hostile.yaml").write_text(HOSTILE[name]())
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout)
    assert "hostile.yaml" in found["said"], found
    assert found["kib"] < 50 * 1024, found
    assert found["share"] < 2, found
