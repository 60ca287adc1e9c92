"""Graphs of names and of steps: order, closure, cycles. The only file that knows networkx.

Edges are a mapping from a name to the names it depends on. Every `up` and `down`
needs order and closure, which graphlib (0.2 ms of import) and a short walk give;
networkx (105 to 150 ms of import, no submodule is cheaper, because its __init__
loads everything) is loaded only for the questions that are asked after a
mistake or for a report: which cycles there are, and what the longest path is.
See docs/adr/0010-graphs.md. Results depend on the order of the edges given, on
nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from stackctl.errors import StackFileError
from stackctl.scheduler.ops import Plan

Edges = Mapping[str, Collection[str]]


def start_order(edges: Edges) -> tuple[str, ...]:
    """Dependencies before dependents; names that only occur as a dependency are included.

    Raises StackFileError that names every cycle.
    """
    try:
        return tuple(TopologicalSorter(edges).static_order())
    except CycleError:
        raise cycle_error(cycles(edges)) from None


def stop_order(edges: Edges) -> tuple[str, ...]:
    """Dependents before dependencies."""
    return start_order(edges)[::-1]


def dependents(edges: Edges) -> dict[str, tuple[str, ...]]:
    """The edges turned round: name -> the names that depend on it, directly."""
    turned: dict[str, list[str]] = {name: [] for name in edges}
    for name, needs in edges.items():
        for need in needs:
            turned.setdefault(need, []).append(name)
    return {name: tuple(users) for name, users in turned.items()}


def closure(edges: Edges, names: Iterable[str]) -> frozenset[str]:
    """The names and all that they depend on, directly or not. Cycles do no harm."""
    found = set(names)
    pending = list(found)
    while pending:
        for need in edges.get(pending.pop(), ()):
            if need not in found:
                found.add(need)
                pending.append(need)
    return frozenset(found)


def without_cycles(edges: Edges) -> dict[str, tuple[str, ...]]:
    """The edges without those that close a cycle.

    For `down` of what records say: an impossible order must not keep a stack alive.
    """
    kept: dict[str, tuple[str, ...]] = dict.fromkeys(edges, ())
    try:
        TopologicalSorter(edges).prepare()
    except CycleError:
        for name, needs in edges.items():
            for need in needs:
                if name not in closure(kept, [need]):
                    kept[name] = (*kept[name], need)
        return kept
    return {name: tuple(needs) for name, needs in edges.items()}


def cycles(edges: Edges) -> tuple[tuple[str, ...], ...]:
    """One cycle of every knot of names that depend on each other, each a -> b -> ... -> a.

    Not all simple cycles: there may be exponentially many.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph(
        (name, need) for name, needs in edges.items() for need in needs
    )
    place = {name: index for index, name in enumerate(edges)}
    found = []
    for knot in nx.strongly_connected_components(graph):
        inner = graph.subgraph(knot)
        if inner.number_of_edges():
            names = [name for name, _ in nx.find_cycle(inner)]
            first = names.index(min(names, key=place.__getitem__))
            found.append((*names[first:], *names[:first], names[first]))
    return tuple(sorted(found, key=lambda names: place[names[0]]))


def cycle_error(found: tuple[tuple[str, ...], ...]) -> StackFileError:
    """What is told about cycles in depends_on."""
    paths = [" -> ".join(names) for names in found]
    return StackFileError(
        f"services depend on each other in a circle: {'; '.join(paths)}",
        hint="remove one of these depends_on entries, so that something can start first",
    )


def critical_path(plan: Plan, seconds: Mapping[int, float]) -> tuple[int, ...]:
    """Numbers of the steps whose durations add up to the longest way through the plan.

    `seconds` by step number; steps that are missing took no time. This is what
    has to become faster for the whole to become faster.
    """
    import networkx as nx

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(step.number for step in plan.steps)
    for step in plan.steps:
        for before in sorted(step.after):
            graph.add_edge(before, step.number, weight=seconds.get(before, 0.0))
        # The last step's own time counts too: an edge to a node that stands for the end.
        graph.add_edge(step.number, 0, weight=seconds.get(step.number, 0.0))
    path: list[int] = nx.dag_longest_path(graph) if plan.steps else []
    return tuple(number for number in path if number)
