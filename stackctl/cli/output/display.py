"""What every display of a verb's messages can do; free of what only some of them draw with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TypeAlias
else:
    Protocol = object  # these are for those who check types

Message: TypeAlias = "Mapping[str, Any]"


class Display(Protocol):
    """Shows the kinds of messages that it knows; others are ignored."""

    #: Seconds after which `tick` wants to be called; None: never.
    pace: float | None

    def show(self, message: Message) -> None: ...
    def above(self, write: Callable[[], None]) -> None:
        """Let `write` print lines that are not part of the display."""

    def tick(self) -> None: ...
    def close(self) -> None:
        """Leave the last state on the screen; may be called twice."""
