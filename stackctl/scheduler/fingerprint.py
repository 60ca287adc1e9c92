"""What makes two plans the same plan: what they do, to what, because of what. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from stackctl.model.build import BuildRequest
from stackctl.scheduler import show
from stackctl.scheduler.ops import (
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Op,
    Plan,
    PullImage,
    RemoveContainer,
    RunInit,
    RunProvider,
    SetAside,
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
        case RunInit(config=config):
            return [config.config_hash, config.image_id]
        case BuildImage(build=build):
            return [repr(_asked(build))]
        case PullImage(build=BuildRequest() as build):
            return [repr(_asked(build))]
        case RunProvider(provider=provider):
            return [provider.type, provider.definition, *map(str, provider.options)]
        case CreateNetwork(network=network):
            return [network.config_hash]
        case CreateVolume(volume=volume):
            return [volume.config_hash]
        case StopContainer(id=container) | RemoveContainer(id=container) | SetAside(id=container):
            return [container]
        case _:
            return []


def _asked(build: BuildRequest) -> BuildRequest:
    """What a stack file says of a build: where the caller's agent listens is another matter."""
    bases = {name: _asked(base) for name, base in build.bases.items()}
    return replace(build, ssh=dict.fromkeys(build.ssh, ()), bases=bases)
