"""The planner's front: what is wanted and what is there -> the steps in between.

Pure: no engine, no clock, no prompt. A plan holds everything that will happen,
each step with its cause; executing it and planning again gives an empty plan.
Three exceptions, all of them wishes of the stack file: `pull_policy: always`
pulls at each `up` (until UpPolicy.pulled says that this `up` did), a service that
ended is started again unless somebody waits for its completion, and a container
that the engine is about to restart is left to the engine.
"""

from __future__ import annotations

from stackctl.scheduler import resources
from stackctl.scheduler.desired import (
    Desired,
    DownPolicy,
    Observed,
    ServicePolicy,
    UpPolicy,
)
from stackctl.scheduler.down import down
from stackctl.scheduler.ops import Plan
from stackctl.scheduler.orphans import left_by_down, notices, orphans
from stackctl.scheduler.services import remove_plan, restart_plan, start_plan, stop_plan
from stackctl.scheduler.survey import survey
from stackctl.scheduler.up import up


def up_plan(desired: Desired, observed: Observed, policy: UpPolicy) -> Plan:
    """What makes `observed` as `desired`; empty when it is already.

    Raises NotFound (service, external network or volume, image that must not be
    pulled), Conflict (a network of somebody else), StackFileError (a cycle).
    """
    return up(survey(desired, observed, policy))


def pull_plan(desired: Desired, observed: Observed, policy: UpPolicy) -> Plan:
    """The pulls on whose outcome the plan of `up` depends; callers resolve images between."""
    return resources.pull_plan(survey(desired, observed, policy))


def image_plan(desired: Desired, observed: Observed, policy: UpPolicy) -> Plan:
    """What brings the images of the services that the policy names, for one-off containers."""
    return resources.image_plan(survey(desired, observed, policy), policy.services, oneoff=True)


def provider_plan(desired: Desired, observed: Observed, policy: UpPolicy) -> Plan:
    """Only the providers with which `up` begins; see resources.provider_plan."""
    return resources.provider_plan(survey(desired, observed, policy))


def down_plan(observed: Observed, policy: DownPolicy) -> Plan:
    """What takes a project, or some services of it, away."""
    return down(observed, policy)


__all__ = [
    "Desired",
    "DownPolicy",
    "Observed",
    "Plan",
    "ServicePolicy",
    "UpPolicy",
    "down_plan",
    "image_plan",
    "left_by_down",
    "notices",
    "orphans",
    "provider_plan",
    "pull_plan",
    "remove_plan",
    "restart_plan",
    "start_plan",
    "stop_plan",
    "up_plan",
]
