"""Health of one container as a state machine: event in, actions out. No clock, no process.

    Started        -> STARTING, probe at once
    ProbeFinished  0                    -> HEALTHY, next probe after `interval`
                   else, before the first success: next probe soon (back-off)
                   else, once `retries` failures have counted -> UNHEALTHY
    TimerFired     -> probe
    Paused/Resumed -> probes stop, and go on
    Stopped        -> nothing more, late results are ignored

Waiters need to know early, Docker's users rely on its patience; both hold:

- *Eager probes.* The first probe runs at once. Until the first success the
  next one comes after 50 ms, then half as long again each time, up to
  `interval` (during the start period up to `start_interval`, when given).
- *Patient counting.* Docker's first probe comes one interval after the start,
  and in the start period failures do not count while there has been no
  success. So a failure counts here only if its probe began after the start
  period and at least one interval after the start or after the last failure
  that counted: eager probes make nobody unhealthy sooner. A probe is timed to
  begin exactly when it may count, so it does not take longer either.

After the first success probes come every `interval`, measured from the end of
one to the begin of the next, as in Docker; each failure counts. An unhealthy
container is probed on at the interval and may become healthy again by one
success, as in Docker; nothing is killed or restarted because of health.
"""

from __future__ import annotations

from dataclasses import replace

from stackctl.model.container import Health, HealthCheck
from stackctl.values import dataclass

#: Seconds to the second probe, and the factor from one wait to the next.
FIRST_WAIT = 0.05
BACK_OFF = 1.5
#: As Docker: what `inspect` shows.
KEPT_RESULTS = 5
KEPT_OUTPUT = 4096
DEFAULT_RETRIES = 3
DEFAULT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """`exit_code` None: the probe took longer than its timeout, or could not be run.

    Times are of the clock of the events, in seconds.
    """

    started_at: float
    finished_at: float
    exit_code: int | None
    output: str = ""

    @property
    def is_success(self) -> bool:
        return self.exit_code == 0


# --- events


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The container's process runs."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A new daemon found the container running; `health` is what the records say."""

    at: float
    started_at: float
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFinished:
    """`probe` is the number that RunProbe gave."""

    probe: int
    result: ProbeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    at: float


Event = Started | Adopted | TimerFired | ProbeFinished | Paused | Resumed | Stopped


# --- actions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProbe:
    """Run the test, kill it after `timeout` seconds, tell with ProbeFinished."""

    probe: int
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTimer:
    """Send TimerFired at this time; an earlier request is void."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHealth:
    """The health changed. `result`: the probe that changed it; None at the start."""

    old: Health
    new: Health
    result: ProbeResult | None = None


Action = RunProbe | ArmTimer | ReportHealth


# --- the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """All that is known; immutable. `log` has the latest results, oldest first."""

    check: HealthCheck
    health: Health = Health.NONE
    failing_streak: int = 0
    log: tuple[ProbeResult, ...] = ()
    started_at: float = 0.0
    #: When the next failure may count, from the start or the last one that counted.
    counts_from: float = 0.0
    #: Wait after the next failure before the first success.
    wait: float = FIRST_WAIT
    #: The probe that runs; 0: none.
    probe: int = 0
    last_probe: int = 0
    #: When a timer is expected; None: none.
    timer: float | None = None
    active: bool = False


Step = tuple[HealthState, tuple[Action, ...]]


def watch(check: HealthCheck) -> HealthState:
    """The state before the container has started. Zero and less mean Docker's defaults."""
    return HealthState(
        check=replace(
            check,
            interval=check.interval if check.interval > 0 else DEFAULT_SECONDS,
            timeout=check.timeout if check.timeout > 0 else DEFAULT_SECONDS,
            retries=check.retries if check.retries > 0 else DEFAULT_RETRIES,
        )
    )


def advance(state: HealthState, event: Event) -> Step:
    """The state after an event, and what to do now, in this order."""
    if not state.check.test:
        return state, ()
    match event:
        case Started(at=at):
            return _started(state, at)
        case Adopted():
            return _adopted(state, event)
        case Stopped() | Paused():
            # What was learnt stays visible; a probe that still runs has lost its number.
            return replace(state, active=False, probe=0, timer=None), ()
        case Resumed(at=at) if not state.active:
            return _probe(replace(state, active=True, counts_from=at + state.check.interval))
        case TimerFired(at=at) if state.active and state.timer is not None:
            if at < state.timer:
                return state, (ArmTimer(at=state.timer),)
            return _probe(state)
        case ProbeFinished(probe=probe, result=result) if state.active and probe == state.probe:
            return _finished(state, result)
        case _:
            return state, ()


def _started(state: HealthState, at: float) -> Step:
    fresh = HealthState(
        check=state.check,
        health=Health.STARTING,
        started_at=at,
        counts_from=at + max(state.check.interval, state.check.start_period),
        last_probe=state.last_probe,
        active=True,
    )
    after, actions = _probe(fresh)
    return after, (ReportHealth(old=state.health, new=Health.STARTING), *actions)


def _adopted(state: HealthState, event: Adopted) -> Step:
    """Goes on with the recorded health; the streak starts anew, in the container's favour."""
    known = Health.STARTING if event.health is Health.NONE else event.health
    patience = max(event.at, event.started_at + state.check.start_period)
    taken = replace(
        state,
        health=known,
        started_at=event.started_at,
        counts_from=patience + state.check.interval if known is Health.STARTING else event.at,
        active=True,
    )
    after, actions = _probe(taken)
    if known is event.health:
        return after, actions
    return after, (ReportHealth(old=event.health, new=known), *actions)


def _probe(state: HealthState) -> Step:
    number = state.last_probe + 1
    after = replace(state, probe=number, last_probe=number, timer=None)
    return after, (RunProbe(probe=number, timeout=state.check.timeout),)


def _finished(state: HealthState, result: ProbeResult) -> Step:
    kept = replace(result, output=result.output[:KEPT_OUTPUT])
    log = (*state.log, kept)[-KEPT_RESULTS:]
    state = replace(state, probe=0, log=log)
    judged = _succeeded(state) if result.is_success else _failed(state, result)
    after = _scheduled(judged, result.finished_at, result.finished_at - result.started_at)
    assert after.timer is not None
    actions: tuple[Action, ...] = (ArmTimer(at=after.timer),)
    if after.health is not state.health:
        report = ReportHealth(old=state.health, new=after.health, result=kept)
        actions = (report, *actions)
    return after, actions


def _succeeded(state: HealthState) -> HealthState:
    return replace(state, health=Health.HEALTHY, failing_streak=0)


def _failed(state: HealthState, result: ProbeResult) -> HealthState:
    if state.health is Health.STARTING and result.started_at < state.counts_from:
        return state
    streak = state.failing_streak + 1
    return replace(
        state,
        failing_streak=streak,
        counts_from=result.finished_at + state.check.interval,
        health=Health.UNHEALTHY if streak >= state.check.retries else state.health,
    )


def _scheduled(state: HealthState, now: float, took: float) -> HealthState:
    check = state.check
    if state.health is not Health.STARTING:
        return replace(state, timer=now + check.interval)
    in_start_period = now - state.started_at < check.start_period
    cadence = check.interval
    if in_start_period and check.start_interval is not None:
        cadence = min(cadence, check.start_interval)
    # No probe that would still run when the one that may count is due, going by
    # how long the last one took: unhealthy must not be told late.
    due = max(now, state.counts_from)
    soon = now + min(state.wait, cadence)
    if soon + took > due:
        soon = due
    return replace(state, timer=soon, wait=min(state.wait * BACK_OFF, check.interval))
