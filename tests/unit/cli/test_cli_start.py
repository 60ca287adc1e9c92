"""What a command costs before it begins, and the global border: usage, errors, exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stackctl.cli.application import load_command
from stackctl.cli.main import run
from stackctl.cli.output.console import Console
from stackctl.cli.reference import reference
from stackctl.cli.table import COMMANDS, GROUPS
from stackctl.errors import Place, RemoteError, StackFileError, StackFileErrors

ROOT = Path(__file__).parents[3]

#: Each costs more than the command that would import it.
HEAVY = (
    *("pydantic_core._pydantic_core", "rich", "asyncio", "pyroute2", "networkx", "http.client"),
    *(
        "yaml",
        "h11",
        "sqlite3",
        "urllib.request",
        "email",
        "ctypes",
        "tarfile",
        "typer.core",
        "dataclasses",
    ),
    *("inspect", "datetime", "shutil", "subprocess", "tempfile", "random"),
)


def _modules_of(*arguments: str) -> set[str]:
    """Modules that a command leaves loaded in a fresh interpreter, engine unreachable."""
    probe = (
        "import sys; from stackctl.cli.main import run; "
        "run(sys.argv[1:]); print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "--host", "/nonexistent/engine.sock", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no engine answers" in done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [("ps",), ("logs", "web"), ("exec", "web", "true"), ("up", "-d"), ("down",)],
    ids=lambda arguments: arguments[0],
)
def test_quick_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = _modules_of(*arguments)
    assert not loaded & set(HEAVY)
    # The client was loaded, so this did measure a real command.
    assert "stackctl.api.client" in loaded
    own = {name for name in loaded if name.startswith("stackctl.cli.commands.")}
    assert own == {f"stackctl.cli.commands.{COMMANDS[arguments[0]].module}"}


#: Of the standard library's small things those which take as long as an empty interpreter's start.
LIGHT = {"re", "enum", "typing", "collections", "functools", "contextlib", "pathlib", "json"}
LIGHT |= {"socket", "selectors", "signal", "importlib", "types", "operator", "urllib"}


def _beyond_the_interpreter(loaded: set[str]) -> set[str]:
    """Without what a machine's `site` imports for every Python program: no business of ours."""
    bare = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    known = subprocess.run(bare, capture_output=True, text=True, check=True).stdout.split()
    return loaded - {*known}


def test_a_build_begins_with_hardly_more_than_the_interpreter() -> None:
    loaded = _beyond_the_interpreter(_modules_of("image", "build", "-t", "made", "."))
    assert not loaded & {*HEAVY, *LIGHT, "stackctl.cli.output.board", "unicodedata"}
    assert {"stackctl.api.client", "stackctl.cli.commands.image.build"} <= loaded


@pytest.mark.parametrize(
    "arguments",
    [("ps",), ("logs", "web"), ("up", "-d"), ("down",), ("stop",), ("plan",)],
    ids=lambda arguments: arguments[0],
)
def test_so_do_the_commands_of_every_day(arguments: tuple[str, ...]) -> None:
    assert not _beyond_the_interpreter(_modules_of(*arguments)) & {*HEAVY, *LIGHT}


