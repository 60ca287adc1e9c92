"""Commands that a stack file has run inside a container at moments of its life."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from stackctl.daemon.jobs import fail_late
from stackctl.daemon.said import Lines
from stackctl.errors import Conflict, HookFailed, StackctlError
from stackctl.model.container import Hook
from stackctl.model.record import ContainerRecord
from stackctl.runtime.container import ExecRequest, Runtime

log = logging.getLogger(__name__)

#: Lines of a failed hook that its error shows, and how much of its output is looked at.
_SHOWN_LINES = 10
_KEPT_BYTES = 16384


async def run(
    runtime: Runtime, record: ContainerRecord, moment: str, hooks: Sequence[Hook]
) -> None:
    """One after the other; what they write is told to whoever is attached.

    Raises HookFailed for the first that does not end with 0, Conflict when the container has
    ended or is paused.
    """
    config = record.config
    subject = f'service "{config.service}"' if config.service else config.name
    for hook in hooks:
        try:
            code, output = await _run_one(runtime, record, hook)
        except Conflict:
            raise
        except StackctlError as error:
            raise HookFailed(
                f"{moment} hook of {subject}: {error.brief}", hint=error.hint
            ) from error
        if code != 0:
            lines = output.decode(errors="replace").splitlines()[-_SHOWN_LINES:]
            raise HookFailed(
                f"{moment} hook of {subject} ended with code {code}: {' '.join(hook.argv)}",
                hint="its last output lines are below" if lines else "",
                details=tuple(lines),
            )


async def run_before_stop(
    runtime: Runtime, record: ContainerRecord, has_ended: Callable[[], bool]
) -> None:
    """The pre_stop hooks, to their end: the grace period begins after them, as in compose.

    A failure keeps nothing from being stopped, and fails the command that stops (with compose
    what is to be stopped stays). The end of a container by itself is none of its hooks'.
    """
    try:
        await run(runtime, record, "pre_stop", record.config.pre_stop)
    except Conflict as error:
        log.info("%s: no pre_stop hook: %s", record.name, error.brief)
    except StackctlError as error:
        log.warning("%s: %s", record.name, error.brief)
        if not has_ended():
            fail_late(error)


async def _run_one(runtime: Runtime, record: ContainerRecord, hook: Hook) -> tuple[int, bytes]:
    config = record.config
    env = {entry.partition("=")[0]: entry for entry in (*config.env, *hook.env)}
    session = await runtime.exec(
        record,
        ExecRequest(
            argv=hook.argv,
            env=tuple(env.values()),
            working_dir=hook.working_dir or config.working_dir,
            user=hook.user or config.user,
            privileged=hook.privileged,
        ),
    )
    output = b""
    lines = Lines(record)
    try:
        while (piece := await session.read()) is not None:
            output = (output + piece[1])[-_KEPT_BYTES:]
            lines.take(*piece)
        lines.end()
        return await session.wait(), output
    finally:
        await session.close()
