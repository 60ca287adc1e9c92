"""The resolved stack as plain data and as text, in compose's canonical shape.

What is printed loads back to the same stack: a literal $ is written $$.
"""

from __future__ import annotations

import json
import re
from typing import Any

from stackctl.spec import emit
from stackctl.spec.model import Service, Stack
from stackctl.spec.plain import CLEARING, finite, given, said, without_empty
from stackctl.spec.shape import LEAF, Shape, stack_shape

# JSON may hold these as they are, YAML may not.
_NOT_YAML = "[\x7f-\x9f\ufeff\ufffe\uffff]"

_HOOKS = ("pre_start", "post_start", "pre_stop")
#: Parts with lists and mappings of their own, which say nothing when they are empty.
_NESTED = ("build", "deploy", "develop", "logging", "blkio_config", *_HOOKS)


def as_data(stack: Stack) -> dict[str, Any]:
    """Dicts, lists and scalars; enabled services only."""
    data: dict[str, Any] = {"name": stack.name}
    data["services"] = {
        name: service_data(service) for name, service in sorted(stack.services.items())
    }
    if stack.networks:
        data["networks"] = {
            key: only_said(said(network)) for key, network in sorted(stack.networks.items())
        }
    if stack.volumes:
        data["volumes"] = {key: said(volume) for key, volume in sorted(stack.volumes.items())}
    if stack.secrets:
        data["secrets"] = {key: said(secret) for key, secret in sorted(stack.secrets.items())}
    if stack.configs:
        data["configs"] = {key: said(config) for key, config in sorted(stack.configs.items())}
    if stack.models:
        data["models"] = {
            # Of `x-` keys also those that are empty.
            key: {**said(model, but=model.model_extra), **finite(model.model_extra)}
            for key, model in sorted(stack.models.items())
        }
    data.update(stack.extensions)
    return data


def as_text(stack: Stack, format: str = "yaml") -> str:
    """YAML or JSON text that loads back to the same stack, as compose writes either of them."""
    data = escaped(as_data(stack), stack_shape())
    if format == "json":
        for service in data["services"].values():
            service.update({key: service.get(key) for key in CLEARING})
        for network in data.get("networks", {}).values():
            if not network.get("external"):
                network.setdefault("ipam", {})
        data = dict(sorted(data.items()))
    return yaml_or_json(data, format)


def yaml_or_json(data: Any, format: str) -> str:
    """Plain data as text of either kind."""
    if format == "json":
        text = json.dumps(finite(data), indent=2, ensure_ascii=False)
        return re.sub(_NOT_YAML, lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"
    return emit.emit(data)


def service_data(service: Service) -> dict[str, Any]:
    """One service; attributes in alphabetical order, without those that say nothing."""
    data = given(service)
    if "networks" in data:
        data["networks"] = {key: value or None for key, value in data["networks"].items()}
    for key in _NESTED:
        if key in data:
            data[key] = only_said(data[key])
    for key in CLEARING:
        if (value := getattr(service, key)) is not None:
            data[key] = value
    for holder in (data, data.get("build", {})):
        if "ulimits" in holder:
            holder["ulimits"] = _limits(holder["ulimits"])
    if "environment" in data:
        data["environment"] = dict(sorted(data["environment"].items()))
    return dict(sorted(data.items()))


def _limits(limits: dict[str, Any]) -> dict[str, Any]:
    """As compose has them: one number where one was given for both, unless it is 0."""
    return {
        name: {key: number for key, number in limit.items() if key != "single"}
        if not limit["soft"] or "single" not in limit
        else limit["soft"]
        for name, limit in limits.items()
    }


def only_said(value: Any) -> Any:
    """Without what says nothing, at any depth."""
    if isinstance(value, dict):
        return without_empty({key: only_said(item) for key, item in value.items()})
    return [only_said(item) for item in value] if isinstance(value, list) else value


def escaped(value: Any, shape: Shape = LEAF) -> Any:
    """The data with every $ written so that it stays one; names that are the user's in order."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(item, shape.item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key in value if shape.fields is not None else sorted(value):
        item = value[key]
        # Most of them are texts, which need no call of their own.
        is_text = isinstance(item, str)
        found[key] = item.replace("$", "$$") if is_text else escaped(item, shape.below(key))
    return found
