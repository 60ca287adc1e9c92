"""What runs in a service's containers: probes, hooks, variables, output."""

from typing import Annotated, Any, Literal

from stackctl.spec import forms
from stackctl.spec.attributes import MAY_BE_EMPTY, Command, Environment, HostPath
from stackctl.spec.fields import Attributes, Field
from stackctl.spec.scalars import Count, Duration, Flag


class HealthCheck(Attributes):
    """How the engine finds out whether a container does its work."""

    test: Annotated[list[str] | None, forms.HEALTH_TEST] = Field(
        None,
        description="The probe: `[CMD, program, argument...]`, `[CMD-SHELL, text]`, a text (run by "
        "the image's /bin/sh), or `[NONE]`: not even the image's probe. Exit code 0 is healthy.",
    )
    interval: Duration | None = Field(
        None, description="Time between two probes (30s when absent). The first one runs at once."
    )
    timeout: Duration | None = Field(
        None, description="A probe that takes longer has failed (30s when absent)."
    )
    retries: Count | None = Field(
        None, description="So many failures in a row make it unhealthy (3 when absent)."
    )
    start_period: Duration | None = Field(
        None, description="Failures within this time after the start do not count."
    )
    start_interval: Duration | None = Field(
        None,
        description="Time between probes during the start period. When absent the engine probes "
        "often at first and slows down towards `interval`.",
    )
    disable: Flag | None = Field(None, description="true: no probe, not even the image's.")


class Hook(Attributes):
    """A command that is run inside a container at a moment of its life."""

    command: Command = Field(description="What is run; a text is split as a shell splits it.")
    user: str | None = Field(None, description="Who runs it (the service's user when absent).")
    privileged: Flag | None = Field(None, description="true: with all rights of the container's.")
    working_dir: str | None = Field(
        None, description="Where it starts (the service's directory when absent)."
    )
    environment: Environment = Field(
        default_factory=dict, description="Variables beyond those of the service."
    )


class PreStartHook(Hook):
    """A command that runs to its end, in a container of its own, before the service starts."""

    image: str | None = Field(
        None, description="Image of that container (the service's when absent).", min_length=1
    )
    per_replica: Flag | None = Field(
        None, description="true: once for each container of the service, not once for all."
    )


class Extends(Attributes):
    """Another service whose attributes this one takes over and adds to."""

    service: str = Field(description="The other service's name.", min_length=1)
    file: HostPath | None = Field(None, description="The file it is in (this one when absent).")


class EnvFile(Attributes):
    """A file of environment variables."""

    path: HostPath = Field(description="The file, relative to the project directory.", min_length=1)
    required: Flag = Field(True, description="false: it may be missing.")
    format: Literal["raw"] | None = Field(
        None, description="raw: lines KEY=VALUE are taken literally, without quotes or variables."
    )


class Logging(Attributes):
    """Where a container's output goes."""

    driver: Annotated[str | None, MAY_BE_EMPTY] = Field(
        None, description="`json-file` (the default), `local` (the same here) or `none`."
    )
    options: Annotated[dict[str, str], forms.KEYED] = Field(
        default_factory=dict,
        description="`max-size` of a file, e.g. 10m, and `max-file`, how many are kept.",
    )


class Provider(Attributes):
    """A program outside that provides the service."""

    type: str = Field(description="The program's name, or its path.", min_length=1)
    options: dict[str, Any] = Field(default_factory=dict, description="Options that it is given.")


class ServiceModel(Attributes):
    """How a service learns about a model."""

    endpoint_var: str | None = Field(None, description="Variable that holds the model's address.")
    model_var: str | None = Field(None, description="Variable that holds the model's name.")
