"""Variables in values, on a table of compose's behaviour."""

from __future__ import annotations

import pytest

from stackctl.spec import yaml
from stackctl.spec.interpolate import Interpolation, TemplateError, substitute
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import plain

VARIABLES = {"A": "one", "EMPTY": "", "B_2": "two", "DOLLAR": "$A", "a": "lower"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}", "one"),
        ("$a", "lower"),
        ("x${A}y$B_2", "xoney" + "two"),
        ("$A-$A", "one-one"),
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("$$$A", "$one"),
        ("100$$", "100$"),
        ("$NO", ""),
        ("${NO}", ""),
        ("${NO:-d}", "d"),
        ("${NO-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${A:-d}", "one"),
        ("${NO:-}", ""),
        ("${A:+r}", "r"),
        ("${A+r}", "r"),
        ("${EMPTY:+r}", ""),
        ("${EMPTY+r}", "r"),
        ("${NO:+r}", ""),
        ("${NO+r}", ""),
        ("${A:?e}", "one"),
        ("${A?e}", "one"),
        ("${EMPTY?e}", ""),
        ("${NO:-${A}}", "one"),
        ("${NO:-${EMPTY:-${B_2}}}", "two"),
        ("${NO:-a${A}b${NO-c}d}e", "aonebcde"),
        ("${A:+${B_2}}", "two"),
        ("${NO:-$A}", "one"),
        ("${NO:-$$A}", "$A"),
        # The first operator after the name counts.
        ("${NO-a:-b}", "a:-b"),
        ("${NO:-a?b}", "a?b"),
        ("${NO:-http://h:80/?q=1}", "http://h:80/?q=1"),
        # Only ${ opens: a lone { does not.
        ('${NO:-{"x":1}}', '{"x":1}'),
        ("{$A}", "{one}"),
        ("}", "}"),
        # A value is not read again.
        ("$DOLLAR", "$A"),
        ("${NO:-two words}", "two words"),
        ("é${A}é", "éoneé"),
    ],
)
def test_substitution(template: str, text: str) -> None:
    assert substitute(template, VARIABLES.get) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${NO:?say it}", 'the required variable "NO" is missing a value: say it'),
        ("${NO?}", 'the required variable "NO" is missing a value: not set'),
        ("${EMPTY:?}", 'the required variable "EMPTY" is missing a value: empty'),
        ("${NO:?set $A}", 'the required variable "NO" is missing a value: set one'),
        ("${A:-x${NO", '"${NO" is not a variable'),
        ("${A", '"${A" is not a variable'),
        ("${A:-b", '"${A:-b" is never closed'),
        ("${}", '"${}" is not a variable'),
        ("${A B}", '"${A B}" is not a variable'),
        ("${A:x}", '"${A:x}" is not a variable'),
        ("${1}", '"${1}" is not a variable'),
        ("${NO:-" * 60 + "}" * 60, "variables nested deeper than"),
    ],
)
def test_what_is_no_template(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        substitute(template, VARIABLES.get)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "text", ["costs $5", "$", "a $ b", "echo $(date)", "^x.*$", "$}", "$%", "'$'", "$-A", "$Ä"]
)
def test_a_dollar_that_begins_no_variable_stays(text: str) -> None:
    assert substitute(text, VARIABLES.get) == text
    assert substitute(f"{text} $A", VARIABLES.get) == f"{text} one"


def test_a_dollar_in_a_word_stays() -> None:
    assert substitute("${NO:-$(x)} ${NO:-$} ${NO:-a$ b}", VARIABLES.get) == "$(x) $ a$ b"


def test_a_word_that_is_not_used_is_not_evaluated() -> None:
    unset: list[str] = []
    assert substitute("${A:-${NO:?needed}}", VARIABLES.get, unset.append) == "one"
    assert substitute("${NO:+$ALSO_NOT}", VARIABLES.get, unset.append) == ""
    assert unset == []


def test_a_text_that_grows_without_bound_is_refused() -> None:
    with pytest.raises(TemplateError):
        substitute("$A" * 20, {"A": "x" * 1_000_000}.get)


def test_only_values_are_interpolated_and_an_unset_variable_warns_once() -> None:
    mistakes = Mistakes()
    tree = yaml.compose("$A: [$NO, {x: '${NO}$A'}, 3]\nsame: &s [plain]\nagain: *s\n", "f.yaml")[0]
    found = Interpolation(VARIABLES.get, mistakes).tree(tree)
    assert plain(found) == {"$A": ["", {"x": "one"}, 3], "same": ["plain"], "again": ["plain"]}
    assert [(str(w.place), w.brief) for w in mistakes.warnings] == [
        ("f.yaml:1:6", 'the variable "NO" is not set: an empty string takes its place')
    ]


def test_a_wrong_template_has_a_place_and_a_hint() -> None:
    mistakes = Mistakes()
    Interpolation(VARIABLES.get, mistakes).tree(yaml.compose("a:\n  - x\n  - ${%\n", "f")[0])
    (error,) = mistakes.errors
    assert str(error) == 'f:3:5: "${%" is not a variable'
    assert error.hint == "a literal $ is written $$"


def test_an_interpolated_value_is_text() -> None:
    found = Interpolation({"N": "12"}.get, Mistakes()).tree(yaml.compose("a: $N", "f")[0])
    assert plain(found) == {"a": "12"}
