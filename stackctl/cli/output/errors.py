"""How a failure reads: one sentence, the hint, and lines worth seeing.

error: stack.yaml:14:9: service "web" depends on "bd", which no service is called
  hint: did you mean "db"?
"""

from __future__ import annotations

from stackctl.cli.output.console import BOLD, CYAN, DIM, RED, YELLOW, Console
from stackctl.errors import StackctlError
from stackctl.json_text import json_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


#: Characters that a terminal would obey, as they are written in source text.
_OBEYED = {n: f"\\x{n:02x}" for n in (*range(9), *range(11, 32), *range(127, 160))}


def _printable(text: str) -> str:
    """What a stack file says comes along in messages: it must not steer the terminal."""
    return text.translate(_OBEYED)


def print_error(console: Console, error: StackctlError) -> None:
    """The error, or all of several, on standard error."""
    if console.tells_json:
        for each in _flat(error):
            console.err(json_line({**each.to_json(), "error": True, "message": str(each)}))
        return
    for each in _flat(error):
        _print_one(console, each)


def errors_json(error: StackctlError) -> str:
    """For programs: {"errors": [...]}, every mistake with its file, line and column."""
    import json

    return json.dumps({"errors": [each.to_json() for each in _flat(error)]}, indent=2)


def print_warning(console: Console, text: str, place: str = "") -> None:
    if console.tells_json:
        console.err(json_line({"level": "warning", "msg": f"{place}: {text}" if place else text}))
        return
    head = console.paint_err("warning:", YELLOW, BOLD)
    text, place = _printable(text), _printable(place)
    console.err(f"{head} {place}: {text}" if place else f"{head} {text}")


def place_text(place: object) -> str:
    """A place as it crosses the socket (text, or [file, line, column]) as file:line:column."""
    if isinstance(place, list | tuple):
        return ":".join(str(part) for part in place if part)
    return str(place) if place else ""


def _flat(error: StackctlError) -> Iterator[StackctlError]:
    several: tuple[StackctlError, ...] = getattr(error, "errors", ())
    if several:
        for each in several:
            yield from _flat(each)
    else:
        yield error


def _print_one(console: Console, error: StackctlError) -> None:
    first, *rest = _printable(str(error)).splitlines() or ["unknown error"]
    console.err(f"{console.paint_err('error:', RED, BOLD)} {first}")
    for line in rest:
        console.err(f"  {line}")
    if error.hint:
        first, *rest = _printable(error.hint).splitlines()
        console.err(f"  {console.paint_err('hint:', CYAN)} {first}")
        for line in rest:
            console.err(f"        {line}")
    for line in error.details:
        for part in line.splitlines() or [""]:
            console.err(f"    {console.paint_err(part, DIM)}".rstrip())
