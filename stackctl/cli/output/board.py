"""What each target of a plan is doing right now; pure, fed with the engine's messages.

A row is a container, network, volume or image; several steps (create, start,
wait) share it. Displays ask for rows, or for the milestones to print as lines.
"""

from __future__ import annotations

from stackctl.cli.output.text import one_line, replica_name, seconds
from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any, ClassVar, TypeAlias

Message: TypeAlias = "Mapping[str, Any]"


class Phase:
    """Where a row stands: one of those here. (`enum` takes as long to import as all of this.)"""

    PENDING: ClassVar[Phase]
    RUNNING: ClassVar[Phase]
    DONE: ClassVar[Phase]
    FAILED: ClassVar[Phase]
    SKIPPED: ClassVar[Phase]

    def __init__(self, name: str, *, is_final: bool = False) -> None:
        self.name = name
        self.is_final = is_final

    def __repr__(self) -> str:
        return f"Phase.{self.name}"


Phase.PENDING, Phase.RUNNING = Phase("PENDING"), Phase("RUNNING")
Phase.DONE, Phase.FAILED, Phase.SKIPPED = (
    Phase(name, is_final=True) for name in ("DONE", "FAILED", "SKIPPED")
)


class Wording(NamedTuple):
    """The words of an operation: while it runs, and when it is done."""

    doing: str
    done: str
    kind: str = ""


_WORDS = {
    "PullImage": Wording("pulling", "pulled", "image"),
    "BuildImage": Wording("building", "built", "image"),
    "CreateNetwork": Wording("creating", "created", "network"),
    "RemoveNetwork": Wording("removing", "removed", "network"),
    "CreateVolume": Wording("creating", "created", "volume"),
    "RemoveVolume": Wording("removing", "removed", "volume"),
    "CreateContainer": Wording("creating", "created"),
    "RenameContainer": Wording("renaming", "renamed"),
    "SetAside": Wording("setting aside", "set aside"),
    "StartContainer": Wording("starting", "started"),
    "WaitHealthy": Wording("waiting to be healthy", "healthy"),
    "WaitCompleted": Wording("running to its end", "completed"),
    "StopContainer": Wording("stopping", "stopped"),
    "RemoveContainer": Wording("removing", "removed"),
    "KillContainer": Wording("killing", "killed"),
    "PauseContainer": Wording("pausing", "paused"),
    "UnpauseContainer": Wording("unpausing", "unpaused"),
    "ExecCommand": Wording("executing", "executed"),
    "CopyInto": Wording("copying", "copied"),
    "CopyOut": Wording("copying", "copied"),
    "PushImage": Wording("pushing", "pushed", "image"),
    "RunInit": Wording("running", "completed"),
    "RunProvider": Wording("providing", "provided", "provider"),
    "StopProvider": Wording("stopping", "stopped", "provider"),
    "RemoveProvider": Wording("removing", "removed", "provider"),
    "Pause": Wording("waiting", "waited"),
}

#: A step that says nothing of its own when the other follows for the same target.
_PRELUDES = {
    "CreateContainer": ("StartContainer",),
    "StopContainer": ("RemoveContainer", "StartContainer"),
    "RenameContainer": ("StartContainer",),
}


def wording(op: str) -> Wording:
    """Words of an operation; those of one that this CLI does not know come from its name."""
    known = _WORDS.get(op)
    if known:
        return known
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in op).strip()
    return Wording(words, words)


def label(op: str, target: str, project: str) -> str:
    """`db-1`, `network back`, `volume data`, `image redis:7`."""
    name, kind = one_line(target), wording(op).kind
    if kind != "image":  # its name is not the project's
        name = name.removeprefix(f"{project}-").removeprefix(f"{project}_")
    return f"{kind} {name}" if kind else name


def transfer(layers: Collection[Message]) -> str:
    """`pulling 12.3 of 70.1 MB, 2 of 5 layers`: what has come of an image's layers."""
    coming = [layer for layer in layers if layer.get("state") != "exists"]
    total = sum(int(layer.get("total") or 0) for layer in coming)
    if not total:
        return "pulling"
    done = sum(int(layer.get("current") or 0) for layer in coming)
    complete = sum(layer.get("state") == "done" for layer in coming)
    if done >= total and complete < len(coming):
        return f"unpacking {megabytes(total)}, {complete} of {len(coming)} layers"
    part = megabytes(done).removesuffix(" MB")
    return f"pulling {part} of {megabytes(total)}, {complete} of {len(coming)} layers"


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


class Row:
    """A target and its state. Times are seconds on the caller's clock."""

    def __init__(self, label: str, service: str = "") -> None:
        self.label = label
        self.service = service
        self.phase = Phase.PENDING
        self.text = ""
        #: When its first step began; None before.
        self.since: float | None = None
        self.elapsed = 0.0
        #: A step of it is being carried out.
        self.busy = False
        self.unfinished: set[int] = set()


class Milestone(NamedTuple):
    """Something worth a line in a CI log."""

    label: str
    text: str
    phase: Phase


