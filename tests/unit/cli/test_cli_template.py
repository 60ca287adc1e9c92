"""The subset of Go's templates of --format."""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.cli.output.console import Console
from stackctl.cli.output.format import print_rows, size_text
from stackctl.cli.output.table import Column
from stackctl.cli.output.template import Template
from stackctl.errors import UsageError

VALUE: dict[str, Any] = {
    "Names": "web",
    "State": {"Status": "up", "Ok": True},
    "Labels": {"a": "1", "com.x/y": "2"},
    "Mounts": [{"D": "/x"}, {"D": "/y"}],
    "Nets": {"b": {"IP": "1"}, "c": {"IP": "2"}},
    "Empty": [],
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("{{.Names}}", "web"),
        ("{{ .State.Status }} {{.State.Ok}}", "up true"),
        ("{{json .State}}", '{"Status":"up","Ok":true}'),
        ('{{index .Labels "com.x/y"}}', "2"),
        ('{{index .Labels "nope"}}.', "."),
        ("{{range .Mounts}}{{.D}} {{end}}", "/x /y "),
        ("{{range $i, $m := .Mounts}}{{$i}}{{$m.D}}{{end}}", "0/x1/y"),
        ("{{range $k, $v := .Nets}}{{$k}}={{$v.IP}};{{end}}", "b=1;c=2;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .Empty}}yes{{else}}no{{end}}", "no"),
        ('{{if eq .Names "web"}}yes{{end}}', "yes"),
        ("{{with .State}}{{.Status}} {{$.Names}}{{end}}", "up web"),
        ('{{.Names | upper | printf "<%s>"}}', "<WEB>"),
        ("{{(index .Mounts 1).D}}", "/y"),
        ("{{len .Mounts}}", "2"),
        ("a {{- .Names -}} b", "awebb"),
        ("{{.Nope.Deeper}}", "<no value>"),
        ("{{.Nothing}}", "<nil>"),
        ("{{.State}}", "map[Ok:true Status:up]"),
        ("{{/* a word */}}x", "x"),
    ],
)
def test_templates_print_what_go_prints(source: str, expected: str) -> None:
    assert Template(source).render(VALUE) == expected


@pytest.mark.parametrize(
    "source",
    ["{{.Names", "{{end}}", "{{range .Mounts}}", "{{nofunction .Names}}", "{{}}", "{{(.A}}"],
)
def test_what_is_no_template_is_wrong_usage(source: str) -> None:
    with pytest.raises(UsageError, match="--format"):
        Template(source).render(VALUE)


def test_rows_are_printed_as_asked_for(cli: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"ID": "1", "Names": "a"}, {"ID": "22", "Names": "b"}]
    columns = [(Column("CONTAINER ID"), "ID"), (Column("NAMES"), "Names")]
    console = Console()

    def shown(format: str) -> list[str]:
        print_rows(console, rows, columns, format)
        return capsys.readouterr().out.splitlines()

    assert shown("") == ["CONTAINER ID   NAMES", "1              a", "22             b"]
    assert shown("{{.Names}}:{{.ID}}") == ["a:1", "b:22"]
    assert shown("table {{.Names}}\\t{{.ID}}") == [
        "NAMES   CONTAINER ID",
        "a       1",
        "b       22",
    ]
    assert shown("json")[1] == '{"ID":"22","Names":"b"}'


def test_a_row_has_its_fields_and_the_method_label(
    cli: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"ID": "1", "Names": "a"}, {"ID": "22", "Names": "b"}]
    labels = [{"com.x.who-is": "me,you", "y": "2"}, {}]

    def shown(format: str) -> list[str]:
        print_rows(Console(), rows, (), format, labels=labels)
        return capsys.readouterr().out.splitlines()

    assert shown('{{.Names}}={{.Label "com.x.who-is"}}') == ["a=me,you", "b="]
    assert shown('{{range split (.Label "com.x.who-is") ","}}<{{.}}>{{end}}') == ["<me><you>", "<>"]
    assert shown('{{if eq ("y" | .Label) "2"}}{{.ID}}{{end}}') == ["1", ""]
    assert shown('table {{.ID}}\\t{{.Label "com.x.who-is"}}') == [
        "ID   who is",
        "1    me,you",
        # The blanks before an empty cell are told by programs from none.
        "22   ",
    ]
    assert shown("{{json .}}") == ['{"ID":"1","Names":"a"}', '{"ID":"22","Names":"b"}']
    for wrong in ("{{.Name}}", "table {{.Name}}", "{{json .Name}}", "{{if .Name}}x{{end}}"):
        with pytest.raises(UsageError, match=r"no field \.Name") as raised:
            shown(wrong)
        assert "Names" in str(raised.value.hint)
    with pytest.raises(UsageError, match="--format"):
        shown('{{.Label "a" "b"}}')


def test_sizes_are_dockers() -> None:
    assert [size_text(n) for n in (0, 999, 1500, 71_900_000)] == ["0B", "999B", "1.5kB", "71.9MB"]
    assert size_text(268435456, binary=True) == "256MiB"
