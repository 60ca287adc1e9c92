"""`NamedTuple` as in the standard library, for modules that every command imports.

`typing`, and `collections` with what it generates for each class, take as long as an empty
interpreter's whole start. Fields, defaults, `_replace`, patterns and printing are the same.
"""

from __future__ import annotations

from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class NamedTuple(tuple):
        __slots__ = ()
        _fields = ()
        _field_defaults: dict = {}  # noqa: RUF012 - of a class, as in the standard library

        def __init_subclass__(cls):
            # As text, see above; `inspect` is what this module is to spare.
            names = tuple(cls.__dict__.get("__annotations__", ()))  # noqa: RUF063
            if not names:
                return
            cls._fields = cls.__match_args__ = names
            cls._field_defaults = {n: cls.__dict__[n] for n in names if n in cls.__dict__}
            for index, name in enumerate(names):
                setattr(cls, name, property(itemgetter(index)))

        def __new__(cls, *values, **named):
            names = cls._fields
            if named or len(values) != len(names):
                values = _complete(cls, values, named)
            return tuple.__new__(cls, values)

        def __getnewargs__(self):
            return tuple(self)

        def _replace(self, **named):
            return type(self)(**{**self._asdict(), **named})

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            fields = ", ".join(f"{n}={v!r}" for n, v in self._asdict().items())
            return f"{type(self).__name__}({fields})"

    def _complete(cls, values, named):
        """All values in order; TypeError as a function's call would raise it."""
        names = cls._fields
        if len(values) > len(names):
            raise TypeError(f"{cls.__name__} takes {len(names)} values, got {len(values)}")
        known = dict(zip(names, values, strict=False))
        if wrong := [n for n in named if n in known or n not in names]:
            raise TypeError(f"{cls.__name__}: unknown or given twice: {', '.join(wrong)}")
        known = {**cls._field_defaults, **known, **named}
        if missing := [n for n in names if n not in known]:
            raise TypeError(f"{cls.__name__} lacks {', '.join(missing)}")
        return [known[n] for n in names]
