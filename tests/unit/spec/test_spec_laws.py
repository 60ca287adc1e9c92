"""Laws that hold for any input."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.errors import NotFound, StackFileError, StackFileErrors
from stackctl.spec import emit, yaml
from stackctl.spec.dotenv import parse, parse_raw
from stackctl.spec.dump import as_data, as_text
from stackctl.spec.interpolate import TemplateError, substitute
from stackctl.spec.loader import LoadRequest, load
from stackctl.spec.model import Stack
from stackctl.spec.nodes import plain

FEW = settings(max_examples=60, deadline=None)

#: Pieces that mean something in the languages at hand.
WORDS = r"""$ { } ${A ${NO: :- - :? ? :+ + A B = : # ' " \ , [ ] & * ! << | > a 1 &a *a services:"""
SPACES = [" ", "  ", "\n", "\n  ", "\r\n", "\t", "image: x", "export ", "key: ", "- ", "!reset "]
PIECES = st.lists(st.sampled_from([*WORDS.split(" "), *SPACES]), max_size=25).map("".join)
TEXTS = PIECES | st.text(max_size=40)


@FEW
@given(TEXTS)
def test_any_text_composes_or_is_refused(text: str) -> None:
    for pure in (False, True):
        try:
            yaml.compose(text, "f", pure=pure)
        except StackFileError as error:
            assert error.place is None or error.place.file == "f"


@FEW
@given(TEXTS)
def test_any_template_substitutes_or_is_refused(text: str) -> None:
    try:
        assert isinstance(substitute(text, {"A": "$B"}.get), str)
    except TemplateError as error:
        assert error.brief


@FEW
@given(st.text(max_size=40))
def test_an_escaped_text_substitutes_to_itself(text: str) -> None:
    assert substitute(text.replace("$", "$$"), {}.get) == text


@FEW
@given(TEXTS)
def test_any_environment_file_is_read_or_refused(text: str) -> None:
    for read in (parse, parse_raw):
        try:
            found = read(text, "f", {"A": "1"}.get)
        except StackFileError as error:
            several = error.errors if isinstance(error, StackFileErrors) else (error,)
            assert several and all(e.place is not None and e.place.line >= 1 for e in several)
        else:
            assert all(found)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
    | PIECES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(FEW, max_examples=200)
@given(VALUES)
def test_what_is_emitted_reads_back(value: Any) -> None:
    (document,) = yaml.compose(emit.emit(value), "f")
    assert plain(document) == value


def load_text(directory: str, text: str, **options: Any) -> Stack:
    Path(directory, "stack.yaml").write_text(text, encoding="utf-8", newline="")
    return load(LoadRequest(cwd=directory, name="p", **options)).stack


NAMES = """services networks volumes name web db image command environment ports depends_on
    healthcheck test deploy resources limits memory cpus replicas scale x-a default ipam config
    subnet labels env_file tmpfs restart profiles user"""
KEYS = st.sampled_from(NAMES.split())
LEAVES = st.sampled_from(
    [None, True, 0, 1, -1, 1.5, "", "a", "80:80", "8080", "./a:/b", "a:/b", "1s", "64m", "web", "$"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(FEW, max_examples=150)
@given(st.dictionaries(KEYS, TREES, max_size=3) | TREES)
def test_any_tree_loads_or_is_refused_with_places(tree: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            load_text(directory, json.dumps(tree, ensure_ascii=False))
        except (StackFileError, NotFound) as error:
            for one in getattr(error, "errors", [error]):
                assert one.place is None or one.place.file.endswith("stack.yaml")


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8
)
MOUNTS = st.sampled_from(["data:/d", "./x:/x:ro", "/anon", "~/h:/h:rshared", "/a:/b:ro"])
PORTS = st.sampled_from(
    ["80", "81:81", "127.0.0.1:82:82/udp", "9000-9002:9000-9002", "9100-9110:7"]
)
SERVICES = st.fixed_dictionaries(
    {"image": st.just("stackctl/host")},
    optional={
        "command": st.lists(TEXT, max_size=3) | st.just("sh -c 'a b'") | st.none(),
        "entrypoint": st.lists(TEXT, max_size=2) | st.just("") | st.none(),
        "environment": st.dictionaries(st.sampled_from("ABCD"), TEXT | st.none() | st.integers()),
        "labels": st.lists(st.sampled_from(["a=1", "b=$$x", "c"]), max_size=3),
        "volumes": st.lists(MOUNTS, max_size=3, unique=True),
        "ports": st.lists(PORTS, max_size=2, unique=True),
        "expose": st.lists(st.integers(1, 9), max_size=2),
        "networks": st.sampled_from([["default"], ["back"], {"back": {"aliases": ["x"]}}]),
        "healthcheck": st.sampled_from(
            [{"test": "true"}, {"disable": True}, {"test": ["CMD", "x"], "interval": "1m30s"}]
        ),
        "deploy": st.sampled_from([{"replicas": 2}, {"resources": {"limits": {"memory": "64m"}}}]),
        "cpus": st.sampled_from([0.5, 2, "1.25"]),
        "mem_limit": st.sampled_from(["64m", 67108864]),
        "stop_grace_period": st.sampled_from(["1m30s", "0s", "300ms"]),
        "tmpfs": st.sampled_from(["/run", ["/tmp:size=1m"]]),
        "restart": st.sampled_from(["no", "on-failure:3"]),
        "x-note": TEXT,
        "depends_on": st.sampled_from([[], {"first": {"condition": "service_healthy"}}]),
    },
)


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_what_config_prints_loads_to_the_same_stack(format: str) -> None:
    @FEW
    @given(st.dictionaries(st.sampled_from(["web", "db"]), SERVICES, max_size=2))
    def check(services: dict[str, Any]) -> None:
        file = {
            "services": {"first": {"image": "a"}, **services},
            "networks": {"back": {"internal": True, "labels": {"a": "$$"}}, "default": None},
            "volumes": {"data": None},
            "x-top": {"any": ["thing", 1, None]},
        }
        for service in file["services"].values():  # type: ignore[attr-defined]
            # A literal $ is written $$.
            for key in ("command", "entrypoint", "x-note"):
                if isinstance(service.get(key), list):
                    service[key] = [text.replace("$", "$$") for text in service[key]]
                elif isinstance(service.get(key), str):
                    service[key] = service[key].replace("$", "$$")
            for key, value in service.get("environment", {}).items():
                if isinstance(value, str):
                    service["environment"][key] = value.replace("$", "$$")
        ports_taken = len(services) == 2 and services["web"].get("ports")
        if ports_taken:
            services["db"].pop("ports", None)
        with tempfile.TemporaryDirectory() as directory:
            environment = {"A": "outer $x", "HOME": "/h"}
            stack = load_text(
                directory, json.dumps(file, ensure_ascii=False), environment=environment
            )
            text = as_text(stack, format)
            again = load_text(directory, text, environment=environment)
            assert dataclasses.replace(again, files=stack.files) == stack
            assert as_data(again) == as_data(stack)
            assert as_text(again, format) == text

    check()
