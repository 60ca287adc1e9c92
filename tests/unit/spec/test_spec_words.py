"""A command's text as words."""

from typing import Any

import pytest

from stackctl.spec import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n ", []),
        ("a  b\tc\nd", ["a", "b", "c", "d"]),
        ("a'b c'd \"e f\"", ["ab cd", "e f"]),
        ("a '' \"\"", ["a", "", ""]),
        (r"'a\nb' 'c\'", [r"a\nb", "c\\"]),
        (r"""a"it's" 'say "x"'""", ["ait's", 'say "x"']),
        # A backslash goes, within double quotes as well; two letters mean something.
        (r"a\ b \"c\" \\ \x", ["a b", '"c"', "\\", "x"]),
        (r'"a\"b \$c \. \d"', ['a"b $c . d']),
        (r'"a\nb" c\td', ["a\nb", "c\td"]),
        # What a shell would put in is part of one word.
        ("echo $(date +%s) `id -u`x", ["echo", "$(date +%s)", "`id -u`x"]),
        (r"$(a 'b \' ) `c \n`", [r"$(a 'b \' )", r"`c \n`"]),
        ("sh -c 'a && b > c; (d)'", ["sh", "-c", "a && b > c; (d)"]),
        ("f(x) $x ${y} #z", ["f(x)", "$x", "${y}", "#z"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words.split(text) == (expected, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a && b", (["a"], "&& b")),
        ("a;b", (["a"], ";b")),
        ("a b > c", (["a", "b"], "> c")),
        ("a 2>&1", (["a"], "2>&1")),
        ("a b2>c", (["a", "b2"], ">c")),
        ("| a", ([], "| a")),
        ("a <b", (["a"], "<b")),
    ],
)
def test_an_operator_of_a_shell_ends_it(text: str, expected: Any) -> None:
    assert words.split(text) == expected


@pytest.mark.parametrize("text", ["a 'b", 'a "b', "a \\", "$(a", "`a", "a 'b\\'c'"])
def test_an_open_quotation_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        words.split(text)


def test_the_rest_of_a_command_is_told(project: Any) -> None:
    loaded = project.load(
        "services: {a: {image: x, command: npm install && npm start, entrypoint: 'a \"b c\"'}}"
    )
    service = loaded.stack.services["a"]
    assert (service.command, service.entrypoint) == (["npm", "install"], ["a", "b c"])
    assert [(w.place.line, w.text) for w in loaded.warnings] == [
        (1, 'the command ends before "&&", which is for a shell')
    ]
