"""Circles of a graph of names. Pure; knows nothing of services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def circles(graph: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Circles of a graph, each closed (first name again at the end); every one that a
    depth-first walk meets, so that a graph without any yields nothing."""
    finished: set[str] = set()
    for start in graph:
        if start in finished:
            continue
        trail: dict[str, Iterator[str]] = {start: iter(graph[start])}
        while trail:
            name, edges = next(reversed(trail.items()))
            other = next(edges, None)
            if other is None:
                finished.add(name)
                del trail[name]
            elif other in trail:
                names = list(trail)
                yield [*names[names.index(other) :], other]
            elif other not in finished:
                trail[other] = iter(graph[other])
