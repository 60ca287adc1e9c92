"""Restart policies: a table of endings and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stackctl.model.container import ContainerConfig, RestartMode, RestartPolicy, Status
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.restart import (
    LONGEST_DELAY,
    Ending,
    ending_of,
    next_restart,
    starts_with_daemon,
)

NO = RestartPolicy()
ALWAYS = RestartPolicy(mode=RestartMode.ALWAYS)
UNLESS = RestartPolicy(mode=RestartMode.UNLESS_STOPPED)
FAILURE = RestartPolicy(mode=RestartMode.ON_FAILURE)
TWICE = RestartPolicy(mode=RestartMode.ON_FAILURE, max_retries=2)


@pytest.mark.parametrize(
    ("policy", "code", "count", "restarts"),
    [
        (NO, 1, 0, False),
        (ALWAYS, 0, 0, True),
        (ALWAYS, 137, 99, True),
        (UNLESS, 0, 0, True),
        (FAILURE, 0, 0, False),
        (FAILURE, 1, 99, True),
        (FAILURE, None, 0, True),
        (TWICE, 1, 1, True),
        (TWICE, 1, 2, False),
    ],
)
def test_who_is_restarted(policy, code, count, restarts):
    ending = Ending(exit_code=code, uptime=1)
    assert (next_restart(policy, ending, restart_count=count) is not None) is restarts


@pytest.mark.parametrize("policy", [ALWAYS, UNLESS, FAILURE])
def test_what_the_user_stopped_stays_stopped(policy):
    assert next_restart(policy, Ending(exit_code=143, uptime=1, stopped_by_user=True)) is None


def test_the_delay_doubles_up_to_a_minute_and_is_forgotten_after_a_good_run():
    delays = [0.0]
    for _ in range(12):
        delay = next_restart(ALWAYS, Ending(exit_code=1, uptime=0.5), last_delay=delays[-1])
        assert delay is not None
        delays.append(delay)
    assert delays[1:5] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == LONGEST_DELAY
    assert next_restart(ALWAYS, Ending(exit_code=1, uptime=10), last_delay=60) == 0.1


def record(policy: RestartPolicy, **fields: object) -> ContainerRecord:
    config = ContainerConfig(name="a", image="i", image_id="", argv=("x",), restart=policy)
    base = ContainerRecord(id="1" * 64, config=config, created_at=0, started_at=1, finished_at=2)
    return replace(base, **fields)  # type: ignore[arg-type]


RAN = {"status": Status.RUNNING}
STOPPED = {"status": Status.EXITED, "exit_code": 143, "stopped_by_user": True}
DONE = {"status": Status.EXITED, "exit_code": 0}


@pytest.mark.parametrize(
    ("policy", "fields", "after_reboot", "same_boot"),
    [
        (NO, RAN, False, False),
        (ALWAYS, RAN, True, True),
        (UNLESS, RAN, True, True),
        (FAILURE, RAN, True, True),
        (ALWAYS, STOPPED, True, False),
        (UNLESS, STOPPED, False, False),
        (FAILURE, STOPPED, False, False),
        (FAILURE, DONE, False, False),
        (ALWAYS, DONE, True, True),
        (ALWAYS, {"status": Status.CREATED}, False, False),
        (UNLESS, {"status": Status.RESTARTING, "exit_code": 1}, True, True),
        (TWICE, {"status": Status.EXITED, "exit_code": 1, "restart_count": 2}, False, False),
    ],
)
def test_what_comes_back_with_the_daemon(policy, fields, after_reboot, same_boot):
    saved = record(policy, **fields)
    assert starts_with_daemon(saved, rebooted=True) is after_reboot
    assert starts_with_daemon(saved, rebooted=False) is same_boot


def test_an_ending_is_read_from_a_record():
    saved = record(ALWAYS, exit_code=3, started_at=10.0, finished_at=14.5)
    assert ending_of(saved) == Ending(exit_code=3, uptime=4.5)
