"""The daemon's log: lines of JSON, in a file with an end."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.daemon.logfile import CappedFile


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    logger = logging.Logger("test")
    handler = CappedFile(tmp_path / "daemon.log", cap=2000)
    logger.addHandler(handler)
    yield logger
    handler.close()


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_time_level_message_and_what_was_added(
    log: logging.Logger, tmp_path: Path
) -> None:
    log.warning("odd %s", "\n\udc80", extra={"pid": 7, "path": Path("/x")})
    (line,) = lines(tmp_path / "daemon.log")
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "test",
        "message": "odd \n\udc80",
        "pid": 7,
        "path": "/x",
    }


def test_a_trace_is_part_of_its_line(log: logging.Logger, tmp_path: Path) -> None:
    try:
        raise ZeroDivisionError("of course")
    except ZeroDivisionError:
        log.exception("failed")
    (line,) = lines(tmp_path / "daemon.log")
    assert line["trace"].endswith("ZeroDivisionError: of course")


def test_the_file_does_not_grow_without_bound(log: logging.Logger, tmp_path: Path) -> None:
    for number in range(200):
        log.info("line", extra={"number": number})
    assert {p.name for p in tmp_path.iterdir()} == {"daemon.log", "daemon.log.1"}
    kept = lines(tmp_path / "daemon.log.1") + lines(tmp_path / "daemon.log")
    numbers = [line["number"] for line in kept]
    assert numbers == list(range(200))[-len(numbers) :]
    assert all(p.stat().st_size <= 2000 for p in tmp_path.iterdir())


def test_a_log_that_cannot_be_written_stops_nobody(log: logging.Logger, tmp_path: Path) -> None:
    (tmp_path / "daemon.log").unlink()
    for _ in range(200):
        log.info("line")
