"""Text, tables, the board and the live view: pure functions and a recorded screen."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.cli.output import chosen
from stackctl.cli.output.board import Board, Phase, label
from stackctl.cli.output.console import Console
from stackctl.cli.output.containers import published
from stackctl.cli.output.errors import print_error, print_warning
from stackctl.cli.output.files import write_text
from stackctl.cli.output.progress import LiveProgress, PlainProgress, QuietProgress
from stackctl.cli.output.table import Column, table
from stackctl.cli.output.text import cut, display_width, replica_name, seconds
from stackctl.errors import MachineError, OperationFailed, StackFileError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1, "0.00 s"),
        (0.031, "0.03 s"),
        (0.0949, "0.09 s"),
        (0.095, "0.1 s"),
        (0.42, "0.4 s"),
        (12.34, "12.3 s"),
        (59.9, "59.9 s"),
        (59.97, "1 m 00 s"),
        (125, "2 m 05 s"),
        (3720, "1 h 02 m"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("container", "service", "project", "name"),
    [
        ("shop-db-1", "db", "", "db-1"),
        ("web-web-12", "web", "", "web-12"),
        ("x-db-y-db-1", "db", "", "db-1"),
        ("db-1", "db", "", "db-1"),
        ("shop-db-run-1a2b3c4d", "db", "shop", "db-run-1a2b3c4d"),
        ("shop-db-run-12345678", "db", "", "shop-db-run-12345678"),
        ("my-own-name", "db", "shop", "my-own-name"),
        ("shop_db_1", "db", "", "db_1"),
        ("shop_db_run_1a2b3c4d", "db", "shop", "db_run_1a2b3c4d"),
        ("", "db", "shop", "db"),
    ],
)
def test_replica_name(container: str, service: str, project: str, name: str) -> None:
    assert replica_name(container, service, project) == name


def test_cut_counts_columns_not_characters() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 4) == "abc…"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
    assert cut("abc", 0) == ""


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_cut_never_exceeds(text: str, width: int) -> None:
    assert display_width(cut(text, width)) <= width


_COLUMNS = (Column("NAME"), Column("IMAGE", yields=2), Column("PORTS", yields=1))
_ROW = ("shop-db-1", "registry/some/image", "0.0.0.0:8080->80/tcp")


def test_a_table_is_as_wide_as_it_takes_without_a_terminal() -> None:
    assert table(_COLUMNS, [_ROW], None)[1] == (
        "shop-db-1   registry/some/image   0.0.0.0:8080->80/tcp"
    )


def test_a_narrow_terminal_takes_from_the_yielding_columns() -> None:
    assert table(_COLUMNS, [_ROW], 50)[1] == "shop-db-1   registry/some/…   0.0.0.0:8080->80/tcp"
    assert table(_COLUMNS, [_ROW], 30)[1] == "shop-db-1   0.0.0.0:8080->80/…"
    assert table(_COLUMNS, [_ROW], 9)[1] == "shop-db-1"


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(), st.text()), max_size=4),
    st.integers(min_value=10, max_value=100),
)
def test_a_table_fits_its_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    # The first column never yields; it has at most 8 characters, wide ones at most 16 columns.
    for line in table(_COLUMNS, rows, width):
        assert display_width(line) <= max(width, 16)


def test_control_characters_of_a_container_do_not_reach_the_table() -> None:
    lines = table((Column("A"), Column("B")), [("x\x1b[2Jy", "z\nz")])
    assert lines[1] == "x [2Jy   z z"


def test_labels() -> None:
    assert label("CreateNetwork", "shop_default", "shop") == "network default"
    assert label("StartContainer", "shop-db-1", "shop") == "db-1"
    assert label("PullImage", "redis:7", "shop") == "image redis:7"
    assert label("BuildImage", "shop-img:1", "shop") == "image shop-img:1"
    assert label("SomethingNew", "shop-db-1", "shop") == "db-1"


# -- the board


def test_rows_say_what_they_wait_for(shop: Any) -> None:
    board = Board()
    for message in shop[:5]:  # plan, network created, db created and begun
        board.apply(message, 0.0)
    texts = {row.label: board.text(row) for row in board.rows.values()}
    assert texts["network default"] == "created"
    assert texts["web-1"] == "waiting for db-1 to be healthy"
    assert [row.phase for row in board.rows.values()] == [
        Phase.DONE,
        Phase.RUNNING,
        Phase.PENDING,
    ]


def test_a_status_replaces_the_words_of_its_row(shop: Any) -> None:
    board = Board()
    board.apply(shop[0], 0.0)
    status = {"type": "status", "container": "shop-web-1", "service": "web", "text": "backing off"}
    assert board.apply(status, 0.0) is None
    assert board.text(board.rows[":shop-web-1"]) == "backing off"


def test_all_steps_done_is_finished(shop: Any) -> None:
    board = Board()
    for message in shop[:-1]:
        assert not board.finished or message["type"] == "plan" or message is shop[-2]
        board.apply(message, 0.0)
    assert board.finished
    assert board.counts() == (3, 3)


def test_a_pull_tells_how_far_its_layers_are() -> None:
    board = Board()
    pull = {"number": 1, "op": "PullImage", "target": "app:1", "service": "a"}
    board.apply({"type": "plan", "project": "p", "steps": [pull]}, 0.0)
    layer = {"type": "layer", "image": "app:1", "total": 4_000_000}
    # Before its step has begun, and of an image of somebody else: nothing to tell.
    assert board.apply({**layer, "layer": "aa", "state": "waiting"}, 0.0) is None
    board.apply({"type": "step", **pull, "state": "running"}, 0.0)
    row = board.rows["image:app:1"]
    for layer_id, state, current, text in (
        ("aa", "exists", 4_000_000, "pulling"),
        ("bb", "waiting", 0, "pulling 0.0 of 4.0 MB, 0 of 1 layers"),
        ("bb", "downloading", 1_000_000, "pulling 1.0 of 4.0 MB, 0 of 1 layers"),
        ("cc", "unpacking", 4_000_000, "pulling 5.0 of 8.0 MB, 0 of 2 layers"),
        ("bb", "unpacking", 4_000_000, "unpacking 8.0 MB, 0 of 2 layers"),
    ):
        message = {**layer, "layer": layer_id, "state": state, "current": current}
        assert board.apply(message, 1.0) is None
        assert board.text(row) == text
    done = board.apply({**layer, "layer": "bb", "state": "done", "current": 4_000_000}, 1.0)
    assert done is not None and (done.label, done.text) == ("image app:1", "layer bb 4.0 MB")
    assert board.apply({**layer, "image": "other:1", "layer": "dd", "state": "done"}, 1.0) is None


def test_a_failed_row_stays_failed(shop: Any) -> None:
    board = Board()
    board.apply(shop[0], 0.0)
    step = {**shop[4], "state": "failed", "text": "no such file"}
    milestone = board.apply(step, 0.0)
    assert milestone is not None
    assert (milestone.label, milestone.text) == ("db-1", "failed: no such file")
    skipped = {**shop[6], "state": "skipped", "text": "db-1 failed"}
    # Several steps of one container that are skipped because of the same are one line.
    assert board.apply(skipped, 0.0) is not None and board.apply(skipped, 0.0) is None
    assert board.rows[":shop-db-1"].phase in (Phase.FAILED, Phase.SKIPPED)


_FIELDS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["step", "status", "log", "other"]),
        "number": st.integers(0, 9),
        "op": st.sampled_from(["StartContainer", "WaitHealthy", "StopContainer", "New"]),
        "target": st.text(max_size=5),
        "container": st.text(max_size=5),
        "service": st.text(max_size=3),
        "state": st.sampled_from(["running", "done", "failed", "skipped", "?"]),
        "elapsed": st.floats(0, 9),
        "text": st.text(max_size=9),
    }
)


@given(st.lists(_FIELDS, max_size=20), st.integers(12, 90), st.integers(3, 30))
def test_any_messages_give_a_frame_that_fits(
    messages: list[dict[str, Any]], width: int, height: int
) -> None:
    console = Console(io.StringIO(), _Screen(), environment={"TERM": "xterm"})
    view = LiveProgress(console, "up", lambda: 1.0)
    view.show({"type": "plan", "project": "p", "steps": []})
    for message in messages:
        view.show(message)
    lines = view.frame(width, height)
    assert len(lines) <= max(height - 1, 3)
    assert all(used <= max(width, 12 + 5) for _, used in lines)


# -- displays


class _Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def _console(environment: dict[str, str] | None = None, *, terminal: bool = True) -> Console:
    stream = _Screen() if terminal else io.StringIO()
    return Console(io.StringIO(), stream, environment={"TERM": "xterm"} | (environment or {}))


def test_who_gets_the_live_view() -> None:
    assert isinstance(chosen.progress(_console(), "auto", "up"), LiveProgress)
    assert isinstance(chosen.progress(_console(), "plain", "up"), PlainProgress)
    assert isinstance(chosen.progress(_console(), "quiet", "up"), QuietProgress)
    assert isinstance(chosen.progress(_console({"TERM": "dumb"}), "auto", "up"), PlainProgress)
    assert isinstance(chosen.progress(_console(terminal=False), "auto", "up"), PlainProgress)
    assert isinstance(chosen.progress(_console(terminal=False), "tty", "up"), LiveProgress)


@pytest.mark.parametrize(
    ("environment", "is_out"),
    [
        ({"COMPOSE_STATUS_STDOUT": "1"}, True),
        ({"STACKCTL_STATUS_STDOUT": "true"}, True),
        ({"COMPOSE_STATUS_STDOUT": "0"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("mode", ["plain", "json"])
def test_what_is_done_may_be_shown_on_standard_output(
    environment: dict[str, str], is_out: bool, mode: str
) -> None:
    out, err = io.StringIO(), io.StringIO()
    progress = chosen.progress(Console(out, err, environment=environment), mode, "up")
    step = {"op": "StartContainer", "target": "app-db-1", "service": "db", "number": 1}
    progress.show({"type": "plan", "project": "app", "steps": [{**step, "cause": "not found"}]})
    progress.show({"type": "step", **step, "state": "running"})
    progress.show({"type": "step", **step, "state": "done"})
    assert bool(out.getvalue()) is is_out
    assert bool(err.getvalue()) is not is_out


def test_the_last_line_goes_where_the_steps_go(cli: Any, engine: Any) -> None:
    done = {"type": "result", "exit_code": 0}
    engine.answers["down"] = [{"type": "plan", "project": "app", "steps": []}, done]
    engine.answers["up"] = [{"type": "plan", "project": "app", "steps": []}, done]
    for line in (("down",), ("up", "-d")):
        assert not cli(*line, environment={"COMPOSE_STATUS_STDOUT": "1"}).err
        assert "nothing to" in cli(*line).err


def _replayed(text: str, columns: int) -> list[str]:
    """The lines a terminal of this width would show: the escapes that we use, played."""
    lines: list[str] = [""]
    row, position = 0, 0
    while position < len(text):
        char = text[position]
        if char == "\x1b":
            end = position + 2
            while not text[end].isalpha():
                end += 1
            argument, code = text[position + 2 : end], text[end]
            position = end + 1
            if code == "A":
                row -= int(argument)
            elif code == "J":
                del lines[row + 1 :]
                lines[row] = ""
            assert row >= 0
            continue
        position += 1
        if char == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif char == "\r":
            pass  # always followed by a move up and an erase
        else:
            lines[row] += char
            assert display_width(lines[row]) <= columns
    return lines


def test_the_live_view_redraws_in_place(shop: Any) -> None:
    console = _console()
    times = iter(n / 10 for n in range(1000))
    view = LiveProgress(console, "up", lambda: next(times))
    for message in shop:
        view.show(message)
        view.tick()
    view.above(lambda: console.err("warning: something"))
    view.close()
    view.close()
    assert isinstance(console.stderr, io.StringIO)
    lines = _replayed(console.stderr.getvalue(), 80)
    assert lines[0] == "warning: something"
    assert lines[1].startswith("up 3/3")
    assert [line.split("  ")[0] for line in lines[2:5]] == [
        " ✔ network default",
        " ✔ db-1",
        " ✔ web-1",
    ]
    assert lines[5:] == [""]
    assert console.stderr.getvalue().endswith("\x1b[?25h")


def test_a_short_terminal_shows_what_matters() -> None:
    console = _console()
    view = LiveProgress(console, "up", lambda: 0.0)
    steps = [
        {"number": n, "op": "StartContainer", "target": f"p-s-{n}", "service": "s", "after": []}
        for n in range(1, 31)
    ]
    view.show({"type": "plan", "project": "p", "steps": steps})
    for planned in steps[:20]:
        view.show({"type": "step", **planned, "state": "done", "elapsed": 0.1})
    view.show({"type": "step", **steps[25], "state": "failed", "text": "boom"})
    text = "\n".join(line for line, _ in view.frame(80, 10))
    assert "s-26" in text
    assert "... and 23 more" in text
    assert "s-1 " not in text


def test_published_ports_once_each(rows: Any) -> None:
    assert published(rows[:2]) == [("web-1", "localhost:8080 -> 80/tcp")]
    six = {"URL": "fd00::1", "TargetPort": 53, "PublishedPort": 53, "Protocol": "udp"}
    assert published([{**rows[0], "Publishers": [six]}]) == [("db-1", "[fd00::1]:53 -> 53/udp")]


def test_what_a_file_says_does_not_steer_the_terminal() -> None:
    console = _console(terminal=False)
    hostile = 'k\x1b[2J\x1b]0;t\x07\r"\x85'
    print_warning(console, hostile, f"{hostile}.yaml:1:1")
    print_error(console, StackFileError(f"unknown key {hostile}", hint=hostile))
    assert isinstance(console.stderr, io.StringIO)
    said = console.stderr.getvalue()
    assert all(character.isprintable() or character == "\n" for character in said)
    assert r'unknown key k\x1b[2J\x1b]0;t\x07\x0d"\x85' in said


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_text(str(path), "one")
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    write_text(str(tmp_path / "link"), "two")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o640)
    assert (tmp_path / "link").is_symlink()
    # A disk that is full, here: a text that cannot be written to its end.
    with pytest.raises(UnicodeEncodeError):
        write_text(str(path), "x" * 100_000 + "\ud800")
    assert path.read_text() == "two"
    write_text("/dev/null", "three")
    with pytest.raises(MachineError, match="cannot write"):
        write_text(str(tmp_path / "none" / "x"), "four")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "plan.json"]


# --- for programs


def test_progress_as_json_has_composes_fields(cli: Any, engine: Any) -> None:
    def step(number: int, op: str, target: str, state: str, text: str = "") -> dict[str, Any]:
        return {
            "type": "step",
            "number": number,
            "op": op,
            "target": target,
            "service": "web",
            "state": state,
            "text": text,
            "elapsed": 0.1,
        }

    layer = {"type": "layer", "image": "redis:7", "layer": "4abc"}
    told = [
        {"type": "warning", "text": "mind\x1b", "place": ["f", 1, 2]},
        {"type": "plan", "project": "p", "steps": []},
        step(1, "PullImage", "redis:7", "running"),
        {**layer, "state": "downloading", "current": 35, "total": 70},
        {**layer, "state": "done", "current": 70, "total": 70},
        step(1, "PullImage", "redis:7", "done"),
        step(2, "CreateNetwork", "p_back", "done"),
        step(3, "StartContainer", "p-web-1", "running"),
        step(3, "StartContainer", "p-web-1", "failed", "no such program"),
        step(4, "WaitHealthy", "p-web-1", "skipped", "p-web-1 failed"),
    ]

    def answer(body: Any) -> Iterator[dict[str, Any]]:
        yield from told
        raise OperationFailed("web did not start", hint="see its log")

    engine.answers["up"] = answer
    outcome = cli("--progress", "json", "up", "-d")
    assert outcome.code == 1 and outcome.out == ""
    *found, error = [json.loads(line) for line in outcome.err.splitlines()]
    image, container = {"id": "Image redis:7"}, {"id": "Container p-web-1"}
    part = {"id": "4abc", "parent_id": "Image redis:7", "total": 70}
    assert found == [
        {"level": "warning", "msg": "f:1:2: mind\x1b"},
        {**image, "status": "Working", "text": "Pulling"},
        {**part, "status": "Working", "text": "Downloading", "current": 35, "percent": 50},
        {**part, "status": "Done", "text": "Pull complete", "current": 70, "percent": 100},
        {**image, "status": "Done", "text": "Pulled"},
        {"id": "Network p_back", "status": "Done", "text": "Created"},
        {**container, "status": "Working", "text": "Starting"},
        {**container, "status": "Error", "text": "Error", "details": "no such program"},
        {**container, "status": "Warning", "text": "Skipped", "details": "p-web-1 failed"},
    ]
    assert (error["error"], error["message"]) == (True, "web did not start")
    assert error["hint"] == "see its log"

    engine.answers["plan"] = [
        {"type": "plan", "project": "p", "steps": [{**step(1, "StopContainer", "p-web-1", "")}]},
        {"type": "result", "exit_code": 2},
    ]
    stopped = {"dry-run": True, "id": "Container p-web-1"}
    for line in (("--dry-run", "down"), ("--dry-run", "up", "-d"), ("up", "-d", "--dry-run")):
        outcome = cli("--progress", "json", *line)
        assert [json.loads(told) for told in outcome.err.splitlines()] == [
            {**stopped, "status": "Working", "text": "Stopping"},
            {**stopped, "status": "Done", "text": "Stopped"},
        ]
        assert outcome.out == ""


def test_images_that_go_with_a_stack_are_part_of_its_progress(cli: Any, engine: Any) -> None:
    text = json.dumps({"services": {"web": {}}})
    config = {"type": "result", "exit_code": 0, "text": text, "images": ["p-web"]}
    engine.answers["config"] = [config]
    engine.answers["plan"] = [{"type": "plan", "project": "p", "steps": []}]
    engine.answers["down"] = [{"type": "result", "exit_code": 0}]
    engine.answers["image-rm"] = [{"type": "result", "exit_code": 0}]
    image = {"id": "Image p-web"}
    told = [
        {**image, "status": "Working", "text": "Removing"},
        {**image, "status": "Done", "text": "Removed"},
    ]
    for line in (("down", "--rmi", "local"), ("--dry-run", "down", "--rmi", "local")):
        outcome = cli("--progress", "json", *line)
        found = [json.loads(each) for each in outcome.err.splitlines()]
        assert [{k: v for k, v in each.items() if k != "dry-run"} for each in found] == told
        assert outcome.out == ""
    assert cli("--progress", "quiet", "down", "--rmi", "local").err == ""
    assert "image p-web  removed" in cli("down", "--rmi", "local").err


def test_layers_as_json(cli: Any, engine: Any) -> None:
    layer = {"type": "layer", "image": "redis:7", "layer": "4abc", "total": 70}
    engine.answers["image-pull"] = engine.answers["image-push"] = [
        {**layer, "state": "uploading", "current": 35},
        {**layer, "state": "done", "current": 70},
        {"type": "result", "exit_code": 0, "reference": "redis:7", "digest": "sha256:1"},
    ]
    part = {"id": "4abc", "parent_id": "Image redis:7", "total": 70}
    for verb, ended in (("pull", "Pull complete"), ("push", "Pushed")):
        outcome = cli("--progress", "json", "image", verb, "redis:7")
        assert [json.loads(line) for line in outcome.err.splitlines()] == [
            {**part, "status": "Working", "text": "Pushing", "current": 35, "percent": 50},
            {**part, "status": "Done", "text": ended, "current": 70, "percent": 100},
        ]
        assert "4abc: Complete" in cli("image", verb, "redis:7").err
        assert cli("--progress", "quiet", "image", verb, "redis:7").err == ""


def test_a_build_as_json(cli: Any, engine: Any) -> None:
    vertex = {"type": "vertex", "number": 1, "name": "RUN make", "elapsed": 1.25}
    engine.answers["build"] = [
        {**vertex, "state": "running"},
        {"type": "vertex-log", "number": 1, "stream": 1, "text": "cc\n"},
        {**vertex, "state": "done"},
        {"type": "result", "exit_code": 0, "images": [{"id": "sha256:1", "names": ["p-web"]}]},
    ]
    outcome = cli("build", "--progress", "json")
    assert [json.loads(line) for line in outcome.err.splitlines()] == [
        {"id": "#1", "status": "Working", "text": "RUN make"},
        {"id": "#1", "status": "Working", "details": "cc\n"},
        {"id": "#1", "status": "Done", "text": "RUN make", "details": "1.2s"},
        {"text": "built p-web"},
    ]
