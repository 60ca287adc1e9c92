"""What a declaration means: pydantic, the whole package, is the oracle."""

import json
import subprocess
import sys
from types import NoneType
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
import pytest
from pydantic_core import PydanticUndefined, ValidationError

from stackctl.spec import fields
from stackctl.spec.core import validator_of
from stackctl.spec.fields import Attributes, Field, FieldInfo
from stackctl.spec.model import Service
from stackctl.spec.plain import given, plain, said
from stackctl.spec.shape import Shape, stack_shape

#: What users write, right or wrong, in one place or another.
WRITTEN: list[Any] = [
    *("", "a", "/a", "a.b_c-d", "1", "0", "-1", "1.5", "true", "no", "64m", "1m30s", "sigterm"),
    *("daily", "host", "service:x", "tcp", "10.0.0.1", "10.5.0.0/24", "fe80::1", "02:42:ac:11:0:2"),
    *(
        "8000-8010",
        "a=10.0.0.1",
        "db:alias",
        "db:",
        "-:-:",
        "NET_ADMIN",
        "net.ipv4.ip_forward",
        "service_healthy",
        "x" * 70,
    ),
    *(0, 1, -1, 7, 10, 440, 5000, 70000, 2**70, 1.0, 1.5, float("nan"), True, False, None),
    *([], ["a"], ["/run"], [1], [None], [{}], [{"path": "/a"}], [{"source": "/a", "rate": 1}]),
    *({}, {"a": "b"}, {"a": None}, {"a": 1}, {"a": {}}, {"nofile": {"soft": 2, "hard": 1}}),
    *({"nofile": {"soft": -1, "hard": "-1"}}, {"a": {"condition": "x"}}, {"max-size": "1m"}),
    *({"x-own": [1], "unknown": 1}, {"type": "none", "o": "bind", "device": "/a"}),
]


class Twins:
    """Models of pydantic's own for ours."""

    def __init__(self) -> None:
        self._made: dict[type[Attributes], type[pydantic.BaseModel]] = {}

    def of(self, model: type[Attributes]) -> type[pydantic.BaseModel]:
        if model not in self._made:
            declared: dict[str, Any] = {
                name: (self._type(self._annotation(info)), self._field(info))
                for name, info in model.model_fields.items()
            }
            config = pydantic.ConfigDict(frozen=True, extra="allow")
            self._made[model] = pydantic.create_model(model.__name__, __config__=config, **declared)
        return self._made[model]

    def _annotation(self, info: FieldInfo) -> Any:
        return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation

    def _field(self, info: FieldInfo) -> Any:
        if info.default_factory is not None:
            return pydantic.Field(default_factory=info.default_factory, **info.limits)
        default = PydanticUndefined if info.is_required else info.default
        return pydantic.Field(default, **info.limits)

    def _type(self, annotation: Any) -> Any:
        if isinstance(annotation, type) and issubclass(annotation, Attributes):
            return self.of(annotation)
        if metadata := getattr(annotation, "__metadata__", None):
            hung = [h for h in map(self._hung, metadata) if h is not None]
            inner = self._type(annotation.__origin__)
            return Annotated[inner, *hung] if hung else inner
        arguments = get_args(annotation)
        if get_origin(annotation) in (list, dict):
            return get_origin(annotation)[*map(self._type, arguments)]
        if NoneType in arguments:
            return Union[*map(self._type, arguments)]
        return annotation

    def _hung(self, each: Any) -> Any:
        match each:
            case fields.BeforeValidator(func=func):
                return pydantic.BeforeValidator(func)
            case fields.AfterValidator(func=func):
                return pydantic.AfterValidator(func)
            case fields.PlainSerializer(func=func):
                return pydantic.PlainSerializer(func)
            case FieldInfo(limits=limits):
                return pydantic.Field(**limits)
        return None  # a form, a mark of support: for other eyes


TWINS = Twins()


def _models(shape: Shape) -> dict[str, type[Attributes]]:
    found = {shape.model.__name__: shape.model} if shape.model is not None else {}
    for below in (*(shape.fields or {}).values(), shape.values, shape.items):
        if below is not None:
            found |= _models(below)
    return found


MODELS = _models(stack_shape())


