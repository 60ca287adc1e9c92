"""`dataclass` as in the standard library, but its methods are written when they are first used.

The standard library compiles up to six functions for every class when its module is imported.
For the few hundred classes of the engine that was a third of the time until it answered, and
most of them are never compared, hashed or printed, many never made. Types, fields, `replace`
and `match` are the standard library's own.

A frozen one is hashed, and whoever assigns to it is told by the type checker, not at run time: that
would take an object's constructor three times as long, of which a plan makes thousands.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen=False, slots=False, kw_only=False, eq=True, repr=True):
        """The decorator. Takes what is used here of the standard library's parameters."""

        def decorate(cls):
            own = set(vars(cls))
            # Without one, the standard library would work out a signature to put there.
            cls.__doc__ = cls.__doc__ or f"{cls.__name__}(...)"
            made = dataclasses.dataclass(
                init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
            )(cls)
            methods = ["__init__", *["__repr__"] * repr, *["__eq__"] * eq]
            if eq and frozen:
                methods.append("__hash__")
            elif eq and "__hash__" not in own:
                made.__hash__ = None
            for name in methods:
                if name not in own:
                    setattr(made, name, _Later(made, name))
            return made

        return decorate


class _Later:
    """A method that is not written yet: it is when somebody looks at it."""

    __slots__ = ("_cls", "_name")

    def __init__(self, cls: type, name: str) -> None:
        self._cls = cls
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if isinstance(vars(self._cls)[self._name], _Later):
            _write(self._cls, self._name)
        return vars(self._cls)[self._name].__get__(instance, owner)


def _write(cls: Any, name: str) -> None:
    """Has the standard library write the method, for a class of the same fields."""
    body: dict[str, Any] = {"__annotations__": {}, "__doc__": cls.__doc__}
    if hasattr(cls, "__post_init__"):
        body["__post_init__"] = cls.__post_init__
    for each in dataclasses.fields(cls):
        body["__annotations__"][each.name] = each.type
        body[each.name] = dataclasses.field(
            default=each.default,
            default_factory=each.default_factory,
            init=each.init,
            repr=each.repr,
            hash=each.hash,
            compare=each.compare,
            kw_only=each.kw_only,
        )
    twin: Any = dataclasses.dataclass(
        init=name == "__init__",
        repr=name == "__repr__",
        eq=name == "__eq__",
        unsafe_hash=name == "__hash__",
    )(type(cls.__name__, (), body))
    method = vars(twin)[name]
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    setattr(cls, name, method)
