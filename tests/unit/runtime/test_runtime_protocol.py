"""Messages between daemon, shim and child."""

from __future__ import annotations

import os

from stackctl.runtime.shim import protocol


def test_descriptors_travel_beside_a_message() -> None:
    a, b = protocol.pair()
    reader, writer = os.pipe()
    protocol.send(a, {"message": "x"}, (writer,))
    received = protocol.receive(b)
    assert received is not None
    message, (fd,) = received
    os.write(fd, b"+")
    assert (message, os.read(reader, 1)) == ({"message": "x"}, b"+")
    for each in (fd, reader, writer):
        os.close(each)
    a.close()
    b.close()


def test_last_words_are_heard_although_ours_were_not() -> None:
    """A child that fails while `go` is on its way must not lose its reason."""
    ours, theirs = protocol.pair()
    protocol.send(theirs, {"message": "failed"})
    ours.send(b"go")
    theirs.close()
    assert protocol.receive(ours) == ({"message": "failed"}, [])
    assert protocol.receive(ours) is None
    ours.close()
