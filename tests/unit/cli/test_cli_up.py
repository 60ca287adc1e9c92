"""`up` and `down`: what is sent, what is printed, how it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from .conftest import container


def test_detached_up_prints_a_line_for_each_thing_done(
    cli: Any, engine: Any, shop: Any, rows: Any
) -> None:
    engine.answers |= {"up": shop, "ps": rows}
    outcome = cli("up", "-d")
    lines = outcome.err.splitlines()
    assert lines[:4] == [
        "network default  created (0.03 s)",
        "db-1             started (0.06 s)",
        "db-1             healthy after 0.4 s",
        "web-1            started (0.06 s)",
    ]
    assert lines[4].startswith("shop: 2 containers running after ")
    assert lines[5:] == ["  web-1  localhost:8080 -> 80/tcp"]
    assert (outcome.code, outcome.out) == (0, "")


def test_the_request_carries_flags_and_project(cli: Any, engine: Any) -> None:
    cli(
        *("-f", "a.yaml", "-f", "b.yaml", "-p", "shop", "--profile", "x", "--env-file", "e"),
        *("up", "-d", "--scale", "web=3", "--remove-orphans", "-t", "2.5", "web"),
        environment={"TAG": "7"},
    )
    (body,) = engine.bodies("up")
    project = body["project"]
    assert project["files"] == ["a.yaml", "b.yaml"]
    assert (project["name"], project["profiles"], project["env_files"]) == ("shop", ["x"], ["e"])
    assert project["environment"]["TAG"] == "7"
    assert body["services"] == ["web"]
    assert body["scale"] == {"web": 3}
    assert (body["remove_orphans"], body["timeout"]) == (True, 2.5)
    assert (body["detach"], body["attach"], body["wait"]) == (True, False, False)


def test_nothing_to_do_asks_for_nothing_else(cli: Any, engine: Any) -> None:
    engine.answers["up"] = [
        {"type": "plan", "project": "shop", "steps": []},
        {"type": "result", "exit_code": 0, "changed": False},
    ]
    outcome = cli("up", "-d")
    assert outcome.err.startswith("shop: nothing to do (")
    assert [verb for verb, _ in engine.requests] == ["up"]


def test_a_failure_shows_the_cause_and_the_last_log_lines(cli: Any, engine: Any, shop: Any) -> None:
    failed = {
        "kind": "operation",
        "message": 'service "db" ended with exit code 3',
        "hint": "look at its configuration",
        "details": ["boom", "  at line 1"],
        "exit_code": 1,
    }
    skipped = {**shop[-2], "state": "skipped", "text": "db-1 failed"}
    engine.answers["up"] = [*shop[:7], skipped, {"type": "error", "error": failed}]
    outcome = cli("up", "-d")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-5:] == [
        "web-1            skipped: db-1 failed",
        'error: service "db" ended with exit code 3',
        "  hint: look at its configuration",
        "    boom",
        "      at line 1",
    ]


def test_flags_that_contradict_each_other_are_refused(cli: Any, engine: Any) -> None:
    for flags in (
        ("-d", "--abort-on-container-exit"),
        ("--force-recreate", "--no-recreate"),
        ("--wait", "--exit-code-from", "web"),
        ("--wait", "--wait-timeout", "-1"),
        ("--wait", "--wait-timeout", "nan"),
        ("-t", "-5"),
    ):
        outcome = cli("up", *flags)
        assert outcome.code == 2, flags
        assert outcome.err.startswith("error: ")
    assert engine.requests == []


def test_dry_run_prints_the_plan_and_changes_nothing(cli: Any, engine: Any, shop: Any) -> None:
    engine.answers["plan"] = [shop[0], {"type": "result", "exit_code": 2}]
    outcome = cli("up", "--dry-run")
    assert outcome.code == 0
    assert "create" in outcome.out
    assert [verb for verb, _ in engine.requests] == ["plan"]


def _log(service: str, line: str, stream: str = "stdout") -> dict[str, Any]:
    return {
        "type": "log",
        "container": f"shop-{service}-1",
        "service": service,
        "number": 1,
        "stream": stream,
        "time": 1700000000.0,
        "line": line,
    }


def _exit(service: str, code: int | None) -> dict[str, Any]:
    return {"type": "exit", "container": f"shop-{service}-1", "service": service, "code": code}


def test_attached_up_prints_aligned_logs_and_exits(
    cli: Any, engine: Any, shop: Any, rows: Any
) -> None:
    engine.answers |= {
        "up": [
            *shop[:-2],
            # Nobody waits for all of them to be up to hear what one says.
            _log("db", "ready"),
            shop[-2],
            {"type": "attached", "containers": [rows[0]["FullID"], "others'"]},
            _log("web", "listening"),
            _log("web", "oops", "stderr"),
            _exit("web", 0),
            _exit("db", None),
            shop[-1],
        ],
        # One that nobody listens to.
        "ps": [container("shop-idle-1", "idle", FullID="f" * 64), *rows],
    }
    outcome = cli("up")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["db-1   | ready", "web-1  | listening"]
    assert outcome.err.splitlines()[4:] == [
        "attached to db-1, web-1",
        "web-1  | oops",
        "web-1 exited with code 0",
        "db-1 exited with an unknown code",
    ]
    assert engine.bodies("up")[0]["attach"] is True


def _until_stopped(shop: Any, ends: list[dict[str, Any]], released: threading.Event) -> Any:
    """An attached `up` whose services end when `stop` was asked for."""

    def messages(_: object) -> Iterator[dict[str, Any]]:
        yield from shop[:-1]
        yield ends[0]
        assert released.wait(20)
        yield from ends[1:]
        yield shop[-1]

    return messages


def test_abort_on_exit_stops_the_rest_and_returns_the_first_code(
    cli: Any, engine: Any, shop: Any, rows: Any
) -> None:
    stopped = threading.Event()

    def stop(_: object) -> Iterator[dict[str, Any]]:
        stopped.set()
        yield {"type": "result", "exit_code": 0}

    engine.answers |= {
        "up": _until_stopped(shop, [_exit("web", 7), _exit("db", 143)], stopped),
        "ps": rows,
        "stop": stop,
    }
    outcome = cli("up", "--abort-on-container-exit", "-t", "3")
    assert outcome.code == 7
    assert engine.bodies("stop")[0]["timeout"] == 3
    assert "stopping all services because web-1 ended" in outcome.err


def test_exit_code_from_waits_for_that_service(cli: Any, engine: Any, shop: Any, rows: Any) -> None:
    stopped = threading.Event()

    def stop(_: object) -> Iterator[dict[str, Any]]:
        stopped.set()
        yield {"type": "result", "exit_code": 0}

    engine.answers |= {
        "up": _until_stopped(shop, [_exit("db", 1), _exit("web", 42)], stopped),
        "ps": rows,
        "stop": stop,
    }
    assert cli("up", "--exit-code-from", "web").code == 42


def test_first_signal_stops_second_kills(cli: Any, engine: Any, shop: Any, rows: Any) -> None:
    killed = threading.Event()

    def up(_: object) -> Iterator[dict[str, Any]]:
        yield from shop[:-1]
        os.kill(os.getpid(), signal.SIGINT)
        assert killed.wait(20)
        yield _exit("db", 137)
        yield shop[-1]

    def stop(_: object) -> Iterator[dict[str, Any]]:
        os.kill(os.getpid(), signal.SIGINT)
        assert killed.wait(20)
        yield {"type": "result", "exit_code": 0}

    def kill(_: object) -> Iterator[dict[str, Any]]:
        killed.set()
        yield {"type": "result", "exit_code": 0}

    engine.answers |= {"up": up, "ps": rows, "stop": stop, "kill": kill}
    outcome = cli("up")
    assert outcome.code == 130
    verbs = [verb for verb, _ in engine.requests]
    assert verbs.index("stop") < verbs.index("kill")
    assert "stopping gracefully (Ctrl-C again to kill)" in outcome.err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_up_that_is_cancelled_by_our_stop_is_no_error(
    cli: Any, engine: Any, shop: Any, rows: Any
) -> None:
    stopped = threading.Event()

    def up(_: object) -> Iterator[dict[str, Any]]:
        yield shop[0]
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait(20)
        yield {"type": "error", "error": {"message": "cancelled"}}

    def stop(_: object) -> Iterator[dict[str, Any]]:
        yield {"type": "result", "exit_code": 0}
        stopped.set()

    engine.answers |= {"up": up, "ps": rows, "stop": stop}
    outcome = cli("up", "web")
    assert outcome.code == 130
    assert "cancelled" not in outcome.err
    # What it depends on goes on, as with compose.
    assert engine.bodies("stop")[0]["services"] == ["web"]


def test_down_says_what_went(cli: Any, engine: Any) -> None:
    steps = [
        {"number": 1, "op": "StopContainer", "target": "shop-web-1", "service": "web", "after": []},
        {
            "number": 2,
            "op": "RemoveContainer",
            "target": "shop-web-1",
            "service": "web",
            "after": [1],
        },
        {"number": 3, "op": "RemoveNetwork", "target": "shop_default", "service": "", "after": [2]},
    ]
    messages: list[dict[str, Any]] = [{"type": "plan", "project": "shop", "steps": steps}]
    messages += [{"type": "step", **s, "state": "done", "elapsed": 0.1, "text": ""} for s in steps]
    engine.answers["down"] = [*messages, {"type": "result", "exit_code": 0}]
    outcome = cli("down", "-v")
    lines = outcome.err.splitlines()
    assert lines[:2] == ["web-1            removed (0.2 s)", "network default  removed (0.1 s)"]
    assert lines[2].startswith("shop: down after ")
    assert engine.bodies("down")[0]["volumes"] is True
