"""JSON as `json` reads and writes it, without the modules that `json` imports.

The standard library's own scanner and encoder, written in C; what is around them there
(regular expressions, enumerations) takes longer to import than a command's messages to read.
Where an interpreter has no such scanner, `json` it is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_WHITE = " \t\n\r"


def loads(text: str | bytes | bytearray) -> Any:
    """What the text says. Raises ValueError when it is no JSON in UTF-8."""
    if not isinstance(text, str):
        text = text.decode()
    if _scan is None:
        import json

        return json.loads(text)
    start = len(text) - len(text.lstrip(_WHITE))
    try:
        value, end = _scan(text, start)
    except StopIteration as at:
        raise ValueError(f"no JSON value at character {at.value}") from None
    if text[end:].strip(_WHITE):
        raise ValueError(f"something follows the JSON value at character {end}")
    return value


def dumps(value: object) -> str:
    """In one line, ASCII only. Raises TypeError for what JSON does not have."""
    if _encoder is None:
        import json

        return json.dumps(value)
    # Its first argument: what it is in the middle of, to know circles.
    encode = _encoder({}, _refuse, _quoted, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


_scan: Callable[[str, int], tuple[Any, int]] | None
_encoder: Any

try:
    from _json import encode_basestring_ascii as _quoted
    from _json import make_encoder, make_scanner

    class _Context:
        """What the scanner asks for: json.JSONDecoder's defaults."""

        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int = float, int
        parse_constant = {
            "NaN": float("nan"),
            "Infinity": float("inf"),
            "-Infinity": float("-inf"),
        }.__getitem__

    _scan = make_scanner(_Context())  # type: ignore[arg-type]
    _encoder = make_encoder
except (ImportError, TypeError):
    _scan = _encoder = None


def json_line(value: object) -> str:
    """In one line without a space, as docker and compose write it: scripts search such lines."""
    import json  # of use for --format json only

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
