"""What a container is made of is what `config` shows of its service, without what is usual."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic_core import ValidationError

from stackctl.spec import usual
from stackctl.spec.dump import service_data
from stackctl.spec.hashes import config_hash, made_of, text_of
from stackctl.spec.model import Service, Stack

_NOT_HASHED = {"build", "pull_policy", "pull_refresh_after", "scale", "depends_on", "profiles"}
_NOT_HASHED |= {"develop", "x-own"}

#: By attribute, besides those below: what has something usual in it, or is nothing inside.
_WRITTEN: dict[str, list[Any]] = {
    "deploy": [
        {"resources": {"limits": {}}},
        {"resources": {"limits": {"cpus": 0, "memory": "1g"}}, "replicas": 2},
        {"restart_policy": {}},
        {"restart_policy": {"max_attempts": 0, "delay": "5s"}},
        {"x-own": {"a": float("nan"), "b": []}},
    ],
    "networks": [{"a": None, "b": {"aliases": [], "priority": 0}, "c": {"x-own": {}}}],
    "ports": [[{"target": 80, "mode": "host", "published": "0"}, {"target": 1, "name": "a"}]],
    "volumes": [
        [
            {"type": "volume", "target": "/a", "volume": {"labels": {"a": "b"}, "nocopy": False}},
            {"type": "bind", "source": "/b", "target": "/b", "bind": {"propagation": "rshared"}},
            {"type": "tmpfs", "target": "/c", "tmpfs": {"size": "1m"}, "read_only": False},
        ]
    ],
    "ulimits": [
        {"nofile": 5, "core": 0, "cpu": {"soft": 1, "hard": 1}, "as": {"soft": 1, "hard": 2}}
    ],
    "healthcheck": [{"test": ["NONE"], "interval": "90s"}, {"disable": False}, {"test": []}],
    "logging": [{"driver": "json-file", "options": {"max-size": "1m", "tag": "a"}}],
    "blkio_config": [{"weight": 20, "device_read_bps": [{"path": "/a", "rate": "1k"}]}],
    "environment": [{"B": None, "A": "", "C": "1"}],
    "pre_start": [[{"command": ["a"], "privileged": False, "user": "", "per_replica": True}]],
    "post_start": [[{"command": [], "environment": {}}]],
    "devices": [[{"source": "/dev/a", "permissions": "rwm"}]],
    "secrets": [[{"source": "a", "mode": 0o400}]],
    "provider": [{"type": "a", "options": {"a": [1, float("inf")], "b": {}}}],
    "stop_grace_period": ["10s", "1m30s"],
    "mem_swappiness": [-1, 5],
    "cpus": [0, 1, 1.5],
    "storage_opt": [{"size": float("nan")}],
    "cap_add": [["SYS_PTRACE", "NET_ADMIN"]],
    "x-own": [{"a": []}],
}
_ANYTHING: list[Any] = ["", "a", "/a", "0", "64m", "10s", "host", "no", 0, 1, True, False]
_ANYTHING += [[], ["a"], ["/run"], {}, {"a": "b"}]


def _services(name: str) -> Iterator[Service]:
    for value in _WRITTEN.get(name, ()):
        yield Service.model_validate({name: value})
    for value in _ANYTHING:
        with suppress(ValidationError):
            yield Service.model_validate({name: value})


@pytest.mark.parametrize("name", [*Service.model_fields, "x-own"])
def test_of_each_attribute_what_config_shows_makes_the_container(name: str) -> None:
    for service in _services(name):
        shown = usual.service(service_data(service))
        hashed = {k: v for k, v in shown.items() if k not in _NOT_HASHED}
        expected = {"service": hashed, "networks": {}, "volumes": {}, "sources": {}}
        assert made_of(Stack(name="p", services={"a": service}), service) == text_of(expected)


def test_a_hash_stays_what_it_is() -> None:
    """Containers of an earlier stackctl bear it: who changes it has them all made anew, or says
    why not."""
    service = Service.model_validate(
        {
            "image": "web:1",
            "command": ["serve", "--port", "80"],
            "environment": {"B": "2", "A": None},
            "ports": [{"target": 80, "published": "8080", "protocol": "tcp", "mode": "ingress"}],
            "volumes": [{"type": "bind", "source": "/src", "target": "/app", "read_only": True}],
            "networks": {"front": {"aliases": ["www"]}, "back": None},
            "healthcheck": {"test": ["CMD", "true"], "interval": "90s", "retries": 3},
            "deploy": {"resources": {"limits": {"cpus": "0.5"}}, "replicas": 2},
            "restart": "always",
            "cap_drop": ["NET_RAW", "CHOWN"],
            "ulimits": {"nofile": 1024},
            "labels": {"a": "b"},
            "stop_grace_period": "1m",
        }
    )
    stack = Stack(name="p", services={"web": service})
    assert config_hash(stack, service) == (
        "df0d1dc2d3b87cc9d897b86075989a70847d17b7bc3eec6e364f93ee5b2a50e8"
    )
