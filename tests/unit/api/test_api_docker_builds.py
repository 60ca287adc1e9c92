"""What a build request says in its query and its headers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from stackctl.api.docker.builds import build_request, registries, without_effect
from stackctl.api.docker.call import Call, DockerError
from stackctl.api.http import Exchange
from stackctl.daemon.docker_images import DockerImages
from stackctl.errors import UsageError
from stackctl.image.registry.credentials import Keyring
from stackctl.model.container import Ulimit


def call(config: object = None, **query: object) -> Call:
    exchange: Any = Exchange.__new__(Exchange)
    exchange.query = parse_qs(urlencode(query), keep_blank_values=True)
    text = json.dumps(config).encode()
    exchange.headers = {"x-registry-config": base64.urlsafe_b64encode(text).decode()}
    return Call(exchange, {}, (1, 51))


def test_credentials_of_every_registry_reach_the_builder(tmp_path: Path) -> None:
    said = {
        "https://index.docker.io/v1/": {"username": "hub", "password": "one"},
        "registry.example:5000": {"username": "other", "password": "two", "email": ""},
    }
    found = registries(call(said))
    images: Any = SimpleNamespace(_parts=SimpleNamespace(paths=SimpleNamespace(run=tmp_path)))
    with DockerImages._keyring(images, found) as environment:
        keyring = Keyring(environment)
        hub, other = keyring.get("docker.io"), keyring.get("registry.example:5000")
        assert hub is not None and (hub.username, hub.password) == ("hub", "one")
        assert other is not None and (other.username, other.password) == ("other", "two")
        assert keyring.get("another.example") is None
    assert list(tmp_path.iterdir()) == []
    assert registries(call(None)) == {}
    for odd in ([], "text", {"registry.example": "text"}):
        with pytest.raises(DockerError, match="X-Registry-Config"):
            registries(call(odd))


def test_what_a_build_does_not_do_is_told() -> None:
    asked = call(memory="1048576", cpushares="0", cachefrom='["a:1"]', squash="1", memswap="-1")
    told = [text.partition(" ")[0] for text in without_effect(asked)]
    assert told == ["memory", "cachefrom", "squash"]
    assert without_effect(call(cachefrom="[]", networkmode="default", shmsize="0")) == []


def test_networks_and_limits_of_a_build() -> None:
    assert [build_request(call(networkmode=n)).network for n in ("", "bridge", "none", "host")] == [
        *("default", "default", "none", "host")
    ]
    with pytest.raises(DockerError, match="networkmode"):
        build_request(call(networkmode="back"))
    limits = json.dumps([{"Name": "nofile", "Soft": 5, "Hard": 6}])
    assert build_request(call(ulimits=limits)).ulimits == (Ulimit(name="nofile", soft=5, hard=6),)
    for odd in ("{", "1", '[{"Name": "nofile"}]', "[1]"):
        with pytest.raises((DockerError, UsageError)):
            build_request(call(ulimits=odd))
