"""Modules that are imported when something of them is used first, and what spares others.

The commands declare their options with typer, which takes longer to import than most
commands take to run, and only `stackctl.cli.application` reads the declarations. What is
defined here a second time would bring `typing` and `functools`, half an interpreter's start.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import cached_property as _cached_property
    from types import ModuleType
    from typing import Annotated as Annotated
    from typing import Any

    once = _cached_property
else:
    ModuleType = type(sys)

    class _Annotated:
        """Does as typing's when something is annotated, which only typer's way does."""

        def __getitem__(self, parts):
            from typing import Annotated

            return Annotated[parts]

    Annotated = _Annotated()

    class once:
        """functools.cached_property."""

        def __init__(self, compute):
            self._compute = compute
            self.__doc__ = compute.__doc__

        def __get__(self, owner, _=None):
            if owner is None:
                return self
            value = owner.__dict__[self._compute.__name__] = self._compute(owner)
            return value


class _Later(ModuleType):
    """Stands for a module until somebody asks for one of its names."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(load(self.__name__), name)


def load(name: str) -> ModuleType:
    """importlib.import_module, for absolute names."""
    __import__(name)
    return sys.modules[name]


def import_now(*names: str) -> None:
    """The modules themselves from now on: what stands for a package has no modules below it."""
    for name in names:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]
        load(name)


def import_later(*names: str) -> None:
    """`import NAME` costs nothing from now on, unless it was imported already."""
    for name in names:
        sys.modules.setdefault(name, _Later(name))
