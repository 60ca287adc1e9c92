"""Frozen dataclasses <-> JSON, exactly: what was written is what is read.

Understands what the records are made of: str, int, float, bool, StrEnum,
`X | None`, `tuple[X, ...]`, `tuple[X, Y]`, `dict[str, X]`, dataclasses, and unions of
dataclasses, which carry their class's name under "type". Anything else is a
TypeError when the codec is made, not when a record is lost.

Reading is strict. A field that is missing takes its default (it was added after
the record was written); a field that is not known is refused: a newer stackctl
wrote it, and dropping it on the next write could drop a security setting.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Generic, TypeVar

R = TypeVar("R")
#: Encodes a value; None means that JSON takes it as it is.
Encode = Callable[[Any], Any] | None
#: Decodes a JSON value; the second argument is where it stands ("config.mounts[2]").
Decode = Callable[[Any, str], Any]

_TAG = "type"


class CodecError(ValueError):
    """The JSON does not describe such a record. The message says where and why."""


class Codec(Generic[R]):
    """Turns records of one dataclass into JSON text and back."""

    def __init__(self, record: type[R]) -> None:
        kind: Any = record
        encode, self._decode = _codec(kind)
        assert encode is not None
        self._encode = encode
        self._name = record.__name__

    def dumps(self, value: R) -> str:
        """ASCII only: lone surrogates of odd file names survive any storage."""
        return json.dumps(self._encode(value), separators=(",", ":"), allow_nan=False)

    def loads(self, text: str) -> R:
        """Raises CodecError."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CodecError(f"{self._name}: not JSON: {error}") from None
        return typing.cast(R, self._decode(raw, self._name))


