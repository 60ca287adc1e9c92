"""The resolved stack as plain data and as text, in compose's canonical shape.

What is printed loads back to the same stack: a literal $ is written $$.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

from stackctl.spec import emit
from stackctl.spec.model import Config, Network, Secret, Service, Stack, Volume
from stackctl.spec.shape import LEAF, Shape, stack_shape

# JSON may hold these as they are, YAML may not.
_NOT_YAML = "[\x7f-\x9f\ufeff\ufffe\uffff]"

_HOOKS = ("pre_start", "post_start", "pre_stop")
#: Printed as JSON also when they say nothing, as compose prints them.
_ALWAYS = ("command", "entrypoint")
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
            key: _said(_resource(network)) for key, network in sorted(stack.networks.items())
        }
    if stack.volumes:
        data["volumes"] = {key: _resource(volume) for key, volume in sorted(stack.volumes.items())}
    if stack.secrets:
        data["secrets"] = {key: _resource(secret) for key, secret in sorted(stack.secrets.items())}
    if stack.configs:
        data["configs"] = {key: _resource(config) for key, config in sorted(stack.configs.items())}
    if stack.models:
        data["models"] = {
            key: model.model_dump(exclude_defaults=True)
            for key, model in sorted(stack.models.items())
        }
    data.update(stack.extensions)
    return data


def as_text(stack: Stack, format: str = "yaml") -> str:
    """YAML or JSON text that loads back to the same stack, as compose writes either of them."""
    data = escaped(as_data(stack), stack_shape())
    if format == "json":
        for service in data["services"].values():
            service.update({key: service.get(key) for key in _ALWAYS})
        for network in data.get("networks", {}).values():
            if not network.get("external"):
                network.setdefault("ipam", {})
        data = dict(sorted(data.items()))
    return yaml_or_json(data, format)


def yaml_or_json(data: Any, format: str) -> str:
    """Plain data as text of either kind."""
    if format == "json":
        text = json.dumps(_for_json(data), indent=2, ensure_ascii=False)
        return re.sub(_NOT_YAML, lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"
    return emit.emit(data)


def _for_json(value: Any) -> Any:
    """JSON has no .nan and no .inf, which an `x-` key may hold."""
    if isinstance(value, dict):
        return {key: _for_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_json(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def service_data(service: Service) -> dict[str, Any]:
    """One service; attributes in alphabetical order, without those that say nothing."""
    written = service.model_dump(exclude_none=True)
    data = {key: value for key, value in written.items() if value not in ([], {})}
    if service.networks:
        data["networks"] = {key: value or None for key, value in written["networks"].items()}
    for key in _NESTED:
        if key in data:
            data[key] = _said(data[key])
    # Empty is not absent: it clears what the image has.
    data |= {key: value for key in _ALWAYS if (value := getattr(service, key)) is not None}
    if service.ulimits:
        data["ulimits"] = _limits(written["ulimits"])
    if service.build and service.build.ulimits:
        data["build"]["ulimits"] = _limits(written["build"]["ulimits"])
    if service.environment:
        data["environment"] = dict(sorted(service.environment.items()))
    return dict(sorted(data.items()))


def _limits(limits: dict[str, Any]) -> dict[str, Any]:
    """As compose has them: one number where one was given for both, unless it is 0."""
    return {
        name: {key: number for key, number in limit.items() if key != "single"}
        if not limit["soft"] or "single" not in limit
        else limit["soft"]
        for name, limit in limits.items()
    }


def _said(value: Any) -> Any:
    """Without what says nothing, at any depth."""
    if isinstance(value, dict):
        return {key: _said(item) for key, item in value.items() if item not in ([], {})}
    return [_said(item) for item in value] if isinstance(value, list) else value


def _resource(resource: Network | Volume | Secret | Config) -> dict[str, Any]:
    data = resource.model_dump(exclude_none=True)
    return {key: value for key, value in data.items() if value not in ([], {})}


def escaped(value: Any, shape: Shape = LEAF) -> Any:
    """The data with every $ written so that it stays one; names that are the user's in order."""
    if isinstance(value, str):
        return value.replace("$", "$$") if "$" in value else value
    if isinstance(value, dict):
        items = value.items() if shape.fields is not None else sorted(value.items())
        return {key: escaped(item, shape.below(key)) for key, item in items}
    return [escaped(item, shape.item) for item in value] if isinstance(value, list) else value
