"""The composer: scalars, marks, anchors, merge keys, tags, duplicates, budgets."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import floats

from stackctl.errors import StackFileError, StackFileErrors
from stackctl.spec import emit, yaml
from stackctl.spec.nodes import Mapping, Scalar, Sequence, as_text, mark_at, plain


def read(text: str) -> Any:
    documents = yaml.compose(text, "f.yaml")
    assert len(documents) == 1
    return plain(documents[0])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:22", "22:22"),
        ("yes", "yes"),
        ("on", "on"),
        ("no", "no"),
        ("2001-12-14", "2001-12-14"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("0", 0),
        ("0o440", 288),
        ("0440", 288),
        ("089", 89),
        ("0x1F", 31),
        ("1_000", 1000),
        ("0b101", 5),
        ("0x_1", 1),
        ("0b2", "0b2"),
        ("18446744073709551616", 18446744073709551616.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        (".", "."),
        ("- ", [None]),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("!!float 12", 12.0),
        ("! 12", "12"),
        ("4" * 5000, "4" * 5000),
    ],
)
def test_scalars_are_what_gos_reader_makes_of_them(text: str, value: object) -> None:
    assert read(text) == value
    assert type(read(text)) is type(value)


def test_not_a_number_is_read() -> None:
    assert math.isnan(read(".nan"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1.5, "1.5"),
        (-0.25, "-0.25"),
        (1000000.0, "1e+06"),
        (123456789.0, "1.23456789e+08"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e-6, "1e-06"),
        (-1e-7, "-1e-07"),
        (1e-11, "1e-11"),
        (1e23, "1e+23"),
        (1.5e300, "1.5e+300"),
        (5e-324, "5e-324"),
        (100000.0, "100000"),
        (0.0, "0"),
        (math.inf, "+Inf"),
        (True, "true"),
        (288, "288"),
        (None, ""),
    ],
)
def test_scalars_become_text_as_go_prints_them(value: Any, text: str) -> None:
    assert as_text(value) == text


@given(floats(allow_nan=False))
def test_no_float_becomes_another(value: float) -> None:
    assert float(as_text(value).replace("Inf", "inf")) == value


def test_nodes_know_where_they_stand() -> None:
    root = yaml.compose("a:\n  b: [1, {c: x}]\n", "f.yaml")[0]
    assert mark_at(root, ("a", "b", 1, "c")) == ("f.yaml", 2, 14)
    assert mark_at(root, ("a", "b"), key=True) == ("f.yaml", 2, 3)
    assert mark_at(root, ("a", "nothing", 3)) == ("f.yaml", 2, 3)


def test_keys_keep_their_text() -> None:
    assert read("{yes: 1, 8080: 2, 1.50: 3, ~: 4}") == {"yes": 1, "8080": 2, "1.50": 3, "~": 4}


def test_anchors_share_and_merge_keys_inherit() -> None:
    text = """
    a: &a {x: 1, y: 1}
    b: &b {y: 2, z: 2}
    one: {<<: *a, x: 0}
    two: {<<: [*a, *b], z: 0}
    last: {q: 1, <<: *a}
    quoted: {"<<": 1}
    tagged: {!!merge <<: *a, x: 2}
    text: {!!str <<: 1}
    """
    found = read(text)
    assert found["one"] == {"x": 0, "y": 1}
    assert found["two"] == {"x": 1, "y": 1, "z": 0}
    assert found["last"] == {"q": 1, "x": 1, "y": 1}
    assert found["quoted"] == found["text"] == {"<<": 1}
    assert found["tagged"] == {"x": 2, "y": 1}


def test_anchored_keys_and_scalars() -> None:
    assert read("{&k key: &v 12, other: *v}") == {"key": 12, "other": 12}


def test_tags_for_merging_are_carried() -> None:
    root = yaml.compose("a: !reset null\nb: !override [1]\nc: !reset\n", "f.yaml")[0]
    assert isinstance(root, Mapping)
    assert [value.tag for value in root.entries.values()] == ["!reset", "!override", "!reset"]


def test_several_documents() -> None:
    assert [plain(d) for d in yaml.compose("a: 1\n---\nb: 2\n", "f")] == [{"a": 1}, {"b": 2}]
    assert yaml.compose("", "f") == []


def test_duplicate_keys_name_both_places() -> None:
    with pytest.raises(StackFileErrors) as caught:
        yaml.compose("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "f.yaml")
    assert [(str(e), e.hint) for e in caught.value.errors] == [
        ('f.yaml:4:3: the key "c" is given twice', "first at f.yaml:3:3"),
        ('f.yaml:5:1: the key "a" is given twice', "first at f.yaml:1:1"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "f:1:4: not valid YAML: a bracket is not closed"),
        (
            "a: [x,\n  C=${V:-y}]",
            "f:2:6: not valid YAML: a bracket is not closed, or a comma is missing: the list or "
            "mapping began at 1:4",
        ),
        ("a: b: c", "f:1:5: not valid YAML: mapping values"),
        ("a:\n\t- b", "f:2:1: not valid YAML"),
        ("a: *x", "f:1:4: *x refers to no anchor before it"),
        ("a: &x [*x]", "f:1:8: *x contains itself"),
        ("a: &x {b: *x}", "f:1:11: *x contains itself"),
        ("a: !python/object:os.system x", "f:1:4: the tag !python/object:os.system has no"),
        ("a: !!python/name:os.system x", "f:1:4: the tag !!python/name:os.system has no"),
        ("a: !!binary aGk=", "f:1:4: the tag !!binary has no"),
        ("a: !!int x", 'f:1:4: "x" is not what its tag !!int says'),
        ("{[1]: 2}", "f:1:2: a key must be text"),
        ("a: {<<: 3}", "f:1:9: << merges a mapping"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: {d: 1}\n", 'f:4:3: the key "<<" is given twice'),
        ("a\0b", "f:1:2: the file holds a NUL byte"),
        ("a: \x07", "f:1:4: not valid YAML: a special character"),
        ("a: \ud800", "f: the file is not valid Unicode text"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(StackFileError) as caught:
        yaml.compose(text, "f")
    assert str(caught.value).startswith(message)


def billion_laughs() -> str:
    lines = ['a: &a ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]']
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{previous}'] * 9)}]")
    return "\n".join(lines)


def merge_bomb() -> str:
    lines = ["a: &a {k0: v}"]
    names = [f"n{i}" for i in range(25)]
    previous = "a"
    for name in names:
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{previous}'] * 9)}]}}")
        previous = name
    return "\n".join(lines)


HOSTILE = {
    "billion laughs": billion_laughs(),
    "merge bomb": merge_bomb(),
    "brackets": "a: " + "[" * 100_000,
    "braces": "{a: " * 100_000,
    "indents": "\n".join(" " * i + "a:" for i in range(2_000)),
    "dashes": "- " * 50_000,
    "deep alias": "\n".join(
        [f"a0: &a0 {'[' * 60}{']' * 60}"]
        + [f"a{i}: &a{i} {'[' * 30}*a{i - 1}{']' * 30}" for i in range(1, 40)]
    ),
    "nul": "a: b\0",
    "long line": "a" * 11_000_000,
    "merge keys": "b: &b {x: 1}\nc:\n" + "  <<: *b\n" * 40_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_refused_cheaply(name: str) -> None:
    text = HOSTILE[name]
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(StackFileError):
            yaml.compose(text, "f.yaml")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Tracing slows it down; these are limits of kind, not of speed.
    assert time.process_time() - began < 5
    assert peak < 50 * 1024 * 1024


def test_many_uses_of_one_anchor_are_fine() -> None:
    text = "a: &a {x: 1}\n" + "".join(f"b{i}: *a\n" for i in range(1000))
    assert len(read(text)) == 1001


@pytest.mark.parametrize("pure", [False, True])
def test_a_special_character_is_found_behind_others(pure: bool) -> None:
    with pytest.raises(StackFileError) as caught:
        yaml.compose("a: \u00e4\n\u00df: \u00f6\u00fc\x01c\n", "f", pure=pure)
    assert str(caught.value) == "f:2:6: not valid YAML: a special character"


def test_both_event_sources_agree() -> None:
    text = "a: &x [1, 'two', !reset null]\nb:\n  <<: {c: *x}\n  d: |\n    text\n"

    def shape(node: Any) -> Any:
        match node:
            case Scalar():
                return (node.value, node.mark, node.tag, node.plain)
            case Sequence():
                return [shape(item) for item in node.items]
            case Mapping():
                return {k: (node.key_marks[k], shape(v)) for k, v in node.entries.items()}

    fast = [shape(d) for d in yaml.compose(text, "f")]
    slow = [shape(d) for d in yaml.compose(text, "f", pure=True)]
    assert fast == slow


@pytest.mark.parametrize(
    "value",
    [
        {"a": None, "b": True, "c": [1, 2.5, "x"], "d": {}, "e": []},
        {"yes": "no", "on": "22:22", "n": "0o17", "o": "0440", "1": "1", "": " x "},
        {"t": "line\nline\n", "u": "line\n\nline", "v": "\n", "w": " lead\nx", "z": "a\n\n"},
        {
            "q": 'a"b\\c\td',
            "r": "\u00e4\u2028\U0001f600\x7f",
            "s": "# no",
            "t": "a #b",
            "u": "a: b",
        },
        {"<<": "x", "!tag": "!tag", "&a": "*a", "-": "- x", "---": "...", "?": "? "},
        [[1, [2, []]], {"a": [{"b": 1, "c": {"d": [1]}}]}],
        {"f": [math.inf, -math.inf, 1e300, 0.1, -1]},
        {"nbsp": "a\u00a0b", "crlf": "a\r\nb", "end": "a:", "colon": "a:b", "tail": "x "},
    ],
)
def test_what_is_emitted_reads_back(value: Any) -> None:
    assert read(emit.emit(value)) == value


def test_emitted_text_is_plain_to_read() -> None:
    data = {"services": {"web": {"command": ["sh", "-c"], "script": "a\nb\n", "image": "nginx:1"}}}
    assert emit.emit(data) == (
        "services:\n  web:\n    command:\n      - sh\n      - -c\n"
        "    script: |\n      a\n      b\n    image: nginx:1\n"
    )


#: Nobody takes these for anything but text.
PLAIN = r"""10s 1.2.3 8.8.8.8 10.5.0.0/16 127.0.0.1:80:80 80:80 -c --port ./a ../b .env ~/x
    ::1 fd00::1/64
    2001:db8::5 02:42:ac:11:00:02 a#b a:b $$A ${B} $(c) ^x =a :5001 ;x 1e 20G a=b;c (a|b) x\y"""
