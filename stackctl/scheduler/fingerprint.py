"""What makes two plans the same plan: what they do, to what, because of what. Pure."""

from __future__ import annotations

import hashlib
import json

from stackctl.scheduler import show
from stackctl.scheduler.ops import (
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Op,
    Plan,
    RemoveContainer,
    StopContainer,
)


def fingerprint(plan: Plan) -> str:
    """Equal for equal plans, made at different times: names that are drawn do not count."""
    steps = [[show.step_json(step), _details(step.op)] for step in plan.steps]
    text = json.dumps([plan.project, steps], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _details(op: Op) -> list[str]:
    """What the print of an operation leaves out, though it is another one with another."""
    match op:
        case CreateContainer(config=config, replaces=replaces):
            return [config.config_hash, config.image_id, replaces]
        case CreateNetwork(network=network):
            return [network.config_hash]
        case CreateVolume(volume=volume):
            return [volume.config_hash]
        case StopContainer(id=container) | RemoveContainer(id=container):
            return [container]
        case _:
            return []
