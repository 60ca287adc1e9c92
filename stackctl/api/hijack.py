"""Exec and attach: the connection becomes the process's streams.

    client                                 server
      --POST, Upgrade: tcp----------------->  opens the session
      <-101 UPGRADED, X-Stackctl-Session---
      ==stdin bytes========================>  session.write ... half-close: session.close_stdin
      <=stdout/stderr======================   raw with a terminal, else framed
      <-half-close-------------------------   the process has ended its output

With `exit_frame` (our own client asks for it) there are frames even with a terminal, and
a last one of stream 3 with the exit code (i32 big endian): no second request is needed.

A frame is [stream, 0, 0, 0, length as four bytes big-endian] and the data, as in
Docker's API (ContainerAttach).
"""

from __future__ import annotations

import asyncio
import json
import struct

from stackctl.api.handlers import Session
from stackctl.api.http import ClientGone, Exchange, RawStream

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
EXIT_STREAM = 3


async def serve(exchange: Exchange, session: Session) -> None:
    """Pumps both ways until the session's output ends or the client goes. Closes the session."""
    try:
        raw = session.tty and not session.exit_frame
        stream = exchange.upgrade(
            [
                ("Content-Type", RAW if raw else MULTIPLEXED),
                ("Connection", "Upgrade"),
                ("Upgrade", "tcp"),
                ("X-Stackctl-Session", session.id),
                ("X-Stackctl-Container", session.container),
                ("X-Stackctl-Tty", "1" if session.tty else "0"),
                *(
                    [("X-Stackctl-Warnings", json.dumps(list(session.warnings)))]
                    if session.warnings
                    else []
                ),
            ]
        )
        feeding = asyncio.create_task(_feed(stream, session))
        try:
            await _empty(session, stream, raw=raw)
            if session.exit_frame:
                code = await session.wait()
                await stream.write(struct.pack(">BxxxLi", EXIT_STREAM, 4, code))
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
        await stream.finish()
    finally:
        await session.close()


async def _feed(stream: RawStream, session: Session) -> None:
    """Client to standard input, its end included."""
    try:
        while data := await stream.read():
            try:
                await session.write(data)
            except OSError:
                # The process closed its input. What the client still sends is read and
                # dropped: it must not block on us while it waits for output.
                while await stream.read():
                    pass
                return
        await session.close_stdin()
    except (ClientGone, OSError):
        return


async def _empty(session: Session, stream: RawStream, *, raw: bool) -> None:
    """Output to the client."""
    while (piece := await session.read()) is not None:
        number, data = piece
        if raw:
            await stream.write(data)
        elif data:
            await stream.write(struct.pack(">BxxxL", number, len(data)), data)