def _outcome(model: Any, values: Any) -> str:
    """What comes out and how it is written, or every mistake with its path."""
    try:
        made = model.model_validate(values)
    except ValidationError as found:
        told = found.errors(include_url=False, include_input=False)
        return repr([(e["type"], e["loc"], e["msg"], repr(e.get("ctx"))) for e in told])
    if isinstance(made, Attributes):
        written, telling = plain(made), said(made)
    else:
        written = made.model_dump(mode="json", exclude_none=True)
        telling = {key: value for key, value in written.items() if value not in ([], {})}
    return f"{json.dumps([written, telling])} {sorted(made.model_fields_set)} {made.model_extra}"


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_every_field_takes_refuses_and_writes_what_pydantic_does(model: type[Attributes]) -> None:
    twin = TWINS.of(model)
    needed = {k: WRITTEN[2] for k, info in model.model_fields.items() if info.is_required}
    outcomes = set()
    for values in ({}, None, [], "a", needed, {"x-own": {"a": [1]}, **needed}):
        assert _outcome(model, values) == _outcome(twin, values), values
    for name in model.model_fields:
        for value in WRITTEN:
            values = {**needed, name: value}
            found = _outcome(model, values)
            assert found == _outcome(twin, values), values
            outcomes.add(found)
    assert len(outcomes) > len(model.model_fields)


class _Pair(Attributes):
    """Of two values."""

    first: int = Field(description="A number.")
    rest: list[str] = Field(default_factory=list, description="Texts.")


def test_the_package_around_the_core_can_come_later() -> None:
    """Whoever imports it after us has the same classes, and what it adds."""
    script = """
import sys
from stackctl.spec import core
assert "pydantic_core" not in sys.modules and "pydantic_core.core_schema" not in sys.modules
import pydantic, pydantic_core
assert core.ValidationError is pydantic_core.ValidationError is pydantic.ValidationError
assert pydantic_core.core_schema.str_schema() == {"type": "str"}
assert pydantic.TypeAdapter(int).validate_python("3") == 3
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_models_are_values() -> None:
    one = _Pair.model_validate({"first": 1, "x-own": 2})
    assert one == _Pair.model_validate({"first": "1", "x-own": 2})
    assert one != _Pair.model_validate({"first": 1})
    assert one != one.model_copy(update={"first": 2})
    assert repr(one) == "_Pair(first=1, rest=[], x-own=2)"
    with pytest.raises(AttributeError, match="immutable"):
        one.first = 2
    with pytest.raises(AttributeError, match="immutable"):
        del one.first
    assert one.first == 1


def test_a_copy_says_what_was_given() -> None:
    one = _Pair.model_validate({"first": 1, "x-own": 2})
    copy = one.model_copy(update={"rest": ["a"]})
    assert (copy.first, copy.rest, copy.model_extra) == (1, ["a"], {"x-own": 2})
    assert copy.model_fields_set == {"first", "x-own", "rest"}
    assert (one.rest, one.model_fields_set) == ([], {"first", "x-own"})
    assert plain(copy) == {"first": 1, "rest": ["a"], "x-own": 2}


def test_of_a_service_what_it_was_given_is_all_there_is() -> None:
    """Which is what its plain data are made from."""
    assert said(Service.model_validate({})) == {}
    values = {"image": "a", "ports": [], "healthcheck": {}, "x-own": {"a": float("nan")}}
    one = Service.model_validate(values)
    for service in (one, one.model_copy(update={"ports": None, "expose": ["80"], "image": ""})):
        assert given(service) == said(service)
        assert given(service, but=("image", "expose")) == {"x-own": {"a": None}}


def test_a_type_that_the_core_is_not_told_about_is_a_mistake() -> None:
    class Odd(Attributes):
        """With a set."""

        some: set[str] = Field(description="Texts.")

    class Long(Attributes):
        """With a limit that nothing would look at."""

        some: list[str] = Field(description="Texts.", min_length=1)

    for model, message in ((Odd, "not of type"), (Long, "has no limits")):
        with pytest.raises(TypeError, match=message):
            validator_of(model)


def test_what_is_not_declared_as_a_field_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="some is no field"):

        class Bare(Attributes):
            """With a value of its own."""

            some: str = ""
