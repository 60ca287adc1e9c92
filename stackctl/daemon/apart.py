"""Work on files that users name, each in a thread of its own.

A file may be on a mount whose server has gone: its reader stays for good. In the loop's few
threads half a dozen such readers would end all other work of the engine; a thread of its own
is lost alone, and does not hold up the engine's end either. One that waits for who writes
into a pipe tells so, and ends with its caller.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from stackctl.daemon.jobs import ASIDE, EMIT, Message
from stackctl.linux import plain

_Result = TypeVar("_Result")


async def apart(work: Callable[[], _Result]) -> _Result:
    """What `work` returns or raises; it runs on when the caller no longer waits for it, but for
    what it still has to wait for itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def told(tell: Callable[[], None]) -> None:
        if not done.done():
            tell()

    def run() -> None:
        try:
            tell = partial(done.set_result, work())
        except BaseException as error:
            tell = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(told, tell)

    over = threading.Event()
    emit = EMIT.get() or ASIDE.get()

    def waits(path: str) -> None:
        message: Message = {"type": "warning", "text": plain.waiting_for(path), "place": ""}
        if emit is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(emit, message)

    context = contextvars.copy_context()
    tell = waits if emit else None
    context.run(plain.WAITING.set, plain.Waiting(tell, over.is_set))
    threading.Thread(target=context.run, args=(run,), name="apart", daemon=True).start()
    try:
        return await done
    finally:
        over.set()
