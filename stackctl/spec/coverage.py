"""What the engine makes of each attribute that a stack's files use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stackctl.errors import Place, StackFileError
from stackctl.spec.attributes import Approximated, NoEffect, Refused, Support
from stackctl.spec.nodes import Mapping, Node, Scalar, is_null, walk
from stackctl.spec.nodes import Sequence as List
from stackctl.spec.shape import Shape
from stackctl.values import dataclass

HONOURED, APPROXIMATED, NO_EFFECT, REFUSED = "honoured", "approximated", "no effect", "refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """One use of one attribute; `reason` says what is different, or why not."""

    attribute: str
    state: str
    place: Place
    reason: str = ""

    def row(self) -> dict[str, str]:
        return {
            "Attribute": self.attribute,
            "State": self.state,
            "Place": str(self.place),
            "Reason": self.reason,
        }


def examine(
    root: Node,
    mistakes: Sequence[StackFileError],
    warnings: Sequence[StackFileError],
    rules: Shape,
) -> list[Finding]:
    """Every attribute in file order; a mistake makes the attribute that it is about refused,
    a warning one that is honoured approximated."""
    wrong = {error.place: error for error in mistakes if error.place is not None}
    odd = {warning.place: warning for warning in warnings if warning.place is not None}
    findings: list[Finding] = []
    told: set[Place] = set()
    for finding, node in _uses(root, rules, ""):
        places = [finding.place, *(Place(*inner.mark) for inner in walk(node))]
        about = next((place for place in places if place in wrong), None)
        if about is not None:
            told.add(about)
            error = wrong[about]
            findings.append(replace(finding, state=REFUSED, place=about, reason=error.brief))
        elif finding.state == HONOURED and (said := [odd[p] for p in places if p in odd]):
            reason = "; ".join(dict.fromkeys(warning.brief for warning in said))
            findings.append(replace(finding, state=APPROXIMATED, reason=reason))
        else:
            findings.append(finding)
    left = [e for e in mistakes if e.place is None or e.place not in told]
    return findings + [Finding("", REFUSED, e.place or Place(""), e.brief) for e in left]


def _uses(node: Node, shape: Shape, path: str) -> Iterator[tuple[Finding, Node]]:
    """Attributes with a meaning of their own, each with its value."""
    match node:
        case Mapping() if shape.fields is not None:
            for key, value in node.entries.items():
                below = shape.fields.get(key)
                if below is None or is_null(value):
                    continue
                where = f"{path}.{key}" if path else key
                if _goes_deeper(below) and below.support is None:
                    yield from _uses(value, below, where)
                else:
                    state, reason = _state(below.support)
                    yield Finding(where, state, Place(*node.key_marks[key]), reason), value
        case Mapping() if shape.values is not None:
            for key, value in node.entries.items():
                yield from _uses(value, shape.values, f"{path}.{key}")
        case List() if shape.items is not None:
            for item in node.items:
                yield from _uses(item, shape.items, f"{path}[]")
        case Scalar() if shape.fields is not None and not is_null(node):
            # One value for all of them.
            state, reason = _state(shape.support)
            yield Finding(path, state, Place(*node.mark), reason), node
        case _:
            return


def _goes_deeper(shape: Shape) -> bool:
    inner = shape.values or shape.items or shape
    return inner.fields is not None


def _state(support: Support | None) -> tuple[str, str]:
    match support:
        case Refused(reason):
            return REFUSED, reason
        case Approximated(reason):
            return APPROXIMATED, reason
        case NoEffect(reason):
            return NO_EFFECT, reason
        case None:
            return HONOURED, ""
