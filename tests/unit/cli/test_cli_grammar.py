"""The parser without typer reads a line as typer does, or leaves it to typer."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.cli import application, grammar
from stackctl.cli.reference import grammar as made
from stackctl.cli.table import COMMANDS, GROUPS, Entry
from stackctl.errors import UsageError

TABLE: Mapping[str, Any] = json.loads(Path(grammar.TABLE).read_bytes())

WORDS = st.sampled_from(
    ["web", "a b", "", "-", "--", "-1", "0", "3", "2.5", "x=1", "é", "--nil", "1e3", "0x1"]
)


def _entries() -> Iterator[tuple[str, Entry]]:
    yield from COMMANDS.items()
    for name, group in GROUPS.items():
        if TABLE[name] is None:  # `network` is `net`
            for member, entry in group.commands.items():
                yield f"{name} {member}", entry


ENTRIES = dict(_entries())


def _lines(command: Mapping[str, Any]) -> st.SearchStrategy[list[str]]:
    """Lines of this command's options in all their spellings, of values and of nonsense."""
    pieces = [WORDS.map(lambda word: [word])]
    for name, (_, kind) in command["options"].items():
        if kind in ("yes", "no"):
            pieces.append(st.just([name]))
            if not name.startswith("--"):
                pieces.append(WORDS.map(lambda word, name=name: [name + word]))
        elif name.startswith("--"):
            pieces.append(WORDS.map(lambda word, name=name: [f"{name}={word}"]))
            pieces.append(WORDS.map(lambda word, name=name: [name, word]))
        else:
            pieces.append(WORDS.map(lambda word, name=name: [name + word]))
            pieces.append(WORDS.map(lambda word, name=name: [name, word]))
    return st.lists(st.one_of(pieces), max_size=5).map(lambda parts: list(chain(*parts)))


def _by_typer(name: str, entry: Entry, called: list[dict[str, Any]]) -> Any:
    """The command as typer reads it; it writes down what it is called with."""
    module = import_module(f"stackctl.cli.commands.{entry.module}")
    real = getattr(module, entry.function or name)

    @functools.wraps(real)
    def recorded(ctx: object, **values: Any) -> int:
        called.append(values)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, entry.function or name, recorded)
        return application.load_command(name, entry)


@pytest.mark.parametrize("path", ENTRIES)
def test_a_line_means_the_same_to_both_parsers(path: str) -> None:
    called: list[dict[str, Any]] = []
    words = path.split()
    command = _by_typer(words[-1], ENTRIES[path], called)

    @settings(max_examples=15)
    @given(line=_lines(TABLE[path]))
    def both(line: list[str]) -> None:
        called.clear()
        try:
            with command.make_context(words[-1], list(line)) as context:
                command.invoke(context)
        except typer.TyperException:
            assert grammar.parse([*words, *line]) is None
            return
        read = grammar.parse([*words, *line])
        assert read is not None
        assert read.arguments == called[0]
        assert read.module == ENTRIES[path].module

    both()


@settings(max_examples=200)
@given(
    line=_lines(TABLE[""]),
    command=st.sampled_from([["ps"], ["net", "ls"], ["network", "list"], ["net"], ["nil"], []]),
)
def test_options_before_the_command_mean_the_same_to_both_parsers(
    line: list[str], command: list[str]
) -> None:
    begun: list[dict[str, Any]] = []

    def begin(_session: object, **values: Any) -> object:
        # Here typer gives what click has: () or a tuple for a list.
        begun.append({k: list(v) or None if isinstance(v, tuple) else v for k, v in values.items()})
        raise typer.Exit

    words = [*line, *command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "begin", begin)
        try:
            application.interpret(words, None)  # type: ignore[arg-type]
        except UsageError:
            assert grammar.parse(words) is None
            return
    read = grammar.parse(words)
    if read is not None:
        del begun[0]["version"]
        assert begun[0] == read.globals


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["ps", "--help"], ["net"], ["net ls"], ["ps", "--nonsense"], ["nil"]]
)
def test_help_and_mistakes_are_left_to_typer(words: list[str]) -> None:
    assert grammar.parse(words) is None


def test_what_compose_reads_more(engine: Any, cli: Any) -> None:
    read = grammar.parse(["down", "--remove-orphans=true", "-v", "--volumes=false", "--dry-run"])
    assert read is not None
    assert read.arguments["remove_orphans"]
    assert not read.arguments["volumes"]
    assert read.globals["dry_run"]
    assert "dry_run" not in read.arguments
    read = grammar.parse(["ps", "--orphans=false", "web"])
    assert read is not None
    assert not read.arguments["orphans"]
    assert not read.globals["dry_run"]
    # What is passed on is nobody's option, and containers alone have no such try.
    read = grammar.parse(["exec", "web", "make", "--dry-run", "--all=true"])
    assert read is not None
    assert not read.globals["dry_run"]
    for wrong in (["ps", "--all=maybe"], ["container", "ls", "--dry-run"]):
        assert grammar.parse(wrong) is None
    engine.answers["plan"] = [{"type": "plan", "project": "p", "steps": []}]
    assert cli("down", "--dry-run", "--remove-orphans=true").out == "p: nothing to do\n"
    assert engine.bodies("plan")[0]["remove_orphans"]
    assert not engine.bodies("down")


def test_variables_stand_in_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_PARALLEL_LIMIT", "3")
    monkeypatch.setenv("COMPOSE_ANSI", "never")
    read = grammar.parse(["--ansi", "always", "ps"])
    assert read is not None
    assert (read.globals["parallel"], read.globals["ansi"]) == (3, "always")
    monkeypatch.setenv("COMPOSE_PARALLEL_LIMIT", "three")
    assert grammar.parse(["ps"]) is None


def test_the_table_is_current() -> None:
    assert made() == Path(grammar.TABLE).read_text(), "run `make docs`"
