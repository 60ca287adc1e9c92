"""--progress json: a JSON object a line on standard error, in the field names of compose.

{"id": "Container p-web-1", "status": "Working", "text": "Starting"}
{"id": "4abcf2066143", "parent_id": "Image redis", "status": "Working", "text": "Downloading",
 "current": 12, "total": 70, "percent": 17}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackctl.cli.output.board import wording
from stackctl.cli.output.building import BuildProgress
from stackctl.cli.output.console import Console
from stackctl.cli.output.display import Message
from stackctl.cli.output.live import Clock
from stackctl.cli.output.progress import QuietProgress
from stackctl.json_text import json_line

#: Words of compose's for what the others say at more length.
_WORDS = {
    "WaitHealthy": ("Waiting", "Healthy"),
    "WaitCompleted": ("Waiting", "Exited"),
}
_ENDED = {"failed": ("Error", "Error"), "skipped": ("Warning", "Skipped")}
_LAYERS = {
    "waiting": "Waiting",
    "downloading": "Downloading",
    "uploading": "Pushing",
    "unpacking": "Extracting",
    "exists": "Already exists",
    "mounted": "Mounted",
    "done": "Pull complete",
}
_VERTICES = {"running": "Working", "failed": "Error", "canceled": "Warning"}


def line(console: Console, **fields: Any) -> None:
    """Print what is not empty of these fields."""
    console.err(json_line({k.replace("dry_run", "dry-run"): v for k, v in fields.items() if v}))


def identity(step: Message) -> str:
    """`Container p-web-1`, `Network p_default`: as compose calls what a step is about."""
    kind = wording(str(step["op"])).kind or "container"
    name = str(step["target"])
    return name if kind == "provider" else f"{kind.title()} {name}"


def words(op: str) -> tuple[str, str]:
    """While it is done, and afterwards."""
    known = wording(op)
    return _WORDS.get(op) or (known.doing.capitalize(), known.done.capitalize())


def rehearsed(console: Console, plan: Message) -> None:
    """A plan that is not carried out: each step as if it were begun and done."""
    for step in plan.get("steps") or ():
        name, details = identity(step), str(step.get("cause") or "")
        for status, text in zip(("Working", "Done"), words(str(step["op"])), strict=True):
            line(console, dry_run=True, id=name, status=status, text=text, details=details)


class JsonProgress(QuietProgress):
    """A line a step that begins or ends, and a line each time that more of a layer has come."""

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(clock)
        self._console = console

    def show(self, message: Message) -> None:
        super().show(message)
        match message.get("type"):
            case "step":
                self._step(message)
            case "status" if not self.board.steps:
                name, text = f"Container {message.get('container')}", str(message.get("text") or "")
                line(self._console, id=name, status="Done", text=text.capitalize())
            case "layer":
                layer(self._console, message)

    def _step(self, step: Message) -> None:
        state, details = str(step.get("state")), str(step.get("text") or "")
        doing, done = words(str(step["op"]))
        status, text = _ENDED.get(state) or (
            ("Working", doing) if state == "running" else ("Done", done)
        )
        line(self._console, id=identity(step), status=status, text=text, details=details)


class JsonLayers:
    """A line each time that more of a layer has come, or has gone; see layers.LayerLines."""

    def __init__(self, console: Console, *, pushing: bool) -> None:
        self._console = console
        self._words = {"done": "Pushed", "exists": "Layer already exists"} if pushing else {}

    def show(self, message: Message) -> None:
        layer(self._console, message, self._words)

    def close(self) -> None: ...


def layer(console: Console, told: Message, words: Mapping[str, str] = {}) -> None:
    """A line about a layer of an image; `words` are others for its states."""
    state = str(told.get("state"))
    current, total = int(told.get("current") or 0), int(told.get("total") or 0)
    line(
        console,
        id=str(told.get("layer")),
        parent_id=f"Image {told.get('image')}",
        status="Done" if state in ("done", "exists", "mounted") else "Working",
        text=words.get(state) or _LAYERS.get(state, state.capitalize()),
        current=current,
        total=total,
        percent=min(current * 100 // total, 100) if total else 0,
    )


class JsonBuild(BuildProgress):
    """A line a step of a build that begins or ends, and a line for what it prints."""

    def show(self, message: Message) -> None:
        name = f"#{message.get('number') or 0}"
        match message["type"]:
            case "vertex":
                state = str(message["state"])
                ended = "" if state == "running" else f"{message['elapsed']:.1f}s"
                line(
                    self._console,
                    id=name,
                    status=_VERTICES.get(state, "Done"),
                    text=str(message["name"]),
                    details="cached" if state == "cached" else ended,
                )
            case "vertex-log":
                line(self._console, id=name, status="Working", details=message["text"])
