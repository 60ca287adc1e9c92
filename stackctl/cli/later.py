"""Modules that are imported when something of them is used first.

The commands declare their options with typer, which takes longer to import than most
commands take to run, and only `stackctl.cli.application` reads the declarations.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module until somebody asks for one of its names."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_now(*names: str) -> None:
    """The modules themselves from now on: what stands for a package has no modules below it."""
    for name in names:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]
        import_module(name)


def import_later(*names: str) -> None:
    """`import NAME` costs nothing from now on, unless it was imported already."""
    for name in names:
        sys.modules.setdefault(name, _Later(name))
