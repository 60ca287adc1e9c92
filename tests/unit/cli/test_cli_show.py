"""Commands that only look: ps, logs, port, top, ls, events, config, version, info, plan."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from stackctl import __version__

from .conftest import step


def test_ps_is_a_table(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers["ps"] = rows
    lines = cli("ps").out.splitlines()
    assert lines[0].split() == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert lines[2].startswith(
        'shop-web-1   stackctl/host   "python3 -m http.ser…"   web       3 seconds ago   Up 3'
    )
    assert lines[2].endswith("0.0.0.0:8080->80/tcp")


def test_ps_json_is_an_object_a_line(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers["ps"] = rows
    found = [json.loads(line) for line in cli("ps", "-a", "--format", "json").out.splitlines()]
    assert [row["Service"] for row in found] == ["db", "web"]
    assert found[0]["ID"] == "0123456789ab"
    assert "FullID" not in found[0]
    # In quotes within the text and cut, as compose's.
    assert found[1]["Command"] == '"python3 -m http.ser…"'
    (whole, *_) = cli("ps", "-a", "--format", "{{.Command}}", "--no-trunc").out.splitlines()[1:]
    assert whole == '"python3 -m http.server 8000"'
    assert found[0]["CreatedAt"].endswith(" +0000 UTC")
    assert engine.bodies("ps")[0]["all"] is True


def test_ps_takes_a_template(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers["ps"] = rows
    names = [json.loads(line)["Name"] for line in cli("ps", "--format", "json").out.splitlines()]
    assert cli("ps", "--format", "{{.Name}}|x").out.splitlines() == [f"{n}|x" for n in names]
    table = cli("ps", "--format", "table {{.Name}}\\t{{.State}}").out.splitlines()
    assert table[0].split() == ["NAME", "STATE"]
    assert cli("ps", "--format", "yaml").code == 2
    # What a container wrote is counted when somebody asks for it.
    assert not engine.bodies("ps")[-1]["size"]
    rows[0]["SizeRw"] = 1500
    fields = "{{.Names}} {{.Networks}} {{.Mounts}} {{.LocalVolumes}} {{.Size}}"
    assert cli("ps", "--format", fields).out.splitlines() == [
        "shop-db-1 shop_default shop_a-rather-…,/etc/x 1 1.5kB",
        "shop-web-1 shop_default shop_a-rather-…,/etc/x 1 0B",
    ]
    assert engine.bodies("ps")[-1]["size"]
    whole = cli("ps", "--format", "{{.Mounts}}", "--no-trunc").out.splitlines()
    assert whole[0] == "shop_a-rather-long-name,/etc/x"
    assert not engine.bodies("ps")[-1]["labels"]
    rows[0]["LabelMap"] = {"a.b": "1,2"}
    assert cli("ps", "--format", '{{.Name}}{{.Label "a.b"}}').out.split()[0] == "shop-db-11,2"
    assert engine.bodies("ps")[-1]["labels"]
    assert "LabelMap" not in cli("ps", "--format", "json").out
    wrong = cli("ps", "--format", "{{.Nam}}")
    assert wrong.code == 2
    assert "no field .Nam" in wrong.err
    assert cli("images", "--format", "bogus").code == 2


def test_ps_quiet_prints_whole_ids(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers["ps"] = rows
    assert [len(line) for line in cli("ps", "-q").out.splitlines()] == [64, 64]


def test_ps_services_and_status(cli: Any, engine: Any, rows: Any) -> None:
    rows[0]["State"] = "exited"
    engine.answers["ps"] = rows
    assert cli("ps", "--services").out == "db\nweb\n"
    assert cli("ps", "--services", "--status", "exited").out == "db\n"
    assert cli("ps", "--filter", "status=running", "--services").out == "web\n"
    assert cli("ps", "--filter", "name=x").code == 2


def _logs() -> list[dict[str, Any]]:
    lines = [("db", "one"), ("web", "two\n"), ("db", "")]
    return [
        *(
            {
                "type": "log",
                "container": f"shop-{service}-1",
                "service": service,
                "number": 1,
                "stream": "stderr",
                "time": 1700000000.25,
                "line": line,
            }
            for service, line in lines
        ),
        {"type": "result", "exit_code": 0},
    ]


def test_logs_are_aligned_and_all_on_stdout(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers |= {"logs": _logs(), "ps": rows}
    outcome = cli("logs")
    assert outcome.out == "db-1   | one\nweb-1  | two\ndb-1   | \n"
    assert outcome.err == ""


def test_logs_without_prefix_with_time(cli: Any, engine: Any) -> None:
    engine.answers["logs"] = _logs()
    outcome = cli("logs", "--no-log-prefix", "-t", "-n", "5", "--since", "100", "db")
    assert outcome.out.splitlines()[0] == "2023-11-14T22:13:20.250000Z one"
    (body,) = engine.bodies("logs")
    assert (body["tail"], body["since"], body["services"]) == (5, 100.0, ["db"])
    assert not engine.bodies("ps")


def test_log_colours_are_the_services_own(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers |= {"logs": _logs(), "ps": rows}
    first, second, third = cli("logs", terminal=True).out.splitlines()
    assert first.startswith("\x1b[36mdb-1   | \x1b[0m")
    assert second.startswith("\x1b[33mweb-1  | \x1b[0m")
    assert third.startswith("\x1b[36m")


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),
        ([], {"TERM": "dumb"}, False),
        (["--ansi", "never"], {}, False),
        (["--ansi", "always"], {"NO_COLOR": "1"}, True),
        ([], {"COMPOSE_ANSI": "never"}, False),
    ],
)
def test_who_decides_about_colour(
    cli: Any,
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    environment: dict[str, str],
    coloured: bool,
) -> None:
    engine.answers["logs"] = _logs()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)  # options' variables are read by typer
    outcome = cli(*options, "logs", environment=environment, terminal=True)
    assert ("\x1b[" in outcome.out) is coloured
    assert "\x1b[" not in cli(*options, "logs", "--no-color", terminal=True).out


def test_port(cli: Any, engine: Any) -> None:
    engine.answers["port"] = [
        {"type": "row", "Address": "0.0.0.0:8080"},
        {"type": "result", "exit_code": 0},
    ]
    assert cli("port", "--index", "2", "web", "80/udp").out == "0.0.0.0:8080\n"
    (body,) = engine.bodies("port")
    assert (body["private_port"], body["protocol"], body["index"]) == (80, "udp", 2)


def test_port_that_is_not_published(cli: Any, engine: Any) -> None:
    outcome = cli("port", "web", "80")
    assert outcome.err == 'error: service "web" does not publish port 80/tcp\n'


def test_top_groups_by_container(cli: Any, engine: Any) -> None:
    process = {"type": "row", "UID": "0", "PID": "7", "PPID": "1", "TIME": "00:00:00"}
    engine.answers["top"] = [
        {**process, "Container": "shop-db-1", "CMD": "postgres -D /data"},
        {**process, "Container": "shop-db-1", "CMD": "postgres: writer"},
        {**process, "Container": "shop-web-1", "CMD": "nginx"},
        {"type": "result", "exit_code": 0},
    ]
    assert cli("top").out.splitlines() == [
        "shop-db-1",
        "UID   PID   PPID   TIME       CMD",
        "0     7     1      00:00:00   postgres -D /data",
        "0     7     1      00:00:00   postgres: writer",
        "",
        "shop-web-1",
        "UID   PID   PPID   TIME       CMD",
        "0     7     1      00:00:00   nginx",
    ]


def test_ls(cli: Any, engine: Any) -> None:
    engine.answers["ls"] = [
        {"type": "row", "Name": "shop", "Status": "running(2)", "ConfigFiles": "/x/stack.yaml"},
        {"type": "result", "exit_code": 0},
    ]
    assert cli("ls").out.splitlines()[1] == "shop   running(2)   /x/stack.yaml"
    assert cli("ls", "-q").out == "shop\n"
    assert json.loads(cli("ls", "--format", "json").out)[0]["Status"] == "running(2)"
    assert engine.bodies("ls")[0] == {"all": False}


def test_events(cli: Any, engine: Any) -> None:
    event = {
        "type": "event",
        "time": 1700000000.5,
        "kind": "container",
        "action": "start",
        "id": "abc",
        "attributes": {"name": "shop-db-1", "com.docker.compose.service": "db"},
    }
    engine.answers["events"] = [event, {"type": "result", "exit_code": 0}]
    assert "container start abc (name=shop-db-1)" in cli("events").out
    found = json.loads(cli("events", "--json").out)
    assert (found["type"], found["action"], found["service"]) == ("container", "start", "db")
    assert (found["time"], found["attributes"]) == (
        "2023-11-14T22:13:20.500000Z",
        {"name": "shop-db-1"},
    )


def test_config(cli: Any, engine: Any) -> None:
    engine.answers["config"] = [
        {"type": "warning", "text": "unset", "place": "stack.yaml:1:2"},
        {"type": "result", "text": "name: shop", "services": ["db", "web"], "images": ["redis"]},
    ]
    outcome = cli("config", "web")
    assert (outcome.out, outcome.err) == ("name: shop\n", "warning: stack.yaml:1:2: unset\n")
    assert engine.bodies("config")[0]["services"] == ["web"]
    assert cli("config", "--services").out == "db\nweb\n"
    assert cli("config", "--images").out == "redis\n"
    assert cli("config", "-q").out == ""
    assert [body["no_text"] for body in engine.bodies("config")] == [False, True, True, True]
    assert cli("config", "--services", "--images").code == 2
    assert cli("config", "--hash", "*", "--no-interpolate").code == 2
    row = {"Name": "V", "Required": True, "DefaultValue": "d", "PresenceValue": ""}
    engine.answers["config"] = [{"type": "result", "variables": [row]}]
    shown = cli("config", "--variables", "--format", "json").out
    assert json.loads(shown) == {"V": row}
    assert cli("config", "--variables").out.split()[-3:] == ["V", "true", "d"]
    whole = cli("config", "--variables", "web")
    assert "warning: --variables is of the whole file, whatever services" in whole.err
    lower = "V:\n  name: V\n  required: true\n  defaultvalue: d\n"
    assert cli("config", "--variables", "--format", "yaml").out.startswith(lower)
    assert engine.starts == [False] * 8


def test_config_needs_no_engine(cli: Any, engine: Any, tmp_path: Any) -> None:
    engine.unreachable = True
    file = tmp_path / "stack.yaml"
    file.write_text(
        "name: shop\n"
        "services:\n"
        "  db: {image: stackctl/host}\n"
        "  web: {image: stackctl/host, depends_on: [db]}\n"
        "  other: {image: 'stackctl/host:${TAG}'}\n"
    )
    outcome = cli("-f", str(file), "config", "--format", "json", "web")
    assert sorted(json.loads(outcome.out)["services"]) == ["db", "web"]
    assert "TAG" in outcome.err
    assert cli("-f", str(file), "config", "--services").out == "db\nweb\nother\n"
    assert cli("-f", str(file), "config", "nope").code == 1


def test_version_starts_no_engine(cli: Any, engine: Any) -> None:
    engine.unreachable = True
    outcome = cli("version")
    assert outcome.out.splitlines()[2] == "engine   does not run"
    assert engine.starts == [False]


def test_programs_that_drive_compose_are_told_a_version_of_it(cli: Any, engine: Any) -> None:
    """Each asks in its own way, and refuses a number that is too small."""
    engine.unreachable = True
    short = cli("version", "--short").out.strip()
    assert int(short.split(".")[0]) >= 2 and int(short.split(".")[1]) >= 18
    for flags in ((), ("--format", "pretty"), ("-f", "text")):
        told = cli("version", *flags).out
        assert told.splitlines()[0] == f"stackctl {__version__}"
        assert re.findall(r"(?m)^Docker Compose version v?([^\s,]+)", told) == [short]
    found = json.loads(cli("version", "--format", "json").out)
    assert found["version"] == f"v{short}" and found["Client"]["Version"] == __version__
    assert cli("version", "-f", "{{.Client.Version}}").out == f"{__version__}\n"
    assert json.loads(cli("version", "--format", "{{json .}}").out) == found


def test_other_words_of_composes(cli: Any, engine: Any, rows: Any) -> None:
    engine.answers["ps"] = rows
    assert cli("ps", "--format", "pretty").out == cli("ps").out
    assert cli("--progress", "none", "ps").code == 0
    assert cli("help", "ps").out == cli("ps", "--help").out
    assert cli("help").out == cli("--help").out
    assert "do not go together" in cli("up", "-d", "--attach-dependencies").err


def test_info_prints_facts(cli: Any, engine: Any) -> None:
    engine.answers["info"] = [
        {"type": "result", "exit_code": 0, "Containers": 2, "Stacks": ["a", "b"], "MemTotal": 2**30}
    ]
    assert cli("info").out.splitlines() == [
        "Containers  2",
        "Stacks      a, b",
        "MemTotal    1024 MiB",
    ]
    assert json.loads(cli("info", "-f", "json").out)["Containers"] == 2
    assert cli("info", "--format", "{{.Containers}}").out == "2\n"


def test_plan_prints_causes_and_returns_two(cli: Any, engine: Any, shop: Any) -> None:
    engine.answers["plan"] = [shop[0], {"type": "result", "exit_code": 2}]
    outcome = cli("plan", "--for", "down", "-v", "--steps")
    assert outcome.code == 2
    assert outcome.out.splitlines() == [
        "shop: 6 steps",
        "  #1  create        network default  not found",
        "  #2  create        db-1             not found          after #1",
        "  #3  start         db-1             created            after #2",
        "  #4  wait healthy  db-1             web depends on it  after #3",
        "  #5  create        web-1            not found          after #1",
        "  #6  start         web-1            created            after #4 #5",
    ]
    (body,) = engine.bodies("plan")
    assert (body["for"], body["volumes"]) == ("down", True)
    assert len(json.loads(cli("plan", "--json").out)["steps"]) == 6


def test_plan_is_a_tree_that_says_what_is_lost(cli: Any, engine: Any) -> None:
    steps = [
        step(1, "CreateNetwork", "shop_default"),
        {
            **step(2, "CreateContainer", "shop-web-1", "web", (1,), "configuration changed"),
            "changes": [{"text": "a"}, {"text": "b"}, {"text": 'labels.x: "1" -> "2"'}],
        },
        step(3, "StopContainer", "shop-web-1", "web", (2,), "configuration changed"),
        {
            **step(4, "RemoveContainer", "shop-web-1", "web", (3,), "configuration changed"),
            "loses": ["what it wrote outside of volumes"],
        },
        step(5, "RenameContainer", "shop-web-1", "web", (4,), "configuration changed"),
        step(6, "StartContainer", "shop-web-1", "web", (5,), "configuration changed"),
        {
            **step(7, "WaitHealthy", "shop-web-1", "web", (6,), "--wait"),
            "text": "wait until shop-web-1 is healthy",
        },
        step(8, "StopContainer", "shop-db-1", "db", (), "web is restarted (restart: true)"),
        step(9, "StartContainer", "shop-db-1", "db", (8,), "web is restarted (restart: true)"),
        {**step(10, "RemoveVolume", "shop_data"), "loses": ["all that is in volume shop_data"]},
        step(11, "RemoveContainer", "shop-old-1", "old", (), "orphan"),
        step(12, "CreateContainer", "shop-new-1", "new"),
    ]
    engine.answers["plan"] = [{"type": "plan", "project": "shop", "steps": steps}]
    found = cli("plan")
    assert found.code == 2
    assert found.out.splitlines() == [
        "shop: 2 to create, 1 to recreate, 1 to restart, 2 to remove",
        "  + network default  create    not found",
        "  - volume data      remove    not found",
        "                     LOSES     all that is in volume shop_data",
        "  web",
        "    * web-1          recreate  configuration changed",
        '                     also      labels.x: "1" -> "2"',
        "                     loses     what it wrote outside of volumes",
        "                     then      wait until shop-web-1 is healthy: --wait",
        "  db",
        "    ~ db-1           restart   web is restarted (restart: true)",
        "  old",
        "    - old-1          remove    orphan",
        "  new",
        "    + new-1          create    not found (not started)",
    ]


def test_plan_with_nothing_to_do_returns_zero(cli: Any, engine: Any) -> None:
    engine.answers["plan"] = [{"type": "plan", "project": "shop", "steps": []}, {"type": "result"}]
    outcome = cli("plan")
    assert (outcome.code, outcome.out) == (0, "shop: nothing to do\n")


def test_a_plan_that_cannot_be_made_is_never_two(cli: Any, engine: Any) -> None:
    """Exit code 2 says "there is something to do"; a mistake in the flags must not."""
    assert cli("plan", "--fo").code == 1
    assert cli("plan", "--scale", "x").code == 1


def test_lifecycle_sends_and_prints(cli: Any, engine: Any) -> None:
    killed = {
        "type": "status",
        "service": "web",
        "container": "shop-web-2",
        "state": "killed",
        "text": "killed",
    }
    engine.answers["kill"] = [killed, {"type": "result", "exit_code": 0, "changed": True}]
    outcome = cli("kill", "-s", "HUP", "web")
    assert outcome.err == "web-2       killed\n"
    assert engine.bodies("kill")[0]["signal"] == "HUP"
    assert engine.bodies("kill")[0]["services"] == ["web"]
    for verb in ("start", "stop", "restart", "pause", "unpause"):
        assert cli(verb).code == 0
    assert cli("stop", "-t", "0").code == 0
    assert engine.bodies("stop")[-1]["timeout"] == 0


def test_rm_asks_or_is_forced(cli: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    removal = step(1, "RemoveContainer", "shop-db-1", "")
    engine.answers["plan"] = [{"type": "plan", "project": "shop", "steps": [removal]}]
    for said, code, told in (
        ("", 2, "  hint: rm -f does not ask"),
        ("n\n", 1, "going to remove shop-db-1"),
        ("y\n", 0, "going to remove shop-db-1"),
    ):
        engine.requests.clear()
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        outcome = cli("rm", "db")
        assert outcome.code == code and told in outcome.err.splitlines()
        assert bool(engine.bodies("rm")) is (code == 0)
    assert engine.bodies("plan")[-1]["for"] == "rm"
    engine.requests.clear()
    assert cli("rm", "-f", "-s", "-v", "db").code == 0
    (body,) = engine.bodies("rm")
    assert (body["services"], body["stop"], body["volumes"]) == (["db"], True, True)


def test_wait_returns_the_last_code(cli: Any, engine: Any) -> None:
    engine.answers["wait"] = [
        {"type": "exit", "container": "shop-job-1", "service": "job", "code": 3},
        {"type": "result", "exit_code": 3},
    ]
    outcome = cli("wait", "job")
    assert (outcome.code, outcome.out) == (3, "job-1 exited with code 3\n")
    assert cli("wait").code == 2
