"""`--change` of import and commit: instructions of a Dockerfile applied to an image's config."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from stackctl.errors import DockerfileError, DockerfileErrors, UsageError
from stackctl.image.build import instructions as ins
from stackctl.image.build import settings as of_stage
from stackctl.image.build.parse import trigger
from stackctl.image.build.settings import Expander, Settings

_FILE = "--change"
_POSSIBLE = (
    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME"
    " and WORKDIR are"
)


def apply_changes(config: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A config (Docker's keys) with the instructions applied. Raises UsageError."""
    made = Settings(config=copy.deepcopy(dict(config)))
    for text in changes:
        try:
            _apply(made, text)
        except DockerfileErrors as error:
            first = error.errors[0]
            raise UsageError(f"--change {text!r}: {first.brief}", hint=first.hint) from None
        except DockerfileError as error:
            raise UsageError(f"--change {text!r}: {error.brief}", hint=error.hint) from None
    return made.config


def _apply(made: Settings, text: str) -> None:
    word, _, rest = text.strip().partition(" ")
    if word.upper() == "ONBUILD":
        trigger(rest.strip(), _FILE, 1)
        made.config["OnBuild"] = [*(made.config.get("OnBuild") or ()), rest.strip()]
        return
    expand = Expander(made, _FILE, 1, "\\")
    match trigger(text, _FILE, 1):
        case ins.Workdir(path=path):
            made.config["WorkingDir"] = of_stage.absolute(made.working_dir, expand(path))
        case ins.Arg() | ins.Copy() | ins.Run() | ins.Maintainer():
            raise UsageError(f"--change {text!r} is not possible", hint=_POSSIBLE)
        case instruction:
            of_stage.configure(made, instruction, expand)
