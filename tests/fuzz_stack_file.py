"""`make fuzz`: damaged stack files, variables and .env files for SECONDS, any surprise ends it.

Texts that are right are cut, joined, doubled and flipped as bytes; reading one gives a stack,
or mistakes that are the author's. Nothing else may be raised, and nothing may take long.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from stackctl.errors import NotFound, StackFileError
from stackctl.spec import dotenv
from stackctl.spec.loader import LoadRequest, load
from stackctl.spec.shown import Wish, described

#: A text that takes longer to read (seconds of this process's own time) is a finding.
_SLOW = 20.0
_EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "stacks"
_STACKS = b"""\
name: p
x-a: &a {image: "img:${TAG:-1}", environment: {A: "$B", C: "${D:?no}"}, ports: ["80:80", 90-92]}
services:
  a: {<<: *a, volumes: [./x:/y:ro, v:/v, /anon], command: "sh -c 'echo $$X'", depends_on: [b]}
  b:
    <<: [*a, {user: "0"}]
    build: {context: ., args: [X=1, Y]}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64m}}}
    healthcheck: {test: [CMD, "true"], interval: 1m30s}
    secrets: [s, {source: s, target: /t, mode: 0o440}]
    networks: {default: {aliases: [x], ipv4_address: 10.0.0.5}}
    env_file: [{path: .env, required: false}]
    pre_start: [{command: [a, b]}]
    provider: !reset null
  c: {extends: {service: a}, profiles: [dev], ulimits: {nofile: {soft: 1, hard: 2}}}
volumes: {v: {labels: [a=b]}}
networks: {default: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}
secrets: {s: {environment: HOME}}
configs: {k: {content: "${A:+b}"}}
"""
_DOTENV = b"""\
# comment
export A=1
B='single $A'
C="double ${A:-x} \\n \\" end"
D: yaml
E
F=un quoted # gone
G="multi
line"
H=${A?x}${B:+${C}}
"""
_PIECES = [
    *(b"*a", b"&a ", b"<<: ", b"!reset ", b"!override ", b"${", b"}", b"${A:-${B:?", b"$$", b"\0"),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        b"\t",
        b"[",
        b"{",
        b"]",
        b"}",
        b"- ",
        b"? ",
        b": ",
        b"|\n",
        b">-\n",
    ),
    *(
        b"---\n",
        b"...\n",
        b"%YAML 1.2\n",
        b"'",
        b'"',
        b"\\u0000",
        b"9" * 400,
        b"-" * 50,
        b"include: ",
    ),
]


def damaged(rng: random.Random, text: bytes) -> bytes:
    data = bytearray(text)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at:at] = rng.choice(_PIECES)
            case 1:
                del data[at : at + rng.randint(1, 30)]
            case 2:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[other : other + rng.randint(1, 200)]
            case 3 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 4:
                data[at : at + 1] = rng.choice(_PIECES) * rng.choice((1, 2, 50))
            case _:
                lines = data.split(b"\n")
                rng.shuffle(lines) if rng.random() < 0.1 else lines.insert(
                    rng.randrange(len(lines)), rng.choice(lines)
                )
                data = bytearray(b"\n".join(lines))
    return bytes(data)


def one(rng: random.Random, directory: Path, seeds: list[bytes]) -> None:
    text = damaged(rng, rng.choice(seeds))
    variables = damaged(rng, _DOTENV) if rng.random() < 0.5 else _DOTENV
    (directory / "f.yaml").write_bytes(text)
    (directory / ".env").write_bytes(variables)
    files = ["f.yaml"]
    if rng.random() < 0.2:
        (directory / "g.yaml").write_bytes(damaged(rng, rng.choice(seeds)))
        files.append("g.yaml")
    request = LoadRequest(
        cwd=str(directory), files=tuple(files), environment={"HOME": "/h", "D": "d"}
    )
    began = time.process_time()
    for attempt in (
        lambda: load(request),
        lambda: described(request, Wish(coverage=True)),
        lambda: described(request, Wish(interpolate=False)),
        lambda: described(request, Wish(variables=True)),
        lambda: dotenv.parse(variables.decode(errors="replace"), ".env", {"A": "1"}.get),
        lambda: dotenv.parse_raw(variables.decode(errors="replace"), ".env", {"A": "1"}.get),
    ):
        try:
            attempt()
        except (StackFileError, NotFound):
            continue
    assert time.process_time() - began < _SLOW, "it took too long"


def main() -> int:
    limit = float(os.environ.get("SECONDS_OF_FUZZING", "60"))
    seed = int(os.environ.get("SEED", str(time.time_ns())))
    rng = random.Random(seed)
    seeds = [_STACKS, *(f.read_bytes() for f in sorted(_EXAMPLES.glob("*/*.y*ml")))]
    began, count = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        while time.monotonic() - began < limit:
            try:
                one(rng, directory, seeds)
            except BaseException:
                kept = Path(tempfile.mkdtemp(prefix="stackctl-fuzz-"))
                for file in directory.iterdir():
                    (kept / file.name).write_bytes(file.read_bytes())
                print(f"after {count} files, seed {seed}: see {kept}", file=sys.stderr)
                raise
            count += 1
    print(f"{count} damaged stack files in {limit:g} s: a stack or mistakes, each time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
