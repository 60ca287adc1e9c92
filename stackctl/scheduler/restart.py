"""Whether and when an ended container is started again. Pure; Docker's rules and figures.

Documented at docs.docker.com/engine/containers/start-containers-automatically;
the delays are those of its restart manager: 100 ms, doubled each time, at most
a minute, and from the beginning again after a run of ten seconds.
"""

from __future__ import annotations

from stackctl.model.container import RestartMode, RestartPolicy, Status
from stackctl.model.record import ContainerRecord
from stackctl.values import dataclass

FIRST_DELAY = 0.1
FACTOR = 2.0
LONGEST_DELAY = 60.0
#: A container that ran this long is taken to have worked: the delay starts anew.
SETTLED_AFTER = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended. `exit_code` None: unknown, which is taken for a failure."""

    exit_code: int | None
    #: Seconds from start to end.
    uptime: float
    stopped_by_user: bool = False


def next_restart(
    policy: RestartPolicy, ending: Ending, *, restart_count: int = 0, last_delay: float = 0.0
) -> float | None:
    """Seconds until the next start; None: it stays ended.

    `restart_count`: restarts by policy since a user started it. `last_delay`:
    what this function gave last time (0.0: never, or forgotten with a daemon).
    """
    if ending.stopped_by_user:
        return None
    match policy.mode:
        case RestartMode.NO:
            return None
        case RestartMode.ON_FAILURE:
            if ending.exit_code == 0:
                return None
            if policy.max_retries and restart_count >= policy.max_retries:
                return None
        case RestartMode.ALWAYS | RestartMode.UNLESS_STOPPED:
            pass
    if ending.uptime >= SETTLED_AFTER or last_delay <= 0:
        return FIRST_DELAY
    return min(last_delay * FACTOR, LONGEST_DELAY)


def ending_of(record: ContainerRecord) -> Ending:
    """The last run of a container whose record says that it ended."""
    return Ending(
        exit_code=record.exit_code,
        uptime=max(record.finished_at - record.started_at, 0.0),
        stopped_by_user=record.stopped_by_user,
    )


def starts_with_daemon(record: ContainerRecord, *, rebooted: bool) -> bool:
    """Whether a daemon that starts and finds the container ended starts it at once.

    `record` as saved before the daemon came; `rebooted`: its boot id is not this
    boot's, so it ended with the machine and nobody saw how.

    The daemon comes and goes by itself, so its start alone changes nothing that a
    user decided: what was stopped stays stopped. After a reboot, `always` brings
    back even what a user had stopped, which is all that tells it from
    `unless-stopped`; `on-failure` brings back what ran when the machine went down.
    """
    policy = record.config.restart
    if policy.mode is RestartMode.NO or record.status in (Status.CREATED, Status.REMOVING):
        return False
    if rebooted and policy.mode is RestartMode.ALWAYS:
        return True
    ran = record.status.needs_stop
    if rebooted and ran:
        return not record.stopped_by_user
    ending = ending_of(record)
    return next_restart(policy, ending, restart_count=record.restart_count) is not None
