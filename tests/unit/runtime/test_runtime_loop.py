"""The shim's event loop."""

from __future__ import annotations

import os

from stackctl.runtime.shim.main import Loop
from stackctl.runtime.shim.streams import EPOLLIN


def test_an_event_of_a_closed_descriptor_is_not_taken_for_its_successors() -> None:
    """Two descriptors are ready at once; whose turn comes first closes the other, and opens
    a new one that gets its number: nobody may tell that one that it is ready."""
    loop = Loop()
    pipes = dict((os.pipe(), os.pipe()))
    heard: list[int] = []
    opened: list[int] = []

    def first(_events: int, *, mine: int) -> None:
        (other,) = pipes.keys() - {mine}
        heard.append(mine)
        for fd in pipes:
            loop.unwatch(fd)
        os.close(other)
        reader, writer = os.pipe()
        opened.extend((reader, writer))
        assert other in (reader, writer)
        fresh = reader if reader == other else os.dup2(reader, other)
        loop.watch(fresh, EPOLLIN, lambda _: heard.append(-1))

    for reader, writer in pipes.items():
        os.write(writer, b"x")
        loop.watch(reader, EPOLLIN, lambda events, fd=reader: first(events, mine=fd))
    try:
        assert loop.run_once(0)
        assert len(heard) == 1 and heard[0] in pipes
    finally:
        for fd in {*heard, *pipes.values(), *opened}:
            os.close(fd)


def test_a_descriptor_that_is_closed_by_an_earlier_callback_is_not_heard() -> None:
    loop = Loop()
    (one, into_one), (two, into_two) = os.pipe(), os.pipe()
    heard: list[str] = []

    def both(_events: int) -> None:
        heard.append("called")
        loop.unwatch(one)
        loop.unwatch(two)

    for reader, writer in ((one, into_one), (two, into_two)):
        os.write(writer, b"x")
        loop.watch(reader, EPOLLIN, both)
    assert loop.run_once(0)
    assert heard == ["called"]
    for fd in (one, two, into_one, into_two):
        os.close(fd)