#: Somebody takes these for numbers, dates, marks of YAML.
QUOTED = """5 0x1f 0o17 017
    1_000 1.5 .5 1e3 22:22 1:30:00 2001-01-01 true No ON y null ~ .inf .NaN << =
    - --- ... *a &a !a |x >x %a @a `a {a} [a] ,a # a: -: ?"""


@pytest.mark.parametrize("text", PLAIN.split())
def test_what_is_text_anyway_needs_no_quotes(text: str) -> None:
    assert emit.emit({"a": text, "b": [text]}) == f"a: {text}\nb:\n  - {text}\n"
    assert read(emit.emit({text: text})) == {text: text}


@pytest.mark.parametrize("text", [*QUOTED.split(), "", " a", "a ", "a #b", "a: b"])
def test_what_somebody_reads_as_something_else_is_quoted(text: str) -> None:
    assert emit.emit([text]) == f'- "{text}"\n'
    assert read(emit.emit({text: [text]})) == {text: [text]}


def test_keys_keep_their_text_behind_anchors_and_aliases() -> None:
    text = "a: &n ~\nb: &o 0o17\nc: {*n : 1, *o : 2}\n&k d: *k\n&m <<: {e: 3}\n"
    assert read(text) == {"e": 3, "a": None, "b": 15, "c": {"~": 1, "0o17": 2}, "d": "d"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!reset ports: [a]", "1:1: !reset stands before a key"),
        ("a: {!override b: 1}", "1:5: !override stands before a key"),
        ("!foo a: 1", "1:1: the tag !foo has no meaning here"),
        ("{!foo {a: b}: 1}", "1:2: the tag !foo has no meaning here"),
    ],
)
def test_a_tag_before_a_key_is_told(text: str, message: str) -> None:
    with pytest.raises(StackFileError) as caught:
        yaml.compose(text, "f")
    assert str(caught.value).startswith(f"f:{message}")