class Board:
    """Rows in the plan's order, changed by `apply`. The clock is an argument."""

    def __init__(self) -> None:
        self.project = ""
        self.rows: dict[str, Row] = {}
        self.steps: dict[int, Message] = {}
        self._finished: set[int] = set()
        #: Image -> layer -> the last message about it.
        self._layers: dict[str, dict[str, Message]] = {}
        self._spent: dict[str, float] = {}

    @property
    def finished(self) -> bool:
        """True when each step of the plan has ended somehow."""
        return len(self._finished) >= len(self.steps)

    @property
    def label_width(self) -> int:
        return max((len(row.label) for row in self.rows.values()), default=0)

    def apply(self, message: Message, now: float) -> Milestone | None:
        """Take in a plan, step or status message; others change nothing."""
        match message.get("type"):
            case "plan":
                self._plan(message)
            case "step":
                return self._step(message, now)
            case "status":
                return self._status(message)
            case "layer":
                return self._layer(message)
        return None

    def counts(self) -> tuple[int, int]:
        """Finished rows, and all rows."""
        return sum(row.phase.is_final for row in self.rows.values()), len(self.rows)

    def text(self, row: Row) -> str:
        """What the row's line says: its own words, or between two steps what it waits for."""
        if not (row.busy or row.phase.is_final):
            return self._waiting(row) or row.text or "waiting"
        return row.text

    # -- messages

    def _plan(self, message: Message) -> None:
        self.project = str(message.get("project", ""))
        for step in message.get("steps", ()):
            number = int(step["number"])
            self.steps[number] = step
            self._row(step).unfinished.add(number)

    def _row(self, step: Message) -> Row:
        kind = wording(str(step["op"])).kind
        # A network and a volume may have the same name.
        key = f"{kind}:{step['target']}"
        row = self.rows.get(key)
        if row is None:
            text = label(str(step["op"]), str(step["target"]), self.project)
            row = self.rows[key] = Row(text, str(step.get("service") or ""))
        return row

    def _step(self, step: Message, now: float) -> Milestone | None:
        row = self._row(step)
        words = wording(str(step["op"]))
        text = one_line(str(step.get("text") or ""))
        number = int(step.get("number", 0))
        if row.since is None:
            row.since = now
        match step.get("state"):
            case "running":
                row.phase, row.text, row.busy = Phase.RUNNING, text or words.doing, True
                return None
            case "done":
                return self._done(row, step, number, text or words.done)
            case "failed":
                row.phase, row.text = Phase.FAILED, f"failed: {text}" if text else "failed"
            case "skipped":
                told = row.phase, row.text
                row.phase, row.text = Phase.SKIPPED, f"skipped: {text}" if text else "skipped"
                if told == (row.phase, row.text):  # a further step, because of the same
                    self._finish(row, number)
                    return None
            case _:
                return None
        self._finish(row, number)
        return Milestone(row.label, row.text, row.phase)

    def _done(self, row: Row, step: Message, number: int, text: str) -> Milestone | None:
        self._finish(row, number)
        spent = float(step.get("elapsed") or 0) + self._spent.pop(row.label, 0.0)
        row.elapsed += float(step.get("elapsed") or 0)
        if row.phase not in (Phase.FAILED, Phase.SKIPPED):
            row.phase = Phase.RUNNING if row.unfinished else Phase.DONE
            row.text = text
        if self._is_prelude(row, str(step["op"])):
            self._spent[row.label] = spent
            return None
        if step["op"] == "WaitHealthy" and text == "running":
            return None  # it has no health check: "started" has said it
        # A text such as "healthy after 0.4 s" brings its own time.
        tail = "" if text.endswith(" s") else f" ({seconds(spent)})"
        return Milestone(row.label, text + tail, Phase.DONE)

    def _finish(self, row: Row, number: int) -> None:
        row.unfinished.discard(number)
        row.busy = False
        self._finished.add(number)

    def _is_prelude(self, row: Row, op: str) -> bool:
        followers = _PRELUDES.get(op, ())
        return any(self.steps[n]["op"] in followers for n in row.unfinished if n in self.steps)

    def _status(self, message: Message) -> Milestone | None:
        text = one_line(str(message.get("text") or message.get("state") or ""))
        row = self.rows.get(f":{message.get('container')}")
        if row is None:
            if self.steps:
                return None
            name = replica_name(
                str(message.get("container", "")), str(message.get("service", "")), self.project
            )
            return Milestone(name, text, Phase.DONE)
        if not row.phase.is_final:
            row.text, row.busy = text, True
        return None

    def _layer(self, message: Message) -> Milestone | None:
        """How far the pull of an image is; a line for a log when a layer of it has come."""
        image, layer = str(message.get("image")), str(message.get("layer"))
        row = self.rows.get(f"image:{image}")
        if row is None or row.phase is not Phase.RUNNING:
            return None
        layers = self._layers.setdefault(image, {})
        layers[layer] = message
        row.text = transfer(layers.values())
        if message.get("state") != "done":
            return None
        size = megabytes(int(message.get("total") or 0))
        return Milestone(row.label, f"layer {layer} {size}", Phase.RUNNING)

    def _waiting(self, row: Row) -> str:
        """`waiting for db-1 to be healthy`: the first thing of others that it still needs."""
        for number in sorted(row.unfinished):
            for other in self._needs(self.steps[number]):
                step = self.steps[other]
                if self._row(step) is row:
                    continue
                name = self._row(step).label
                match step["op"]:
                    case "WaitHealthy":
                        return f"waiting for {name} to be healthy"
                    case "WaitCompleted":
                        return f"waiting for {name} to complete"
                return f"waiting for {name}"
        return ""

    def _needs(self, step: Message) -> Iterable[int]:
        after = (int(n) for n in step.get("after") or ())
        return sorted(n for n in after if n not in self._finished and n in self.steps)
