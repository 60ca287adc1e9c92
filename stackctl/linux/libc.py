"""The C library's handle, and how a call that fails becomes an OSError.

The only module that loads ctypes. Signatures are declared once, where the
wrapper of the call is. Nothing here looks up users, hosts or locales.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_ulong, c_void_p

TYPE_CHECKING = False  # importing typing would cost as much as all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "c_char_p",
    "c_int",
    "c_long",
    "c_size_t",
    "c_uint",
    "c_ulong",
    "c_void_p",
    "check",
    "function",
    "syscall",
]

library = ctypes.CDLL(None, use_errno=True)


def function(name: str, *argtypes: Any, restype: Any = c_int) -> Callable[..., int]:
    """A function of the C library with its signature declared."""
    found = library[name]  # a new object each time: declarations do not overwrite each other
    found.argtypes = argtypes
    found.restype = restype
    return found


def syscall(number: int, *argtypes: Any) -> Callable[..., int]:
    """A system call that older C libraries have no wrapper for."""
    found = function("syscall", c_long, *argtypes, restype=c_long)

    def call(*args: Any) -> int:
        return found(number, *args)

    return call


def check(result: int, what: str | bytes | None = None) -> int:
    """`result`, or OSError with errno and the object's name when it is -1."""
    if result == -1:
        code = ctypes.get_errno()
        if what is None:
            raise OSError(code, os.strerror(code))
        raise OSError(code, os.strerror(code), os.fsdecode(what))
    return result
