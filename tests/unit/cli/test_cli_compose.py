"""The rest of docker compose's commands and flags: what is sent for them, what is refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import Place, StackFileError, StackFileErrors


def done(engine: Any, verb: str) -> None:
    engine.answers[verb] = [{"type": "result", "exit_code": 0, "containers": []}]


def test_create_and_scale_are_ups(cli: Any, engine: Any) -> None:
    done(engine, "up")
    assert cli("create", "--force-recreate", "web").code == 0
    assert cli("scale", "web=3", "db=1", "--no-deps").code == 0
    first, second = engine.bodies("up")
    assert (first["no_start"], first["services"], first["force_recreate"]) == (True, ["web"], True)
    assert second["scale"] == {"web": 3, "db": 1}
    assert (second["services"], second["no_deps"], second["no_recreate"]) == (
        ["web", "db"],
        True,
        True,
    )
    assert cli("scale", "web").code == 2


def test_a_plan_is_written_and_carried_out_as_it_is(cli: Any, engine: Any, tmp_path: Path) -> None:
    engine.answers["plan"] = [
        {
            "type": "plan",
            "project": "p",
            "fingerprint": "sha256:1",
            "steps": [
                {
                    "number": 1,
                    "op": "StartContainer",
                    "target": "p-web-1",
                    "service": "web",
                    "cause": "not found",
                    "after": [],
                }
            ],
        },
        {"type": "result", "exit_code": 2},
    ]
    done(engine, "up")
    file = tmp_path / "plan.json"
    assert cli("plan", "--out", str(file), "--scale", "web=2", "web").code == 2
    assert file.stat().st_mode & 0o777 == 0o600
    # Also in place of one that others can read.
    file.chmod(0o644)
    cli("plan", "--out", str(file), "--scale", "web=2", "web")
    assert file.stat().st_mode & 0o777 == 0o600
    written = json.loads(file.read_text())
    assert written["steps"][0]["target"] == "p-web-1"
    assert "environment" not in written["stack"] and written["stack"]["variables"] == {}
    assert cli("up", "-d", "--plan", str(file)).code == 0
    (sent,) = engine.bodies("up")
    assert (sent["expected"], sent["scale"], sent["services"]) == ("sha256:1", {"web": 2}, ["web"])
    # What another program writes into a pipe is a plan as well.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=(file.read_text(),), daemon=True).start()
    assert cli("up", "-d", "--plan", str(pipe)).code == 0
    assert engine.bodies("up")[1]["expected"] == "sha256:1"
    assert cli("up", "-d", "--plan", str(file), "db").code == 2
    assert "--wait was not planned" in cli("up", "-d", "--wait", "--plan", str(file)).err
    assert cli("up", "-d", "--plan", str(tmp_path / "missing")).code == 2


def test_a_plan_knows_its_stack_and_its_flags(
    cli: Any, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = []
    engine.answers["plan"] = [
        {"type": "plan", "project": "p", "fingerprint": "sha256:1", "steps": steps},
        {"type": "result", "exit_code": 2},
    ]
    done(engine, "up")
    file, here = tmp_path / "plan.json", Path.cwd()
    of = ("-f", "other.yaml", "--profile", "p")
    cli(*of, "plan", "--pull", "always", "--build", "--out", str(file))
    monkeypatch.chdir(tmp_path)
    assert cli("up", "-d", "--plan", str(file)).code == 0
    (sent,) = engine.bodies("up")
    assert (sent["pull"], sent["build"]) == ("always", True)
    stack = sent["project"]
    assert (stack["files"], stack["profiles"]) == (["other.yaml"], ["p"])
    assert stack["cwd"] == str(here)
    assert cli(*of, "up", "-d", "--plan", str(file)).code == 0
    # What names the stack in the environment is the plan's too; the rest is the caller's.
    named = {"COMPOSE_PROJECT_NAME": "mine", "COMPOSE_PROFILES": "a"}
    flags = ("-V", "--always-recreate-deps", "--no-start", "--no-build", "-t", "3")
    cli("plan", *flags, "--out", str(tmp_path / "env"), environment={**named, "A": "secret"})
    assert "secret" not in (tmp_path / "env").read_text()
    later = {"COMPOSE_PROJECT_NAME": "other", "STACKCTL_FILE": "y", "A": "b"}
    # A plan that starts nothing gives nothing to be attached to.
    assert cli("up", "--plan", str(tmp_path / "env"), environment=later).code == 0
    sent = engine.bodies("up")[-1]
    assert sent["renew_anon_volumes"] and sent["always_recreate_deps"]
    assert sent["no_start"] and sent["no_build"] and sent["timeout"] == 3 and not sent["attach"]
    assert "--timeout is not" in cli("up", "-t", "4", "--plan", str(tmp_path / "env")).err
    known = {k: v for k, v in sent["project"]["environment"].items() if k not in ("TERM", "PWD")}
    assert known == {**named, "A": "b"}
    other = cli("-f", "x.yaml", "up", "-d", "--plan", str(file))
    assert other.code == 2 and "--file is not what the plan was made with" in other.err


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[" * 100_000,
        '{"format": "stackctl-plan-1"}',
        '{"format": "stackctl-plan-1", "fingerprint": "x", "stack": {"cwd": "/"}, "request": 5}',
        '{"format": "stackctl-plan-1", "fingerprint": "x", "stack": {"cwd": "/"},'
        ' "request": {"services": 7}}',
        '{"format": "stackctl-plan-1", "fingerprint": "x", "stack": {"cwd": "/"},'
        ' "request": {"other": true}}',
        '{"format": "stackctl-plan-1", "fingerprint": "x", "stack": {}, "request": {}}',
    ],
)
def test_a_damaged_plan_is_none(cli: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "no.json").write_text(text)
    result = cli("up", "-d", "--plan", str(tmp_path / "no.json"))
    assert result.code == 2 and "no.json is no plan" in result.err


def test_what_compose_used_to_call_otherwise(cli: Any, engine: Any, tmp_path: Path) -> None:
    for verb in ("build", "pull", "rm", "down"):
        done(engine, verb)
    engine.answers["config"] = [{"type": "result", "exit_code": 0, "services": ["web"]}]
    found = cli("--workdir", str(tmp_path), "--no-ansi", "convert", "--services")
    assert (found.code, found.out) == (0, "web\n")
    assert engine.bodies("config")[0]["project"]["project_dir"] == str(tmp_path)
    assert "--no-ansi is called --ansi never" in found.err
    assert "--workdir of the whole line is called --project-directory" in found.err
    line = ("build", "--compress", "--force-rm", "--no-rm", "--parallel", "-m", "64m")
    assert "--memory has no effect" in cli(*line).err
    assert cli("pull", "--parallel").err == ""
    assert "--no-parallel has no effect" in cli("pull", "--no-parallel").err
    assert cli("rm", "-fa").code == 0
    assert "--volume is called --volumes" in cli("down", "--volume").err
    assert engine.bodies("down")[-1]["volumes"] is True


@pytest.mark.parametrize("command", [("up", "-d"), ("down",), ("create",), ("scale", "web=2")])
def test_a_dry_run_asks_for_the_plan_alone(cli: Any, engine: Any, command: tuple[str, ...]) -> None:
    engine.answers["plan"] = [
        {"type": "plan", "project": "p", "steps": []},
        {"type": "result", "exit_code": 0},
    ]
    outcome = cli("--dry-run", *command)
    assert (outcome.code, outcome.out) == (0, "p: nothing to do\n")
    assert engine.bodies("plan")[0]["for"] == ("down" if command[0] == "down" else "up")
    assert not engine.bodies("up") and not engine.bodies("down")


@pytest.mark.parametrize(
    ("command", "verbs"),
    [
        *((name, [name]) for name in ("stop", "start", "restart", "kill", "pause", "unpause")),
        *((name, [name]) for name in ("rm", "pull", "push", "build")),
        ("build --push", ["build", "push"]),
        ("kill -s HUP web", ["kill"]),
        *((name, [name.split()[0]]) for name in ("exec web true", "run web", "exec -d web true")),
    ],
)
def test_a_dry_run_shows_the_plan_of_a_command(
    cli: Any, engine: Any, command: str, verbs: list[str]
) -> None:
    step = {"number": 1, "op": "KillContainer", "target": "p-web-1", "service": "web"}
    engine.answers["plan"] = [
        {"type": "plan", "project": "p", "steps": [{**step, "cause": "asked for"}]},
        {"type": "result", "exit_code": 2},
    ]
    outcome = cli("--dry-run", *command.split())
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        *("p: 1 to kill", "  web", "    ~ web-1  kill   asked for")
    ] * len(verbs)
    assert [body["for"] for body in engine.bodies("plan")] == verbs
    assert {verb for verb, _ in engine.requests} == {"plan"}


def test_in_a_dry_run_nothing_that_changes_is_sent(cli: Any, engine: Any) -> None:
    for command in (
        ["container", "exec", "web", "true"],
        ["image", "pull", "x"],
        ["container", "export", "web", "-o", "file"],
        ["net", "prune", "-f"],
    ):
        outcome = cli("--dry-run", *command)
        assert outcome.code == 2, command
        assert "cannot be tried" in outcome.err
    assert not engine.requests


def test_mistakes_for_programs(cli: Any, engine: Any, tmp_path: Path) -> None:
    engine.unreachable = True
    file = tmp_path / "stack.yaml"
    file.write_text("services:\n  web: {image: x, imag: x}\n")
    outcome = cli("-f", str(file), "config", "--format", "json", "-q")
    assert outcome.code == 1
    errors = json.loads(outcome.out)["errors"]
    assert errors[0]["place"] == [str(file), 2, 19]
    assert errors[0]["hint"] == 'did you mean "image"?'
    # A plan's as well; a flag that is wrong is told to who typed it.
    engine.unreachable = False
    told = StackFileErrors((StackFileError("one", place=Place("f", 1, 2)), StackFileError("two")))
    engine.answers["plan"] = [{"type": "error", "error": told.to_json()}]
    outcome = cli("plan", "--json")
    assert (outcome.code, outcome.err) == (1, "")
    found = [(e["message"], e["place"]) for e in json.loads(outcome.out)["errors"]]
    assert found == [("one", ["f", 1, 2]), ("two", None)]
    wrong = cli("plan", "--json", "--for", "x")
    assert (wrong.code, wrong.out) == (1, "") and "--for" in wrong.err


def test_publishing_is_refused_with_a_reason(cli: Any) -> None:
    outcome = cli("publish")
    assert outcome.code == 2 and "not published" in outcome.err


def test_a_stack_file_that_only_the_caller_can_open_is_read_here(cli: Any, engine: Any) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"services: {}")
    os.close(theirs)
    try:
        assert cli("-f", f"/dev/fd/{ours}", "-f", "b.yaml", "ps").code == 0
    finally:
        os.close(ours)
    (body,) = engine.bodies("ps")
    assert body["project"]["files"] == ["-", "b.yaml"]
    assert body["project"]["stdin"] == "services: {}"
    assert "only one stack file can be a pipe" in cli("-f", "/dev/stdin", "-f", "-", "ps").err
