"""The health machine, driven by a simulated clock and a container that is simulated, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.model.container import Health, HealthCheck
from stackctl.scheduler import health
from stackctl.scheduler.health import (
    Adopted,
    ArmTimer,
    Paused,
    ProbeFinished,
    ProbeResult,
    ReportHealth,
    Resumed,
    RunProbe,
    Started,
    Stopped,
    TimerFired,
)


@dataclass
class Simulation:
    """Runs the machine until a time; `answer(t)` is the exit code of a probe begun at t."""

    check: HealthCheck
    answer: Callable[[float], int | None]
    takes: float = 0.0
    probes: list[float] = field(default_factory=list)
    changes: list[tuple[float, Health]] = field(default_factory=list)

    def run(self, until: float, first: health.Event | None = None) -> health.HealthState:
        state = health.watch(self.check)
        events: list[tuple[float, health.Event]] = [(0.0, first or Started(at=0.0))]
        while events:
            now, event = events.pop(0)
            if now > until:
                break
            state, actions = health.advance(state, event)
            for action in actions:
                match action:
                    case RunProbe(probe=number):
                        self.probes.append(now)
                        end = now + self.takes
                        result = ProbeResult(
                            started_at=now, finished_at=end, exit_code=self.answer(now)
                        )
                        events.append((end, ProbeFinished(probe=number, result=result)))
                    case ArmTimer(at=at):
                        events = [e for e in events if not isinstance(e[1], TimerFired)]
                        events.append((at, TimerFired(at=at)))
                    case ReportHealth(new=new):
                        self.changes.append((now, new))
            events.sort(key=lambda pair: pair[0])
        return state


def docker_unhealthy(check: HealthCheck, takes: float, until: float) -> float | None:
    """When Docker calls a container unhealthy whose probes all fail (no start period)."""
    now, streak = check.interval, 0
    while now <= until:
        streak += 1
        if streak >= check.retries:
            return now + takes
        now += takes + check.interval
    return None


def test_the_first_probe_runs_at_once_and_success_is_healthy():
    simulation = Simulation(HealthCheck(test=("x",), interval=30), lambda t: 0)
    simulation.run(100)
    assert simulation.changes == [(0.0, Health.STARTING), (0.0, Health.HEALTHY)]
    assert simulation.probes == [0, 30, 60, 90]


def test_a_service_that_needs_a_second_is_known_to_be_healthy_soon_after():
    simulation = Simulation(HealthCheck(test=("x",), interval=30), lambda t: 0 if t >= 1 else 1)
    simulation.run(5)
    (_, (when, new)) = simulation.changes
    assert new is Health.HEALTHY and 1 <= when < 1.6
    assert len(simulation.probes) < 10


def test_eager_probes_do_not_use_up_the_retries():
    check = HealthCheck(test=("x",), interval=10, retries=3)
    simulation = Simulation(check, lambda t: 1)
    simulation.run(100)
    assert simulation.changes[-1] == (30, Health.UNHEALTHY)


def test_failures_in_the_start_period_do_not_count():
    check = HealthCheck(test=("x",), interval=10, retries=2, start_period=45)
    simulation = Simulation(check, lambda t: 1)
    simulation.run(100)
    assert simulation.changes[-1] == (55, Health.UNHEALTHY)


def test_start_interval_caps_the_back_off_in_the_start_period():
    check = HealthCheck(test=("x",), interval=100, start_period=50, start_interval=2)
    simulation = Simulation(check, lambda t: 1)
    simulation.run(50)
    gaps = [b - a for a, b in zip(simulation.probes, simulation.probes[1:], strict=False)]
    assert max(gaps) == 2


def test_a_healthy_container_fails_at_the_interval_and_recovers_by_one_success():
    check = HealthCheck(test=("x",), interval=10, retries=2)
    simulation = Simulation(check, lambda t: 1 if 15 <= t < 45 else 0)
    state = simulation.run(70)
    assert simulation.changes[1:] == [
        (0, Health.HEALTHY),
        (30, Health.UNHEALTHY),
        (50, Health.HEALTHY),
    ]
    assert state.failing_streak == 0


def test_a_timeout_is_a_failure():
    simulation = Simulation(HealthCheck(test=("x",), interval=1, retries=1), lambda t: None)
    simulation.run(3)
    assert simulation.changes[-1][1] is Health.UNHEALTHY


def test_nothing_happens_after_the_stop_and_late_results_are_ignored():
    state = health.watch(HealthCheck(test=("x",)))
    state, (_, probe) = health.advance(state, Started(at=0))
    assert isinstance(probe, RunProbe)
    state, actions = health.advance(state, Stopped(at=1))
    assert actions == ()
    late = ProbeResult(started_at=0, finished_at=2, exit_code=0)
    assert health.advance(state, ProbeFinished(probe=probe.probe, result=late)) == (state, ())
    assert health.advance(state, TimerFired(at=50)) == (state, ())
    again, actions = health.advance(state, Started(at=60))
    assert [type(a) for a in actions] == [ReportHealth, RunProbe]
    assert health.advance(again, ProbeFinished(probe=probe.probe, result=late)) == (again, ())


def test_a_timer_that_fires_too_early_is_armed_again():
    state = health.watch(HealthCheck(test=("x",), interval=30))
    state, _ = health.advance(state, Started(at=0))
    good = ProbeResult(started_at=0, finished_at=1, exit_code=0)
    state, _ = health.advance(state, ProbeFinished(probe=1, result=good))
    assert health.advance(state, TimerFired(at=5))[1] == (ArmTimer(at=31),)


def test_a_pause_stops_the_probes_and_keeps_the_health():
    state = health.watch(HealthCheck(test=("x",), interval=30))
    state, _ = health.advance(state, Started(at=0))
    good = ProbeResult(started_at=0, finished_at=0, exit_code=0)
    state, _ = health.advance(state, ProbeFinished(probe=1, result=good))
    state, _ = health.advance(state, Paused(at=10))
    assert health.advance(state, TimerFired(at=30))[1] == ()
    state, actions = health.advance(state, Resumed(at=100))
    assert state.health is Health.HEALTHY and isinstance(actions[0], RunProbe)


def test_a_new_daemon_goes_on_with_the_recorded_health():
    check = HealthCheck(test=("x",), interval=10, retries=1)
    simulation = Simulation(check, lambda t: 0)
    simulation.run(5, Adopted(at=0, started_at=-500, health=Health.HEALTHY))
    assert simulation.changes == [] and simulation.probes == [0]
    simulation = Simulation(check, lambda t: 1)
    simulation.run(50, Adopted(at=0, started_at=-500, health=Health.STARTING))
    assert simulation.changes == [(10, Health.UNHEALTHY)]


def test_no_test_no_probes():
    state = health.watch(HealthCheck(test=()))
    assert health.advance(state, Started(at=0)) == (state, ())


def test_only_the_latest_results_are_kept():
    simulation = Simulation(HealthCheck(test=("x",), interval=1), lambda t: 0)
    assert len(simulation.run(20).log) == health.KEPT_RESULTS


@settings(max_examples=60, deadline=None)
@given(
    interval=st.floats(0.1, 60),
    retries=st.integers(1, 5),
    takes=st.floats(0, 20),
    start_period=st.sampled_from([0.0, 5.0, 90.0]),
)
def test_nobody_is_unhealthy_sooner_than_the_retries_allow(interval, retries, takes, start_period):
    check = HealthCheck(test=("x",), interval=interval, retries=retries, start_period=start_period)
    simulation = Simulation(check, lambda t: 1, takes)
    patience = max(interval, start_period) + retries * (interval + takes) + takes
    simulation.run(patience + interval + 1)
    (when, new) = simulation.changes[-1]
    assert new is Health.UNHEALTHY
    slack = 1e-6
    assert when >= max(interval, start_period) + (retries - 1) * interval + takes * retries - slack
    assert when <= patience + slack
    if not start_period:
        docker = docker_unhealthy(check, takes, patience)
        assert docker is not None and when >= docker - slack


@settings(max_examples=60, deadline=None)
@given(answers=st.lists(st.sampled_from([0, 1, None]), min_size=1), takes=st.floats(0, 2))
def test_there_is_always_a_next_probe_and_never_two(answers, takes):
    queue = iter(answers * 50)
    check = HealthCheck(test=("x",), interval=1, retries=2)
    simulation = Simulation(check, lambda t: next(queue), takes)
    state = simulation.run(30)
    assert state.probe or state.timer is not None
    gaps = [b - a for a, b in zip(simulation.probes, simulation.probes[1:], strict=False)]
    assert all(gap >= takes - 1e-9 for gap in gaps)
