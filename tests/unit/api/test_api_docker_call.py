"""Docker's queries: versions, times, and filters in both of their shapes."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.api.docker import globs
from stackctl.api.docker.call import DockerError, Filters, moment, parsed
from stackctl.api.docker.events import shape, wanted
from stackctl.api.docker.table import check, split_version
from stackctl.daemon.events import Event

NAMES = ("label", "label!", "name", "status", "dangling")


def filters(**values: object) -> Filters:
    return Filters.parse(json.dumps(values), NAMES)


@pytest.mark.parametrize("values", [["a", "b"], {"a": True, "b": True, "c": False}])
def test_filters_come_as_lists_and_as_objects(values: object) -> None:
    found = filters(name=values)
    assert found["name"] == ("a", "b")
    assert found.exact("name", "b") and not found.exact("name", "c")
    assert found.exact("status", "whatever")  # nothing was said of it


def test_labels_must_all_fit() -> None:
    labels = {"a": "1", "b": "2"}
    assert filters(label=["a", "b=2"]).labels(labels)
    assert not filters(label=["a", "b=3"]).labels(labels)
    assert not filters(**{"label!": ["a"]}).without_labels(labels)
    assert filters(**{"label!": ["a=2"]}).without_labels(labels)


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '{"nothing": ["a"]}', '{"name": "a"}', '{"name": 1}']
)
def test_what_is_no_filter_is_the_clients_mistake(text: str) -> None:
    with pytest.raises(DockerError) as refused:
        Filters.parse(text, NAMES)
    assert refused.value.status == 400 and "invalid filter" in refused.value.brief


@given(st.text())
def test_any_text_is_filters_or_a_mistake(text: str) -> None:
    try:
        Filters.parse(text, NAMES)
    except DockerError as error:
        assert error.status == 400


@given(st.text(), st.text())
def test_any_pattern_matches_or_does_not(pattern: str, name: str) -> None:
    assert filters(name=[pattern]).matches("name", name) in (True, False)
    assert filters(name=[name]).matches("name", name)


def test_times() -> None:
    assert moment("12.5") == 12.5
    assert moment("2026-01-02T03:04:05.123456789Z") == pytest.approx(1767323045.123456)
    assert moment("1h30m") == pytest.approx(time.time() - 5400, abs=60)
    with pytest.raises(DockerError):
        moment("yesterday")


def test_versions() -> None:
    assert split_version("/v1.41/containers/json") == ((1, 41), "/containers/json")
    assert split_version("/containers/json")[1] == "/containers/json"
    check((1, 24))
    with pytest.raises(DockerError, match="too old"):
        check((1, 23))
    with pytest.raises(DockerError, match="too new"):
        check((1, 99))


def test_events_have_the_old_fields_and_the_new() -> None:
    said = {"image": "i", "name": "n"}
    event = Event(time=12.5, kind="container", action="start", id="abc", attributes=said)
    found = shape(event)
    assert (found["status"], found["id"], found["from"]) == ("start", "abc", "i")
    assert (found["Type"], found["Action"]) == ("container", "start")
    assert found["Actor"] == {"ID": "abc", "Attributes": said}
    assert (found["time"], found["timeNano"]) == (12, 12_500_000_000)
    known = ("type", "event", "container", "image", "label")
    for narrowed, fits in (
        ({"container": ["n"]}, True),
        ({"container": ["m"]}, False),
        ({"event": ["start"], "image": ["i"]}, True),
        ({"type": ["network"]}, False),
        ({"label": ["name=n"]}, True),
    ):
        assert wanted(Filters.parse(json.dumps(narrowed), known), event) is fits


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("utest*", "utest:tag1", True),
        ("utest*", "utest/docker:tag2", False),
        ("utest*/*", "utest:5000/docker:tag3", True),
        ("*5000*/*", "utest:5000/docker", True),
        ("b?x", "box", True),
        ("b?x", "b/x", False),
        ("[a-c]ox", "box", True),
        ("[^a-c]ox", "box", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("a.b", "axb", False),
    ],
)
def test_stars_stop_at_a_slash(pattern: str, name: str, fits: bool) -> None:
    assert globs.matches(pattern, name) is fits


@given(st.text(), st.text())
def test_any_glob_matches_or_is_a_mistake(pattern: str, name: str) -> None:
    try:
        assert globs.matches(pattern, name) in (True, False)
    except DockerError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", {}),
        (b" null ", {}),
        (b"{}", {}),
        (b' {"A": 1}\n', {"A": 1}),
        (rb'{"\ud800a": ["\ud83d\ude00", {"x": "\udc80"}]}', {"\ufffda": ["😀", {"x": "\ufffd"}]}),
    ],
)
def test_bodies_are_objects_or_nothing(text: bytes, value: object) -> None:
    assert parsed(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{invalid json", "invalid JSON: "),
        (b"{} trailing content", "unexpected content after JSON"),
        (b"[]", "an object is expected"),
        (b"\xff", "invalid JSON: "),
        (b"[" * 100000, "invalid JSON: "),
    ],
)
def test_other_bodies_are_the_clients_mistake(text: bytes, words: str) -> None:
    with pytest.raises(DockerError, match=words) as refused:
        parsed(text)
    assert refused.value.status == 400
