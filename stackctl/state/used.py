"""Which context is used: the one thing that every command asks the store of contexts."""

from __future__ import annotations

import os

from stackctl.errors import MachineError
from stackctl.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = "default"


def contexts_root(environment: Mapping[str, str]) -> str:
    """$STACKCTL_CONFIG, else $XDG_CONFIG_HOME/stackctl, else ~/.config/stackctl."""
    if given := environment.get("STACKCTL_CONFIG"):
        return given
    base = environment.get("XDG_CONFIG_HOME")
    home = environment.get("HOME") or "/root"
    return os.path.join(base or f"{home}/.config", "stackctl")


def used_context(environment: Mapping[str, str]) -> str:
    """The context that `use` chose. Raises MachineError for a damaged file."""
    return used_below(contexts_root(environment))


def used_below(root: str) -> str:
    """The same, for the store in this directory."""
    path = os.path.join(root, "config.json")
    try:
        with open(path, "rb") as file:
            chosen = loads(file.read()).get("currentContext")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return DEFAULT
    except (ValueError, AttributeError, OSError):
        raise MachineError(f"{path} cannot be read", hint="mend it or remove it") from None
    return str(chosen or DEFAULT)
