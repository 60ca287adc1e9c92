"""What surrounds a service's containers: pre_start hooks, how they are replaced, who provides
the service in place of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from stackctl.daemon import image_defaults
from stackctl.model.container import ContainerConfig, RestartPolicy, TmpfsMount
from stackctl.model.image import Image
from stackctl.model.provider import ProviderRequest
from stackctl.scheduler.desired import InitHook, Rollout
from stackctl.spec.dump import service_data
from stackctl.spec.model import Service, Stack

ImageOf = Callable[[str], Image]

_AT_ONCE = Rollout()


def init_hooks(
    stack: Stack, name: str, service: Service, beside: ContainerConfig, image_of: ImageOf
) -> tuple[InitHook, ...]:
    """The pre_start hooks with their containers' configurations.

    Each has all that the service's container (`beside`) has, but for what the hook says
    itself, its ports and its names; the volumes it shares when it is made.
    """
    found = []
    for i, hook in enumerate(service.pre_start):
        name_of_image = hook.image or service.image or ""
        reference = stack.pins.get(name_of_image, name_of_image)
        image = image_of(reference)
        # The service's entrypoint was meant for its own image.
        own = service.entrypoint if hook.image is None else None
        entrypoint, command = image_defaults.argv(own, hook.command, image.config)
        environment = {**service.environment, **hook.environment}
        config = replace(
            beside,
            name=stack.named(name, "pre_start", i),
            image=name_of_image,
            image_id=image.id,
            entrypoint=entrypoint,
            command=command,
            argv=(*entrypoint, *command),
            env=image_defaults.environment(image.config.env, environment),
            working_dir=hook.working_dir or service.working_dir or image.config.working_dir or "/",
            user=hook.user or (image.config.user if service.user is None else service.user),
            security=replace(beside.security, privileged=True)
            if hook.privileged
            else beside.security,
            hostname="",
            labels=_labels(beside.labels, i),
            mounts=tuple(m for m in beside.mounts if isinstance(m, TmpfsMount)),
            networks=tuple(
                replace(join, aliases=(), ipv4_address="", ipv6_address="", mac_address="")
                for join in beside.networks
            ),
            ports=(),
            expose=(),
            health=None,
            restart=RestartPolicy(),
            tty=False,
            stdin_open=False,
            post_start=(),
            pre_stop=(),
            init_hooks=0,
            number=0,
            oneoff=True,
        )
        found.append(
            InitHook(config=config, reference=reference, per_replica=bool(hook.per_replica))
        )
    return tuple(found)


def _labels(labels: Mapping[str, str], index: int) -> dict[str, str]:
    prefix = "com.docker.compose."
    kept = {k: v for k, v in labels.items() if k != f"{prefix}container-number"}
    marks = {"oneoff": "True", "hook": "pre_start", "hook-index": str(index)}
    return {**kept, **{f"{prefix}{key}": value for key, value in marks.items()}}


def rollout(service: Service) -> Rollout:
    """deploy.update_config; without one all containers are replaced at once."""
    update = service.deploy.update_config if service.deploy else None
    if update is None:
        return _AT_ONCE
    return Rollout(
        start_first=update.order == "start-first",
        parallelism=1 if update.parallelism is None else update.parallelism,
        delay=update.delay or 0.0,
        goes_on=update.failure_action == "continue",
    )


def provider(stack: Stack, name: str, service: Service) -> ProviderRequest | None:
    if service.provider is None:
        return None
    options = []
    for key, value in service.provider.options.items():
        values = value if isinstance(value, list) else [value]
        options += [(key, _text(each)) for each in values]
    return ProviderRequest(
        project=stack.name,
        service=name,
        type=_at_home(stack, service.provider.type),
        options=tuple(options),
        definition=json.dumps(service_data(service)),
    )


def _at_home(stack: Stack, program: str) -> str:
    """A path starts where the stack's paths do; `down` and `stop` may be asked from elsewhere."""
    return str(Path(stack.project_dir, program)) if "/" in program else program


def _text(value: object) -> str:
    """As YAML has it: true, not True."""
    return value if isinstance(value, str) else json.dumps(value)


def with_variables(stack: Stack, provided: Mapping[str, Mapping[str, str]]) -> Stack:
    """The stack with what providers (by service) set for those that depend on them."""
    services = dict(stack.services)
    for name, service in stack.services.items():
        variables: dict[str, str | None] = {}
        for need in service.depends_on:
            variables.update(provided.get(need, {}))
        if variables:
            environment = {**service.environment, **variables}
            services[name] = service.model_copy(update={"environment": environment})
    return replace(stack, services=services)
