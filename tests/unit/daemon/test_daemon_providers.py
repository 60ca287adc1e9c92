"""Programs that provide a service: what they have started goes with them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.daemon.program import Program
from stackctl.daemon.providers import ASKING, Providers
from stackctl.errors import OperationFailed
from stackctl.model.provider import ProviderRequest
from stackctl.state.paths import Paths
from support.waiting import wait_until

#: A child that writes its number down and outlives the shell that started it.
CHILD = "sh -c 'echo $$ >\"$CHILD\"; exec sleep 300'"


def has_ended(file: Path) -> bool:
    stat = Path(f"/proc/{file.read_text().strip()}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def request(directory: Path, script: str) -> ProviderRequest:
    program = directory / "provide"
    program.write_text(f"#!/bin/sh\n[ $2 = metadata ] && exit 1\n{script}\n")
    program.chmod(0o755)
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    ASKING.set({"PATH": path, "CHILD": str(directory / "child")})
    return ProviderRequest(project="p", service="c", type="provide", options=(), definition="{}")


def test_who_leaves_ends_the_program_and_its_children(tmp_path: Path) -> None:
    async def scenario() -> None:
        providers = Providers(Paths(tmp_path, tmp_path))
        wish = request(tmp_path, f"{CHILD}; echo")
        task = asyncio.create_task(providers.run(wish, "up"))
        child = tmp_path / "child"
        while not (child.exists() and child.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wait_until(lambda: has_ended(child), 20)

    asyncio.run(scenario())


def test_who_leaves_while_it_starts_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """At whatever moment, also while the loop has not looked yet at what the program did."""
    child = tmp_path / "child"
    environment = {"PATH": os.environ["PATH"], "CHILD": str(child)}

    async def run() -> None:
        async with Program(["sh", "-c", f"{CHILD}; echo"], environment) as program:
            await program.output.read()

    async def scenario() -> None:
        for turns in range(1, 8):
            child.unlink(missing_ok=True)
            task = asyncio.create_task(run())
            for _ in range(turns):
                await asyncio.sleep(0)
            wait_until(lambda: child.exists() and child.read_text(), 20)
            task.cancel()
            await asyncio.wait([task], timeout=20)
            assert task.cancelled()
            wait_until(lambda: has_ended(child), 20)

    asyncio.run(scenario())


def test_who_answers_whatever_it_is_asked_gets_all_options(tmp_path: Path) -> None:
    """It has not described itself, though what it says is an object."""
    wish = request(tmp_path, "echo $* >>seen")
    program = tmp_path / "provide"
    seen = tmp_path / "seen"
    program.write_text(
        f'#!/bin/sh\necho $* >>{seen}\necho \'{{"type": "setenv", "message": "A=1"}}\'\n'
    )
    asyncio.run(
        Providers(Paths(tmp_path, tmp_path)).run(replace(wish, options=(("size", "s"),)), "up")
    )
    assert seen.read_text().splitlines() == [
        "compose metadata",
        "compose --project-name=p up --size=s c",
    ]


def test_a_line_without_end_is_refused_though_children_write_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        providers = Providers(Paths(tmp_path, tmp_path))
        with pytest.raises(OperationFailed, match="too long"):
            await providers.run(request(tmp_path, "yes | tr -d '\\n'"), "up")

    asyncio.run(scenario())


def test_who_is_left_in_the_background_holds_nobody_up(tmp_path: Path) -> None:
    """Its output ends before itself: so its end is waited for, and not that of its child."""

    async def scenario() -> None:
        providers = Providers(Paths(tmp_path, tmp_path))
        left = f'{CHILD} >/dev/null & exec >&-; until [ -s "$CHILD" ]; do :; done'
        await providers.run(request(tmp_path, left), "up")
        child = tmp_path / "child"
        assert not has_ended(child)
        os.kill(int(child.read_text()), 9)

    asyncio.run(scenario())


def test_what_it_said_is_told_with_its_code(tmp_path: Path) -> None:
    async def scenario() -> None:
        providers = Providers(Paths(tmp_path, tmp_path))
        talk = "yes early | head -n 20000 >&2; echo late >&2; exit 3"
        with pytest.raises(OperationFailed, match="ended with code 3") as caught:
            await providers.run(request(tmp_path, talk), "up")
        assert caught.value.details == ("early",) * 9 + ("late",)

    asyncio.run(scenario())
