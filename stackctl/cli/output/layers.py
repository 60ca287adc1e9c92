"""The progress of a pull or push: a line for each layer, redrawn on a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from stackctl.cli.output.console import Console
from stackctl.cli.output.text import cut

_WORDS = {
    "waiting": "Waiting",
    "exists": "Already exists",
    "mounted": "Mounted from another repository",
    "downloading": "Downloading",
    "uploading": "Pushing",
    "unpacking": "Extracting",
    "done": "Complete",
}
_FINAL = ("exists", "mounted", "done")
_FRAME = 0.1


class LayerLines:
    """Elsewhere than on a terminal a line is printed when a layer is done."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._live = console.can_redraw and not quiet
        self._quiet = quiet
        self._layers: dict[str, Mapping[str, Any]] = {}
        self._drawn = 0
        self._last = 0.0

    def show(self, message: Mapping[str, Any]) -> None:
        """A message of kind `layer`."""
        layer, state = str(message["layer"]), str(message["state"])
        self._layers[layer] = message
        if self._live:
            if state in _FINAL or time.monotonic() - self._last >= _FRAME:
                self._draw()
        elif not self._quiet and state in _FINAL:
            self._console.err(f"{layer}: {_WORDS[state]}")

    def close(self) -> None:
        if self._live and self._layers:
            self._draw()

    def _draw(self) -> None:
        self._last = time.monotonic()
        out = self._console.stderr
        width = self._console.err_size()[0]
        frame = f"\x1b[{self._drawn}A" if self._drawn else ""
        for layer, message in self._layers.items():
            frame += "\r\x1b[2K" + cut(f"{layer}: {_line(message)}", width - 1) + "\n"
        out.write(frame)
        out.flush()
        self._drawn = len(self._layers)


def _line(message: Mapping[str, Any]) -> str:
    state, current, total = str(message["state"]), message["current"], message["total"]
    word = _WORDS.get(state, state)
    if state in ("downloading", "uploading") and total:
        done = 20 * current // total
        bar = "=" * done + ">" + " " * (20 - done)
        return f"{word} [{bar}] {current / 1e6:.1f}MB/{total / 1e6:.1f}MB"
    return word
