"""How a service's image is built, and what happens while its sources change."""

from typing import Annotated, Any, Literal

from stackctl.spec import forms
from stackctl.spec.attributes import (
    Approximated,
    HostPath,
    Labels,
    NoEffect,
    Texts,
)
from stackctl.spec.fields import Attributes, Field
from stackctl.spec.mounts import ServiceFile
from stackctl.spec.process import Hook
from stackctl.spec.resources import Ulimits
from stackctl.spec.scalars import Flag, Size

Entitlement = Literal["security.insecure", "network.host"]

_NO_ATTESTATIONS = Approximated("images carry no attestations")


class Build(Attributes):
    """How the service's image is made."""

    context: HostPath | None = Field(
        None, description="Directory (or Git repository) with the files; `.` when absent."
    )
    dockerfile: str | None = Field(
        None, description="The Dockerfile, relative to the context (`Dockerfile` when absent)."
    )
    dockerfile_inline: str | None = Field(None, description="The Dockerfile's text itself.")
    target: str | None = Field(None, description="The stage that becomes the image.")
    args: Annotated[dict[str, str | None], forms.KEYED] = Field(
        default_factory=dict, description="Values of the Dockerfile's ARGs."
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the image.")
    tags: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list, description="Further names of the image."
    )
    platforms: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list, description="What it is built for; only this machine's."
    )
    additional_contexts: Annotated[dict[str, str], forms.CONTEXTS] = Field(
        default_factory=dict, description="Further directories or images, by name."
    )
    cache_from: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list, description="Where results of earlier builds are."
    )
    cache_to: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list, description="Where results are put for later builds."
    )
    no_cache: Flag | None = Field(None, description="true: everything is done anew.")
    no_cache_filter: Texts = Field(default_factory=list, description="Stages that are done anew.")
    pull: Flag | None = Field(None, description="true: base images are pulled again.")
    network: str | None = Field(None, description="Network of RUN: `default`, `none` or `host`.")
    shm_size: Size | None = Field(None, description="Size of /dev/shm for RUN.")
    extra_hosts: Annotated[list[str], forms.EXTRA_HOSTS] = Field(
        default_factory=list, description="Names and addresses that RUN knows."
    )
    secrets: Annotated[list[ServiceFile], forms.FILES] = Field(
        default_factory=list, description="Secrets that RUN may mount."
    )
    ssh: Annotated[dict[str, HostPath | None], forms.KEYED] = Field(
        default_factory=dict, description="Agents or keys that RUN may use."
    )
    ulimits: Ulimits = Field(default_factory=dict, description="Limits of the processes of RUN.")
    privileged: Flag | None = Field(None, description="true: RUN has all rights.")
    entitlements: Annotated[list[Entitlement], forms.UNIQUE] = Field(
        default_factory=list, description="Further rights that RUN may ask for."
    )
    isolation: Annotated[str | None, NoEffect("there is one way only", True)] = Field(
        None, description="`default`; the others are for Windows."
    )
    provenance: Annotated[Any, _NO_ATTESTATIONS] = Field(
        None, description="How the image was made, attested."
    )
    sbom: Annotated[Any, _NO_ATTESTATIONS] = Field(None, description="What is in it, attested.")


class WatchRule(Attributes):
    """What happens when files change."""

    path: HostPath = Field(description="File or directory that is watched.", min_length=1)
    action: Literal["sync", "rebuild", "restart", "sync+restart", "sync+exec"] = Field(
        description="`sync`, `rebuild`, `restart`, `sync+restart` or `sync+exec`."
    )
    target: str | None = Field(None, description="Where files go in the container, for sync.")
    ignore: Texts = Field(default_factory=list, description="Patterns of files that do not count.")
    include: Texts = Field(
        default_factory=list, description="Patterns of files that count; absent: all."
    )
    initial_sync: Flag | None = Field(
        None, description="true: files are brought over when watching begins."
    )
    exec: Hook | None = Field(None, description="What sync+exec runs in the container.")


class Develop(Attributes):
    """What `watch` does while sources change."""

    watch: list[WatchRule] = Field(default_factory=list, description="Rules, by path.")
