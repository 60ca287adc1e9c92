"""A plan in a file: what `plan --out` writes and `up --plan` carries out, or refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stackctl.errors import MachineError, UsageError

_FORMAT = "stackctl-plan-1"
#: Flags of the request that make the plan what it is.
_FLAGS = ("services", "scale", "force_recreate", "no_recreate", "no_deps", "remove_orphans", "wait")
#: What says which stack it is. Not the environment: it may hold secrets.
_PROJECT = ("files", "project_dir", "name", "profiles", "env_files", "cwd")


def write_plan(path: str, plan: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Raises MachineError."""
    found = {
        "format": _FORMAT,
        "project": plan.get("project"),
        "fingerprint": plan.get("fingerprint"),
        "request": {flag: body[flag] for flag in _FLAGS if flag in body},
        "stack": {key: body["project"][key] for key in _PROJECT},
        "steps": plan.get("steps") or [],
    }
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error


def read_plan(path: str) -> dict[str, object]:
    """What it adds to the request of `up`. Raises UsageError for a file that is no plan."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise UsageError(f"{path} is no plan", hint="stackctl plan --out FILE writes one")
    return {**found["request"], "expected": found["fingerprint"]}
