"""What it costs to refuse files that are meant to do harm: python tests/bench/hostile.py [RUNS].

The files are those of tests/unit/spec/test_spec_hostile.py. Each is read in a process of its
own, behind an honest file of 200 services: milliseconds of processor time (the least of the
runs), and by how much the process's peak of memory grew.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "spec"))

from test_spec_hostile import CHILD, HONEST, HOSTILE


def cost(directory: Path) -> dict[str, float]:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(directory)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(child.stdout)
    return found


def main(runs: int) -> None:
    print("| file | ms | MB |\n|---|---|---|")
    for name, text in HOSTILE.items():
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            (directory / "honest.yaml").write_text(HONEST)
            (directory / "hostile.yaml").write_text(text())
            found = [cost(directory) for _ in range(runs)]
        milliseconds = min(each["seconds"] for each in found) * 1000
        megabytes = max(each["kib"] for each in found) / 1024
        print(f"| {name} | {milliseconds:.0f} | {megabytes:.1f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
