"""The keys that let go of a terminal without ending what runs in it. Pure.

A client names them ("ctrl-p,ctrl-q", "ctrl-x", "q"); as Docker's, they work where there is
a terminal, and its default is ctrl-p ctrl-q.
"""

from __future__ import annotations

from stackctl.api.docker.call import DockerError

DEFAULT = b"\x10\x11"
#: Letters, and what ctrl makes of @ [ \\ ] ^ _ as in ASCII.
_CONTROLS = {chr(letter): letter - 96 for letter in range(ord("a"), ord("z") + 1)} | {
    "@": 0,
    "[": 27,
    "\\": 28,
    "]": 29,
    "^": 30,
    "_": 31,
}


def sequence(text: str) -> bytes:
    """The bytes of a description; "" is the default. DockerError (400)."""
    if not text:
        return DEFAULT
    found = bytearray()
    for key in text.split(","):
        control = key.lower().removeprefix("ctrl-")
        if key.lower().startswith("ctrl-") and control in _CONTROLS:
            found.append(_CONTROLS[control])
        elif len(key) == 1 and key.isascii():
            found += key.encode()
        else:
            raise DockerError(400, f'Invalid detach keys (detachKeys) provided: "{key}"')
    return bytes(found)


class Watch:
    """Looks for the sequence in what is typed, however it is cut into pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the sequence was complete.

        The beginning of a sequence is held back; when it comes to nothing it is passed on.
        """
        if not self._keys:
            return data, False
        passed, held = bytearray(), self._held
        for byte in data:
            held.append(byte)
            if held == self._keys:
                return bytes(passed), True
            while not self._keys.startswith(held):
                passed.append(held.pop(0))
        return bytes(passed), False
