"""`stackctl.values.dataclass` makes what the standard library's makes, only later."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import field
from typing import Any, Generic, TypeVar

import pytest

from stackctl.values import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    number: int
    protocol: str = "tcp"
    tags: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Point:
    """A place."""

    x: int
    y: int = 2


@dataclass(frozen=True, slots=True)
class Place(Point):
    name: str = ""


@dataclass(slots=True)
class Counter:
    count: int = 0
    doubled: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.doubled = 2 * self.count


@dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    content: T


@dataclass(frozen=True, slots=True, repr=False)
class Quiet:
    word: str

    def __repr__(self) -> str:
        return "Quiet(...)"


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    word: str


def test_values_are_made_compared_hashed_and_printed() -> None:
    assert repr(Port(number=80, secret="s")) == "Port(number=80, protocol='tcp', tags=[])"
    assert Port(number=80, tags=["a"]) == Port(number=80)
    assert Port(number=80) != Port(number=81)
    assert Port(number=80).tags is not Port(number=80).tags
    assert {Point(1), Point(1, 2), Point(2)} == {Point(1), Point(2)}
    assert Place(1, 2) != Point(1, 2)
    assert repr(Place(1, name="n")) == "Place(x=1, y=2, name='n')"
    assert Box("a") == Box("a")
    assert repr(Quiet("w")) == "Quiet(...)"
    assert Quiet("w") == Quiet("w")
    assert Same("w") != Same("w")


def test_what_is_first_asked_of_a_class_may_be_anything() -> None:
    """The first look at a class is what has its methods written: here without a constructor."""

    def fresh() -> Any:
        @dataclass(frozen=True, slots=True)
        class Fresh:
            a: int

        made = object.__new__(Fresh)
        object.__setattr__(made, "a", 1)
        return made

    assert hash(fresh()) == hash((1,))
    assert repr(fresh()).endswith("Fresh(a=1)")
    assert fresh() != 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'b'"):
        type(fresh())(a=1, b=2)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        type(fresh())()


def test_values_are_copied_and_kept() -> None:
    point = Point(1)
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point
    assert not hasattr(point, "__dict__")


def test_changeable_ones_can_be_changed_and_not_hashed() -> None:
    counter = Counter(2)
    assert counter.doubled == 4
    counter.count = 5
    assert counter == counter
    assert copy.copy(counter) == counter
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)


def test_the_tools_for_dataclasses_know_them() -> None:
    assert [f.name for f in dataclasses.fields(Port)] == ["number", "protocol", "tags", "secret"]
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(Place(1, 2, "n")) == {"x": 1, "y": 2, "name": "n"}
    assert dataclasses.is_dataclass(Box)
    assert list(inspect.signature(Port).parameters) == ["number", "protocol", "tags", "secret"]
    match Place(1, 2, "n"):
        case Place(1, y, name=name):
            assert (y, name) == (2, "n")
        case _:
            pytest.fail("it does not match")
