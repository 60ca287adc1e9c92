"""The codec gives back what it was given, and never anything else."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    NetworkAttachment,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.image import Snapshot
from stackctl.model.record import (
    ContainerRecord,
    NetworkRecord,
    StackRecord,
    VolumeRecord,
)
from stackctl.state.codec import Codec, CodecError

KINDS: list[type[Any]] = [ContainerRecord, NetworkRecord, VolumeRecord, StackRecord, Snapshot]

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
# Lone surrogates are in: argv and paths of odd bytes arrive that way.
st.register_type_strategy(str, st.text(st.characters(exclude_categories=()), max_size=12))


def everything(kind: type[Any]) -> st.SearchStrategy[Any]:
    """All fields drawn, those with defaults too."""
    hints = {f.name: f for f in dataclasses.fields(kind)}
    return st.builds(kind, **dict.fromkeys(hints, ...))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: type[Any]) -> None:
    codec = Codec(kind)

    @settings(max_examples=60, deadline=None)
    @given(everything(kind))
    def law(record: Any) -> None:
        text = codec.dumps(record)
        text.encode("ascii")
        assert codec.loads(text) == record

    law()


def config(**changes: Any) -> ContainerConfig:
    return ContainerConfig(name="n", image="i", image_id="sha256:0", argv=("a",), **changes)


def test_unions_keep_their_kind() -> None:
    mounts = (
        BindMount(source="/s", target="/t"),
        VolumeMount(volume="v", target="/t"),
        TmpfsMount(target="/t", size=None),
    )
    codec = Codec(ContainerConfig)
    text = codec.dumps(config(mounts=mounts))
    assert [m["type"] for m in json.loads(text)["mounts"]] == [
        "BindMount",
        "VolumeMount",
        "TmpfsMount",
    ]
    assert codec.loads(text).mounts == mounts


def test_a_field_added_later_takes_its_default() -> None:
    raw = json.loads(Codec(ContainerConfig).dumps(config()))
    del raw["networks"], raw["restart"]
    assert Codec(ContainerConfig).loads(json.dumps(raw)) == config()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"argv": "a"}, "ContainerConfig.argv: a list expected"),
        ({"argv": [1]}, r"ContainerConfig.argv\[0\]: text expected, found 1"),
        ({"tty": 1}, "ContainerConfig.tty: true or false expected, found 1"),
        ({"number": True}, "ContainerConfig.number: a whole number expected, found true"),
        ({"labels": {"a": None}}, r'ContainerConfig.labels\["a"\]: text expected, found null'),
        ({"restart": {"mode": "sometimes"}}, "restart.mode: one of no, always"),
        ({"mounts": [{"target": "/"}]}, r'mounts\[0\]: "type" must be one of BindMount'),
        ({"mounts": [{"type": "BindMount"}]}, r'mounts\[0\]: "source" is missing'),
        ({"mounts": [3]}, r"mounts\[0\]"),
        ({"rights_of_tomorrow": 1}, '"rights_of_tomorrow" is not known to this version'),
        ({"ports": [{"container_port": 1, "host_port": [1]}]}, "2 values expected, found 1"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    raw = json.loads(Codec(ContainerConfig).dumps(config()))
    with pytest.raises(CodecError, match=message):
        Codec(ContainerConfig).loads(json.dumps(raw | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"x"', "[" * 100_000, "NaN"])
def test_any_other_text_is_a_clean_error(text: str) -> None:
    with pytest.raises(CodecError):
        Codec(StackRecord).loads(text)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_gives_a_record_or_a_clean_error(raw: Any) -> None:
    try:
        Codec(NetworkAttachment).loads(json.dumps(raw))
    except CodecError:
        pass


@dataclass(frozen=True)
class Untagged:
    value: int | str


@dataclass(frozen=True)
class Clash:
    type: str


@dataclass(frozen=True)
class Clashing:
    value: Clash | TmpfsMount


@pytest.mark.parametrize("kind", [Untagged, Clashing])
def test_what_cannot_round_trip_is_refused_when_the_codec_is_made(kind: type[Any]) -> None:
    with pytest.raises(TypeError):
        Codec(kind)


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError):
        Codec(ContainerConfig).dumps(config(stop_grace=float("nan")))
