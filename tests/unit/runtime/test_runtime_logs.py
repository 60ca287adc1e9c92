"""What is written by the shim is what the engine reads, across rotations and in bounded memory."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.runtime.logfile import LogLine, follow, last_lines, parse, read, whole
from stackctl.runtime.shim.logs import PARTIAL, LogWriter
from stackctl.state.paths import Paths

NOW = 1_700_000_000_123_456_789
ID = "a" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path / "root", tmp_path / "run")
    paths.container(ID).mkdir(parents=True)
    return paths


def writer(paths: Paths, size: int = 0, files: int = 5) -> LogWriter:
    return LogWriter(str(paths.container_log(ID)), size, files)


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def test_a_line_is_as_docker_writes_it(paths: Paths) -> None:
    log = writer(paths)
    log.feed("stdout", 'héllo "w"\\\tx\n'.encode(), NOW)
    raw = json.loads(paths.container_log(ID).read_text())
    assert raw == {
        "log": 'héllo "w"\\\tx\n',
        "stream": "stdout",
        "time": "2023-11-14T22:13:20.123456789Z",
    }


def test_long_lines_are_put_together_again(paths: Paths) -> None:
    log = writer(paths)
    log.feed("stdout", b"a" * (PARTIAL + 1), NOW)
    log.feed("stderr", b"between\n", NOW + 1)
    log.feed("stdout", b"b" * (2 * PARTIAL) + b"\nnext\nprompt: ", NOW + 2)
    log.finish(NOW + 3)
    entries = list(read(paths, ID))
    assert len(entries) > 4
    lines = list(whole(iter(entries)))
    assert [(line.stream, line.text, line.partial) for line in lines] == [
        ("stderr", "between", False),
        ("stdout", "a" * (PARTIAL + 1) + "b" * (2 * PARTIAL), False),
        ("stdout", "next", False),
        ("stdout", "prompt: ", True),
    ]
    # The first piece's, as with Docker.
    assert lines[1].time < lines[0].time


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    piece = LogLine(time="t", stream="stdout", text="x" * (1 << 19), partial=True)
    found = list(whole(iter([piece] * 5)))
    assert [len(line.text) >> 19 for line in found] == [3, 2]
    assert all(line.partial for line in found)


def test_what_a_full_disk_swallowed_is_told_and_the_next_line_is_whole(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = writer(paths)
    log.feed("stdout", b"before\n", NOW)
    whole = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 20:
            return whole(fd, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        log.feed("stdout", b"one\ntwo\n", NOW)
        log.feed("stderr", b"three\n", NOW)
    log.feed("stdout", b"after\n", NOW)
    log.feed("stdout", b"last\n", NOW)
    assert [(line.stream, line.text) for line in read(paths, ID)] == [
        ("stdout", "before"),
        ("stderr", "stackctl: 3 lines of output are missing here: No space left on device"),
        ("stdout", "after"),
        ("stdout", "last"),
    ]


def test_halves_of_a_line_are_joined(paths: Paths) -> None:
    log = writer(paths)
    log.feed("stdout", b"one ", NOW)
    log.feed("stderr", b"other\n", NOW + 1)
    log.feed("stdout", b"line\nrest", NOW + 2)
    log.finish(NOW + 3)
    assert [(e.stream, e.text, e.partial) for e in read(paths, ID)] == [
        ("stderr", "other", False),
        ("stdout", "one line", False),
        ("stdout", "rest", True),
    ]


def test_invalid_bytes_are_replaced(paths: Paths) -> None:
    log = writer(paths)
    log.feed("stdout", b"\xff\xfe\0\n", NOW)
    assert texts(list(read(paths, ID))) == ["\ufffd\ufffd\0"]


@settings(max_examples=100)
@given(pieces=st.lists(st.binary(max_size=40000), max_size=8))
def test_no_byte_is_lost(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    base = tmp_path_factory.mktemp("log")
    paths = Paths(base / "root", base / "run")
    paths.container(ID).mkdir(parents=True)
    log = writer(paths)
    pieces = [piece.replace(b"\xc3", b"").decode("ascii", "ignore").encode() for piece in pieces]
    for piece in pieces:
        log.feed("stdout", piece, NOW)
        assert all(len(tail) <= PARTIAL for tail in log._tails.values())
    log.finish(NOW)
    entries = list(read(paths, ID))
    assert (
        "".join(e.text + ("" if e.partial else "\n") for e in entries) == b"".join(pieces).decode()
    )
    assert all(len(e.text) <= PARTIAL for e in entries)


def test_characters_are_not_cut(paths: Paths) -> None:
    log = writer(paths)
    log.feed("stdout", ("é" * 20000).encode(), NOW)
    log.finish(NOW)
    assert "".join(e.text for e in read(paths, ID)) == "é" * 20000


def test_rotation_keeps_a_number_of_files(paths: Paths) -> None:
    log = writer(paths, size=1000, files=3)
    for number in range(100):
        log.feed("stdout", b"line %d\n" % number, NOW + number)
    names = sorted(p.name for p in paths.container(ID).iterdir())
    assert names == ["log.json", "log.json.1", "log.json.2"]
    kept = texts(list(read(paths, ID)))
    assert kept == [f"line {n}" for n in range(100 - len(kept), 100)]
    assert 20 < len(kept) < 60


def test_no_file_is_larger_than_its_size_and_a_line(paths: Paths) -> None:
    """However much of it is read at once."""
    log = writer(paths, size=1000, files=3)
    log.feed("stdout", b"".join(b"line %d\n" % number for number in range(500)), NOW)
    sizes = [p.stat().st_size for p in sorted(paths.container(ID).iterdir())]
    assert len(sizes) == 3 and all(0 < size < 1100 for size in sizes)
    kept = texts(list(read(paths, ID)))
    assert kept == [f"line {n}" for n in range(500 - len(kept), 500)]
    log.feed("stdout", b"last\n", NOW)
    assert texts(list(read(paths, ID, tail=1))) == ["last"]


def test_one_file_starts_over(paths: Paths) -> None:
    log = writer(paths, size=1000, files=1)
    for number in range(100):
        log.feed("stdout", b"line %d\n" % number, NOW + number)
    assert [p.name for p in paths.container(ID).iterdir()] == ["log.json"]
    assert paths.container_log(ID).stat().st_size < 1100


@pytest.mark.parametrize("tail", [0, 1, 5, 30, 1000])
def test_the_tail_reaches_over_files(paths: Paths, tail: int) -> None:
    log = writer(paths, size=1000, files=4)
    for number in range(60):
        log.feed("stdout", b"line %d\n" % number, NOW + number)
    everything = list(read(paths, ID))
    assert list(read(paths, ID, tail=tail)) == (everything[-tail:] if tail else [])
    assert last_lines(paths, ID, 2) == ["line 58", "line 59"]


def test_a_span_of_time(paths: Paths) -> None:
    log = writer(paths)
    for second in range(10):
        log.feed("stdout", b"%d\n" % second, (1_700_000_000 + second) * 10**9)
    chosen = read(paths, ID, since=1_700_000_003.0, until=1_700_000_005.0)
    assert texts(list(chosen)) == ["3", "4", "5"]
    assert texts(list(read(paths, ID, tail=1, until=1_700_000_005.0))) == ["5"]


def test_a_log_that_is_not_there_is_empty(paths: Paths) -> None:
    assert list(read(paths, ID)) == []
    assert last_lines(paths, "b" * 64, 5) == []


@given(st.binary(max_size=100))
def test_damaged_lines_are_passed_over(raw: bytes) -> None:
    line = parse(raw)
    assert line is None or isinstance(line.text, str)


def test_a_follower_sees_everything_over_rotations(paths: Paths) -> None:
    log = writer(paths, size=2000, files=10)

    async def work() -> list[str]:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        got: list[str] = []

        async def reading() -> None:
            async for line in follow(paths, ID, until_done=done):
                got.append(line.text)

        log.feed("stdout", b"before\n", NOW)
        task = asyncio.create_task(reading())
        for number in range(200):
            log.feed("stdout", b"line %d\n" % number, NOW + number)
            if number % 9 == 0:
                await asyncio.sleep(0)
        while len(got) < 201 and not task.done():
            await asyncio.sleep(0.005)
        log.feed("stdout", b"last\n", NOW)
        done.set_result(None)
        await task
        return got

    expected = ["before", *(f"line {n}" for n in range(200)), "last"]
    assert asyncio.run(asyncio.wait_for(work(), 10)) == expected


@pytest.mark.parametrize("tail", [None, 10_000])
def test_a_log_that_rotates_while_it_is_opened_loses_nothing(
    paths: Paths, tail: int | None
) -> None:
    """The writer is a thread that never waits: it renames files between any two of our steps."""
    log = writer(paths, size=1000, files=99)
    count = 900

    def write() -> None:
        for number in range(count):
            log.feed("stdout", b"line %d\n" % number, NOW + number)

    async def work() -> list[str]:
        done = asyncio.get_running_loop().run_in_executor(None, write)
        return [line.text async for line in follow(paths, ID, tail=tail, until_done=done)]

    got = asyncio.run(asyncio.wait_for(work(), 30))
    assert got == [f"line {number}" for number in range(count)]


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_name_that_is_missing_in_a_rotation_hides_no_older_file(
    paths: Paths, missing: int
) -> None:
    path = paths.container_log(ID)
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        name = path.with_name(f"{path.name}.{number}") if number else path
        entry = {"log": f"{number}\n", "stream": "stdout", "time": "2024-05-01T10:00:00Z"}
        if number != missing:
            name.write_text(json.dumps(entry) + "\n")
    expected = [str(number) for number in (4, 3, 2, 1, 0) if number != missing]
    assert [line.text for line in read(paths, ID)] == expected
    assert [line.text for line in read(paths, ID, tail=3)] == expected[1:]

    async def followed() -> list[str]:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return [line.text async for line in follow(paths, ID, until_done=done)]

    # While the newest name is missing, what comes next is not yet known.
    assert asyncio.run(followed()) == expected


def test_a_follower_starts_at_the_tail(paths: Paths) -> None:
    log = writer(paths)
    for number in range(10):
        log.feed("stdout", b"line %d\n" % number, NOW + number)

    async def work() -> list[str]:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        got = []
        async for line in follow(paths, ID, tail=2, until_done=done):
            got.append(line.text)
            if len(got) == 2:
                log.feed("stdout", b"new\n", NOW)
            if len(got) == 3:
                done.set_result(None)
        return got

    assert asyncio.run(asyncio.wait_for(work(), 10)) == ["line 8", "line 9", "new"]


def test_a_follower_waits_for_a_log_to_come(paths: Paths) -> None:
    async def work() -> list[str]:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(
            0.02, lambda: writer(paths).feed("stdout", b"first\n", NOW)
        )
        async for line in follow(paths, ID, until_done=done):
            return [line.text]
        return []

    assert asyncio.run(asyncio.wait_for(work(), 10)) == ["first"]
