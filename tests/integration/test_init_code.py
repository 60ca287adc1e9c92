"""The bytes in the shim are what the assembler makes of scripts/init."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stackctl.runtime.shim import init

SOURCES = Path(__file__).parents[2] / "scripts" / "init"


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(m, marks=pytest.mark.needs(f"program:{m}-linux-gnu-as"))
        for m in ("x86_64", "aarch64")
    ],
)
def test_the_code_is_what_the_source_says(machine: str, tmp_path: Path) -> None:
    tool = f"{machine}-linux-gnu"
    made, code = tmp_path / "init.o", tmp_path / "init.bin"
    subprocess.run([f"{tool}-as", SOURCES / f"{machine}.S", "-o", made], check=True)
    subprocess.run([f"{tool}-objcopy", "-O", "binary", "-j", ".text", made, code], check=True)
    assert init.image(machine).endswith(code.read_bytes())
    assert len(code.read_bytes()) > 150