@cache
def _codec(kind: Any) -> tuple[Encode, Decode]:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if kind in _SCALARS:
        return None, _SCALARS[kind]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return None, _enum(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict and arguments[0] is str:
        return _dict(arguments[1])
    raise TypeError(f"no codec for {kind!r}")


def _scalar(kind: type, described: str) -> Decode:
    def decode(raw: Any, place: str) -> Any:
        # type() and not isinstance: True is no number.
        if type(raw) is not kind:
            raise CodecError(f"{place}: {described} expected, found {_shown(raw)}")
        return raw

    return decode


def _decode_float(raw: Any, place: str) -> float:
    if type(raw) is not float and type(raw) is not int:
        raise CodecError(f"{place}: a number expected, found {_shown(raw)}")
    try:
        return float(raw)
    except OverflowError:
        raise CodecError(f"{place}: a number out of range") from None


_SCALARS: Mapping[Any, Decode] = {
    str: _scalar(str, "text"),
    int: _scalar(int, "a whole number"),
    bool: _scalar(bool, "true or false"),
    float: _decode_float,
}


def _enum(kind: type[StrEnum]) -> Decode:
    members = {member.value: member for member in kind}

    def decode(raw: Any, place: str) -> Any:
        if not isinstance(raw, str) or raw not in members:
            raise CodecError(f"{place}: one of {', '.join(members)} expected, found {_shown(raw)}")
        return members[raw]

    return decode


def _dataclass(kind: type) -> tuple[Encode, Decode]:
    hints = typing.get_type_hints(kind)
    parts = {f.name: (f, *_codec(hints[f.name])) for f in dataclasses.fields(kind)}
    encoders = [(name, encode) for name, (_, encode, _) in parts.items()]
    decoders = {name: decode for name, (_, _, decode) in parts.items()}
    required = [
        name
        for name, (f, _, _) in parts.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]

    def encode(value: Any) -> dict[str, Any]:
        return {
            name: getattr(value, name) if part is None else part(getattr(value, name))
            for name, part in encoders
        }

    def decode(raw: Any, place: str) -> Any:
        if not isinstance(raw, dict):
            raise CodecError(f"{place}: an object expected, found {_shown(raw)}")
        for name in required:
            if name not in raw:
                raise CodecError(f'{place}: "{name}" is missing')
        values = {}
        for name, part in raw.items():
            if name not in decoders:
                raise CodecError(f'{place}: "{name}" is not known to this version')
            values[name] = decoders[name](part, f"{place}.{name}")
        return kind(**values)

    return encode, decode


def _union(arguments: tuple[Any, ...]) -> tuple[Encode, Decode]:
    kinds = [a for a in arguments if a is not types.NoneType]
    encode, decode = _codec(kinds[0]) if len(kinds) == 1 else _tagged(kinds)
    if len(kinds) == len(arguments):
        return encode, decode
    inner = encode

    def encode_optional(value: Any) -> Any:
        return None if value is None or inner is None else inner(value)

    def decode_optional(raw: Any, place: str) -> Any:
        return None if raw is None else decode(raw, place)

    return (None if inner is None else encode_optional), decode_optional


def _tagged(kinds: list[Any]) -> tuple[Encode, Decode]:
    for kind in kinds:
        if not dataclasses.is_dataclass(kind):
            raise TypeError(f"no codec for a union with {kind!r}")
        if any(f.name == _TAG for f in dataclasses.fields(kind)):
            raise TypeError(f'{kind!r} has a field "{_TAG}", which is the tag of unions')
    encoders: dict[type, Callable[[Any], Any]] = {k: typing.cast(Any, _codec(k)[0]) for k in kinds}
    decoders = {k.__name__: _codec(k)[1] for k in kinds}

    def encode(value: Any) -> Any:
        return {_TAG: type(value).__name__, **encoders[type(value)](value)}

    def decode(raw: Any, place: str) -> Any:
        tag = raw.get(_TAG) if isinstance(raw, dict) else None
        if not isinstance(tag, str) or tag not in decoders:
            names = ", ".join(decoders)
            raise CodecError(f'{place}: "{_TAG}" must be one of {names}, found {_shown(tag)}')
        return decoders[tag]({k: v for k, v in raw.items() if k != _TAG}, place)

    return encode, decode


def _tuple(arguments: tuple[Any, ...]) -> tuple[Encode, Decode]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item_encode, item_decode = _codec(arguments[0])

        def encode(value: Any) -> list[Any]:
            return list(value) if item_encode is None else [item_encode(v) for v in value]

        def decode(raw: Any, place: str) -> Any:
            return tuple(item_decode(v, f"{place}[{n}]") for n, v in enumerate(_list(raw, place)))

        return encode, decode
    parts = [_codec(a) for a in arguments]

    def encode_fixed(value: Any) -> list[Any]:
        return [v if e is None else e(v) for (e, _), v in zip(parts, value, strict=True)]

    def decode_fixed(raw: Any, place: str) -> Any:
        if len(_list(raw, place)) != len(parts):
            raise CodecError(f"{place}: {len(parts)} values expected, found {len(raw)}")
        return tuple(
            d(v, f"{place}[{n}]") for n, ((_, d), v) in enumerate(zip(parts, raw, strict=True))
        )

    return encode_fixed, decode_fixed


def _dict(value_kind: Any) -> tuple[Encode, Decode]:
    item_encode, item_decode = _codec(value_kind)

    def encode(value: Any) -> dict[str, Any]:
        return dict(value) if item_encode is None else {k: item_encode(v) for k, v in value.items()}

    def decode(raw: Any, place: str) -> Any:
        if not isinstance(raw, dict):
            raise CodecError(f"{place}: an object expected, found {_shown(raw)}")
        return {k: item_decode(v, f'{place}["{k}"]') for k, v in raw.items()}

    return encode, decode


def _list(raw: Any, place: str) -> list[Any]:
    if not isinstance(raw, list):
        raise CodecError(f"{place}: a list expected, found {_shown(raw)}")
    return raw


def _shown(raw: Any) -> str:
    text = json.dumps(raw)
    return text if len(text) <= 40 else text[:37] + "..."