def test_config_beside_an_engine_reads_nothing_itself() -> None:
    program = """if True:
        import sys
        from stackctl.cli.main import run

        class Engine:
            def stream(self, verb, body):
                yield {"type": "result", "text": "name: of the engine"}

        code = run(["config"], connect=lambda *_, **__: Engine())
        print(*sys.modules)
        sys.exit(code)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    text, modules = done.stdout.splitlines()
    assert text == "name: of the engine"
    loaded = _beyond_the_interpreter(set(modules.split()))
    assert not loaded & {*HEAVY, *LIGHT, "stackctl.linux.plain", "stackctl.spec"}


def test_a_stack_file_is_read_here_with_little_more_than_its_readers(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("services: {web: {image: a, ports: ['80']}}")
    probe = (
        "import sys; from stackctl.cli.main import run; "
        "code = run(sys.argv[1:]); print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    words = ("--host", "/nonexistent/engine.sock", "config")
    done = subprocess.run(
        [sys.executable, "-c", probe, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "image: a" in done.stdout
    loaded = set(done.stderr.split())
    needless = {"pydantic", "typer.core", "difflib", "hashlib", "stackctl.model.container"}
    needless |= {"email", "asyncio", "stackctl.scheduler", "stackctl.daemon"}
    # The core is asked to validate only: to write plain data it would import all of these.
    needless |= {"pydantic_core", "uuid", "decimal", "fractions", "platform", "typing_extensions"}
    assert loaded.isdisjoint(needless), loaded & needless
    assert {"yaml", "pydantic_core._pydantic_core", "stackctl.spec.validate"} <= loaded


def test_every_command_loads_and_has_help() -> None:
    for name, entry in COMMANDS.items():
        command = load_command(name, entry)
        assert command.name == name
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", "x"), (name, parameter.name)


def test_every_command_of_a_group_loads_and_has_help() -> None:
    for group in GROUPS.values():
        assert set(group.aliases.values()) <= set(group.commands)
        for name, entry in group.commands.items():
            command = load_command(name, entry)
            assert command.help, name
            for parameter in command.params:
                assert getattr(parameter, "help", "x"), (name, parameter.name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("container", "run", "--rm", "-p", "80", "i"),
        ("container", "ls"),
        ("container", "exec", "c", "x"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_quick_commands_of_groups_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = _modules_of(*arguments)
    assert not loaded & set(HEAVY)
    assert "stackctl.api.client" in loaded


def test_the_reference_in_docs_is_current() -> None:
    written = (ROOT / "docs" / "commands.md").read_text()
    assert written == reference(), "python -m stackctl.cli.reference > docs/commands.md"


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in shown


@pytest.mark.parametrize(
    ("arguments", "brief", "hint"),
    [
        (["psx"], 'there is no command "psx"', 'did you mean "ps"?'),
        (["qqqq"], 'there is no command "qqqq"', "see `stackctl --help`"),
        (["bridge"], '"stackctl bridge" is not supported yet', ""),
        (["ps", "--foo"], "no such option: --foo", "see `stackctl ps --help`"),
        (["--foo", "ps"], "no such option: --foo", "see `stackctl --help`"),
        (["exec", "web"], "missing argument 'COMMAND [ARGS...]'", "see `stackctl exec --help`"),
        (["--ansi", "red", "ps"], '--ansi "red" is not one of never, always, auto', ""),
        (["--host", "ftp://x", "ps"], '--host "ftp://x" is no address of an engine', "unix://"),
        (["--host", "tcp://x:1", "ps"], "tcp://x:1 needs certificates", "STACKCTL_CERT_PATH"),
        (["--host", "tcp://::1", "ps"], '"tcp://::1" is no TCP address', "[::1]"),
        (["--host", "/x/d.sock", "ps"], '--host "/x/d.sock" does not name', "engine.sock"),
        (["-H", "/x/engine.sock", "-c", "x", "ps"], "--host and --context exclude", ""),
        (["--tlskey", "k", "-H", "tcp://x", "ps"], "--tlscacert, --tlscert and --tlskey", ""),
        (["context", "create", "a b"], '"a b" is no name for a context', ""),
        (["context", "create", "default"], '"default" is no name for a context', ""),
        (["context", "create", "a"], "the context has no engine", "host=tcp"),
        (["context", "create", "a", "--engine", "host=tcp://x"], "an engine is reached", "ca="),
        (["logs", "--tail", "x"], '--tail "x" is neither a number nor "all"', ""),
        (["logs", "--since", "noon"], '--since "noon" is not a time', "10m"),
        (["up", "--scale", "web"], '--scale "web" is not SERVICE=NUMBER', "web=3"),
        (["port", "web", "http"], '"http" is not a port', "65535"),
        (["cp", "a", "b"], "one of the two has to be in a service's container", "SERVICE:PATH"),
    ],
)
def test_wrong_usage_is_two_and_says_what_is_right(
    cli: Any, arguments: list[str], brief: str, hint: str
) -> None:
    outcome = cli(*arguments)
    first, *rest = outcome.err.splitlines()
    assert first.startswith(f"error: {brief}")
    assert hint in "".join(rest)
    assert outcome.code == 2


def test_an_engine_that_is_not_there_is_an_error_with_a_hint(cli: Any, engine: Any) -> None:
    engine.unreachable = True
    outcome = cli("ps")
    assert outcome.err == "error: no engine answers\n  hint: start one\n"
    assert outcome.code == 1


def test_another_engine_is_never_started(cli: Any, engine: Any) -> None:
    cli("ps")
    cli("--host", "unix:///x/engine.sock", "ps")
    cli("ps", environment={"STACKCTL_HOST": "/x/engine.sock"})
    assert engine.starts == [True, False, False]


def test_all_mistakes_of_a_stack_file_are_shown(cli: Any, engine: Any) -> None:
    mistakes = StackFileErrors(
        (
            StackFileError("first", place=Place("stack.yaml", 3, 5), hint="do this"),
            StackFileError("second", place=Place("stack.yaml", 9)),
        )
    )
    engine.answers["ps"] = [{"type": "error", "error": mistakes.to_json()}]
    outcome = cli("ps")
    assert outcome.err.splitlines() == [
        "error: stack.yaml:3:5: first",
        "  hint: do this",
        "error: stack.yaml:9: second",
    ]


def _raising(error: BaseException) -> Any:
    def connect(paths: object, start: bool) -> Any:
        raise error

    return connect


def test_the_exit_code_comes_from_the_error() -> None:
    error = RemoteError({"message": "not found", "exit_code": 127})
    err = io.StringIO()
    console = Console(io.StringIO(), err, environment={})
    assert run(["ps"], console=console, environment={}, connect=_raising(error)) == 127
    assert err.getvalue() == "error: not found\n"


def test_ctrl_c_is_130_and_silent() -> None:
    err = io.StringIO()
    console = Console(io.StringIO(), err, environment={})
    connect = _raising(KeyboardInterrupt())
    assert run(["ps"], console=console, environment={}, connect=connect) == 130
    assert err.getvalue() == ""


def test_a_bug_is_one_line_and_its_trace_is_in_a_file() -> None:
    err = io.StringIO()
    console = Console(io.StringIO(), err, environment={})
    connect = _raising(RuntimeError("boom\nsecond line"))
    assert run(["ps"], console=console, environment={}, connect=connect) == 1
    brief, hint = err.getvalue().splitlines()
    assert brief == "error: internal error: RuntimeError: boom second line"
    path = Path(hint.split()[-1])
    try:
        assert "Traceback" in path.read_text()
    finally:
        path.unlink()


def test_debug_shows_the_trace() -> None:
    err = io.StringIO()
    environment = {"STACKCTL_DEBUG": "1"}
    console = Console(io.StringIO(), err, environment=environment)
    connect = _raising(RuntimeError("boom"))
    assert run(["ps"], console=console, environment=environment, connect=connect) == 1
    assert err.getvalue().startswith("Traceback")


def test_a_reader_that_leaves_is_no_error() -> None:
    """`stackctl --help | true`, with a pipe whose reader is gone already."""
    command = [sys.executable, "-m", "stackctl.cli.main", "--help"]
    process = subprocess.Popen(
        ["sh", "-c", 'exec 3>&1; { "$@"; echo $? >&2; } | :', "-", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert err.strip() in ("0", "141")


def test_the_version_is_told(cli: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--version"], ["-v"]):
        assert cli(*line).out.startswith("stackctl ")
    assert cli("--progress", "plain", "-v").code == 0
    assert capsys.readouterr().out.startswith("stackctl ")


def test_a_full_disk_below_the_output_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stackctl.cli.main", "version", "--short"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_sigterm_ends_with_143() -> None:
    program = (
        "import os, signal, sys; from stackctl.cli import main; sys.argv = ['stackctl', 'ps'];"
        "main.connect_to_engine = lambda *_: os.kill(os.getpid(), signal.SIGTERM);"
        "main.run.__kwdefaults__['connect'] = main.connect_to_engine; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")


def test_the_installed_script_exits_with_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stackctl.cli.main", "nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no command")


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--nope"),
        ("--nope", "plan"),
        ("--ansi", "foo", "plan"),
        ("--parallel", "x", "plan"),
    ],
)
def test_a_wrong_line_of_plan_is_no_change(words: tuple[str, ...]) -> None:
    """Its 2 means that there is something to do."""
    assert run(words, console=Console(io.StringIO(), io.StringIO())) == 1
