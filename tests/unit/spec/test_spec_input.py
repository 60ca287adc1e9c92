"""What a load takes in from outside: how large it may become, pipes, devices, odd names."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import pytest

from stackctl.errors import StackctlError, StackFileError, StackFileErrors
from stackctl.linux import plain
from stackctl.spec import files
from stackctl.spec.loader import load

ONE = "services: {web: {image: %s}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "has more than 5000 entries"),
        ("x-a: [" + "1, " * 20_000 + "]", "has more than 5000 entries"),
        ("".join(f"unknown{i}: 1\n" for i in range(4_000)), 'unknown key "unknown0"'),
        ("x" * 1_000 + ": 1\n", "unknown key"),
        (ONE % ("$A" * 20), "the interpolated text is too long"),
        ("x-a:\n" + "  - $A$A$A$A$A$A$A$A\n" * 1000, "what its variables hold is too long"),
        (
            "services:\n  web:\n    image: a\n    ports:\n" + "      - 1-65535:1-65535\n" * 1000,
            "its ranges are too long",
        ),
        ("services: {web: {image: a, ports: ['1-65535:1-65535']}}", "host has all ports"),
        (
            f"services: {{web: {{image: a, command: '{'a ' * 500_000}'}}}}",
            "too long for the kernel",
        ),
        (
            "services:\n"
            + "".join(f"  s{i}: {{image: a, depends_on: [t{i}]}}\n" for i in range(2000)),
            'depends on "t0"',
        ),
        (
            "services:\n"
            + "".join(f"  s{i}: {{image: a, depends_on: [s{i + 1}]}}\n" for i in range(3000))
            + "  s3000: {image: a, depends_on: [s0]}\n",
            "in a circle",
        ),
    ],
    ids=[
        "wide",
        "long list",
        "keys",
        "long key",
        "long text",
        "variables",
        "ranges",
        "all ports",
        "command",
        "references",
        "circle",
    ],
)
def test_what_would_become_too_large_is_refused(project: Any, text: str, message: str) -> None:
    found = project.mistakes(text, environment={"A": "y" * 100_000})
    assert any(message in one for one in found)
    assert len(found) <= 100
    assert all(len(one) < 2000 for one in found)


def test_a_pipe_is_read_but_not_waited_for(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.directory / "compose.yaml"
    os.mkfifo(path)
    monkeypatch.setattr(plain, "PATIENCE", 0)
    with pytest.raises(StackFileError, match="a pipe, whose writer did not end"):
        load(project.request(files=(str(path),)))
    # One line, and then nothing more.
    with open(path, "r+b", buffering=0) as pipe:
        pipe.write(b"services:\n")
        monkeypatch.setattr(plain, "PATIENCE", 0.01)
        with pytest.raises(StackFileError, match="a pipe, whose writer did not end"):
            load(project.request(files=(str(path),)))
    monkeypatch.undo()
    # Both ends in one hand: the writer need not be waited for.
    with open(path, "r+b", buffering=0) as pipe:
        pipe.write(b"services: {a: {image: b}}")
        assert files.DISK.read(str(path), 25) == b"services: {a: {image: b}}"
    assert files.DISK.read("/dev/null", 25) == b""


@pytest.mark.parametrize("key", ["file", "env_file", "label_file", "include", "extends"])
def test_devices_are_not_read(project: Any, key: str) -> None:
    """To open a device may do things, and to read one may never end."""
    path = "/dev/zero"
    texts = {
        "include": f"include: [{path}]",
        "extends": f"services: {{a: {{extends: {{file: {path}, service: a}}}}}}",
    }
    text = texts.get(key, f"services: {{a: {{image: i, {key}: {path}}}}}")
    project.write("stack.yaml", text)
    files = (path,) if key == "file" else ()
    with pytest.raises(StackctlError) as caught:
        load(project.request(files=files))
    assert "/dev/zero cannot be read: it is neither a file nor a pipe" in str(caught.value)


def test_files_that_are_none_are_told_where_they_are_named(project: Any) -> None:
    text = "services:\n  a: {image: i, env_file: .}\n  b: {image: i, label_file: [.]}\n"
    found = project.mistakes(text)
    places = [one.split(" ")[0] for one in found]
    assert places == ["2:27:", "3:30:"] and all("is a directory" in one for one in found), found


def test_variables_that_double_end(project: Any) -> None:
    project.write("stack.yaml", ONE % "a")
    project.write(".env", "A=xxxxxxxx\n" + "A=$A$A\n" * 64)
    with pytest.raises(StackFileError, match="too long"):
        load(project.request())
    project.write(".env", "A=" + "x" * 2_000_000)
    with pytest.raises(StackFileError, match="larger than 1 MiB"):
        load(project.request())


def test_a_variable_brings_no_null_character(project: Any) -> None:
    found = project.mistakes(ONE % "$A", environment={"A": "a\0b"})
    assert len(found) == 1
    assert "a text cannot have a NUL character" in found[0]


def test_names_that_no_file_can_have_are_mistakes(project: Any) -> None:
    """A key that was pasted where a file belongs is longer than any name."""
    long = "x" * 300
    project.write("f.yaml", "services: {b: {image: x}}")
    missing = "the (environment|label) file .*xxx"
    for text, mistake in (
        ("services: {a: {image: x, env_file: %s}}", missing),
        ("services: {a: {image: x, label_file: %s}}", missing),
        (
            "services: {a: {image: x, secrets: [{source: s, mode: 0400}]}}\n"
            "secrets: {s: {file: %s}}",
            "",
        ),
        ("include: [{path: f.yaml, project_directory: %s}]", ""),
    ):
        project.write("stack.yaml", text % long)
        with pytest.raises(StackFileErrors, match=mistake) if mistake else nullcontext():
            load(project.request())
