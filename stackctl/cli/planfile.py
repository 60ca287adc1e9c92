"""A plan in a file: what `plan --out` writes and `up --plan` carries out, or refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, NamedTuple

from stackctl.cli.output.files import write_text
from stackctl.cli.waits import telling
from stackctl.errors import UsageError
from stackctl.linux import plain

if TYPE_CHECKING:
    from stackctl.cli.invocation import Invocation
    from stackctl.cli.output.console import Console

_FORMAT = "stackctl-plan-1"
#: Flags of the request that make the plan what it is, and what they are.
_FLAGS: dict[str, type | UnionType] = {
    "services": list,
    "scale": dict,
    "force_recreate": bool,
    "no_recreate": bool,
    "no_deps": bool,
    "remove_orphans": bool,
    "always_recreate_deps": bool,
    "renew_anon_volumes": bool,
    "renew_volumes": bool,
    "wait": bool,
    "build": bool,
    "no_build": bool,
    "no_start": bool,
    "timeout": float | int,
    "pull": str,
    "no_lock": bool,
}
#: What says which stack it is: the key in a request, and the global option. Of the
#: environment, which may hold secrets, only what does the same.
_PROJECT = {
    "files": ("files", "--file"),
    "project_dir": ("project_directory", "--project-directory"),
    "name": ("project_name", "--project-name"),
    "profiles": ("profiles", "--profile"),
    "env_files": ("env_files", "--env-file"),
}
_VARIABLES = frozenset(
    prefix + name
    for prefix in ("STACKCTL_", "COMPOSE_")
    for name in (
        *("FILE", "PATH_SEPARATOR", "PROJECT_NAME", "PROFILES", "ENV_FILES", "DISABLE_ENV_FILE"),
        *("COMPATIBILITY", "REMOVE_ORPHANS", "IGNORE_ORPHANS"),
    )
)


def write_plan(path: str, plan: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Only its owner can read it: it says what changes, and not every secret looks like one.

    Raises MachineError.
    """
    project = body["project"]
    variables = {k: v for k, v in project["environment"].items() if k in _VARIABLES}
    found = {
        "format": _FORMAT,
        "project": plan.get("project"),
        "fingerprint": plan.get("fingerprint"),
        "request": {flag: body[flag] for flag in _FLAGS if body.get(flag) is not None},
        "stack": {**{key: project[key] for key in (*_PROJECT, "cwd")}, "variables": variables},
        "steps": plan.get("steps") or [],
    }
    write_text(path, json.dumps(found, indent=2) + "\n", private=True)


class Planned(NamedTuple):
    """What a file says: the flags of the request with the plan that is expected, and the stack."""

    request: dict[str, Any]
    stack: dict[str, Any]

    def adopt(self, run: Invocation) -> None:
        """The command is about the plan's stack. Raises UsageError for one about another."""
        for key, (name, option) in _PROJECT.items():
            given, planned = getattr(run, name), self.stack.get(key) or type(getattr(run, name))()
            if given and list(given) != list(planned):
                raise UsageError(
                    f"{option} is not what the plan was made with",
                    hint="the plan knows its stack: leave the option out",
                )
            setattr(run, name, planned)

    def complete(self, body: dict[str, Any]) -> None:
        """Adds to the request of `up` what the plan knows."""
        body.update(self.request)
        project = body["project"]
        project["cwd"] = self.stack["cwd"]
        if "variables" in self.stack:  # an older stackctl wrote none
            others = {k: v for k, v in project["environment"].items() if k not in _VARIABLES}
            project["environment"] = {**others, **self.stack["variables"]}


def read_plan(path: str, console: Console) -> Planned:
    """Raises UsageError for a file that is no plan."""
    try:
        with telling(console):
            found = json.loads(b"".join(plain.pieces(path)))
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    planned = _checked(found) if isinstance(found, dict) else None
    if planned is None:
        raise UsageError(f"{path} is no plan", hint="stackctl plan --out FILE writes one")
    return planned


def _checked(found: dict[str, Any]) -> Planned | None:
    request, stack = found.get("request"), found.get("stack")
    fingerprint = found.get("fingerprint")
    if found.get("format") != _FORMAT or not isinstance(fingerprint, str):
        return None
    if not isinstance(request, dict) or not isinstance(stack, dict):
        return None
    variables = stack.get("variables", {})
    right = (
        isinstance(stack.get("cwd"), str)
        and isinstance(variables, dict)
        and all(k in _VARIABLES and isinstance(v, str) for k, v in variables.items())
        and all(isinstance(request[flag], _FLAGS.get(flag, ())) for flag in request)
        and all(isinstance(name, str) for name in request.get("services", ()))
        and all(type(count) is int for count in request.get("scale", {}).values())
    )
    return Planned({**request, "expected": fingerprint}, stack) if right else None
