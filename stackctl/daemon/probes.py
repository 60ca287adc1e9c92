"""Runs a container's health probes: the effects of scheduler.health's machine.

One watch a container that has a health check. The machine says when to probe
and what a result means; here are the timer, the probe's process and its limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from stackctl.daemon.inspection import timestamp
from stackctl.errors import NotExecutable, StackctlError
from stackctl.model.container import Health
from stackctl.model.record import ContainerRecord
from stackctl.runtime.container import ExecRequest, Runtime
from stackctl.scheduler.health import (
    KEPT_OUTPUT,
    Adopted,
    ArmTimer,
    Event,
    HealthState,
    Paused,
    ProbeFinished,
    ProbeResult,
    ReportHealth,
    Resumed,
    RunProbe,
    Started,
    Stopped,
    TimerFired,
    advance,
    watch,
)

#: With what the output of a probe that took too long begins.
_LATE = "took longer than"

Report = Callable[[str, Health], None]


class HealthWatch:
    """The probes of one run of one container. `report(container id, health)` tells changes.

    The machine's clock is the monotonic one: a clock that is set must not make anybody ill.
    """

    def __init__(self, record: ContainerRecord, runtime: Runtime, report: Report) -> None:
        check = record.config.health
        assert check is not None
        self._record = record
        self._runtime = runtime
        self._report = report
        self._state: HealthState = watch(check)
        self._timer: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        #: When it became healthy last (Unix seconds); 0.0: never.
        self.healthy_at = 0.0

    @property
    def state(self) -> HealthState:
        return self._state

    def started(self) -> None:
        self._send(Started(at=time.monotonic()))

    def adopted(self) -> None:
        """A new daemon goes on with what the record says."""
        self._send(
            Adopted(at=time.time(), started_at=self._record.started_at, health=self._record.health)
        )

    def paused(self) -> None:
        self._send(Paused(at=time.monotonic()))
        self._cancel()

    def resumed(self) -> None:
        self._send(Resumed(at=time.monotonic()))

    def stop(self) -> None:
        self._send(Stopped(at=time.monotonic()))
        self._cancel()

    def log(self) -> list[dict[str, object]]:
        """The last probes, oldest first, in the shape of Docker's inspect."""
        # The machine's clock is monotonic; people want the time of day.
        offset = time.time() - time.monotonic()
        return [
            {
                "Start": timestamp(result.started_at + offset),
                "End": timestamp(result.finished_at + offset),
                "ExitCode": -1 if result.exit_code is None else result.exit_code,
                "Output": result.output,
            }
            for result in self._state.log
        ]

    def last_probe(self) -> str:
        """What the last probe said, in a few words."""
        if not self._state.log:
            return "no probe has finished"
        last = self._state.log[-1]
        output = last.output.strip().splitlines()
        how = f"exited with {last.exit_code}"
        if last.exit_code is None:
            how = "timed out" if last.output.startswith(_LATE) else "could not be run"
        return f"its probe {how}" + (f": {output[-1]}" if output else "")

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()

    def _send(self, event: Event) -> None:
        self._state, actions = advance(self._state, event)
        for action in actions:
            match action:
                case RunProbe():
                    self._probe = asyncio.create_task(self._run(action))
                case ArmTimer():
                    self._arm(action.at)
                case ReportHealth():
                    if action.new is Health.HEALTHY:
                        self.healthy_at = time.time()
                    self._report(self._record.id, action.new)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(at - time.monotonic(), 0.0)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, lambda: self._send(TimerFired(at=time.monotonic())))

    async def _run(self, action: RunProbe) -> None:
        began = time.monotonic()
        code, output = await self._test(action.timeout)
        result = ProbeResult(
            started_at=began, finished_at=time.monotonic(), exit_code=code, output=output
        )
        self._send(ProbeFinished(probe=action.probe, result=result))

    async def _test(self, timeout: float) -> tuple[int | None, str]:
        """Exit code (None: it took too long or could not run) and the beginning of its output."""
        config = self._record.config
        assert config.health is not None
        request = ExecRequest(argv=config.health.test, env=config.env)
        output = b""
        try:
            session = await self._runtime.exec(self._record, request)
        except NotExecutable as error:
            return error.exit_code, str(error)
        except StackctlError as error:
            return None, str(error)
        try:
            async with asyncio.timeout(timeout):
                while (piece := await session.read()) is not None:
                    output = (output + piece[1])[:KEPT_OUTPUT]
                return await session.wait(), output.decode(errors="replace")
        except TimeoutError:
            await session.kill()
            return None, f"{_LATE} {timeout:g} s\n" + output.decode(errors="replace")
        except StackctlError as error:
            return None, str(error)
        finally:
            await session.close()
