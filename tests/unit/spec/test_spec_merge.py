"""Merging documents, on a table of (base, override, expected) in compose's rules."""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.spec import yaml
from stackctl.spec.merge import canonical, cleaned, merge
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import Node, plain
from stackctl.spec.shape import stack_shape

SHAPE = stack_shape()


def tree(text: str, name: str, mistakes: Mistakes) -> Node:
    return canonical(yaml.compose(text, name)[0], SHAPE, mistakes)


def merged(*texts: str) -> tuple[Any, list[str]]:
    mistakes = Mistakes()
    first, *rest = [tree(text, f"f{i}", mistakes) for i, text in enumerate(texts)]
    result = cleaned(first)
    for other in rest:
        result = merge(result, other, SHAPE, mistakes)
    return plain(result), [f"{e} [{e.hint}]" for e in mistakes.errors]


def web(*lines: str) -> Any:
    """Merges one attribute line of service `web` after the other; gives the service."""
    found, errors = merged(*(f"services: {{web: {{{line}}}}}" for line in lines))
    assert errors == []
    return found["services"]["web"]


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ("image: a", "image: b", {"image": "b"}),
        ("image: a", "tty: true", {"image": "a", "tty": True}),
        ("image: a", "image: ", {"image": None}),
        ("command: a b", "command: [c]", {"command": ["c"]}),
        ("command: [a]", "command: c 'd e'", {"command": ["c", "d e"]}),
        ("command: [a]", "command: null", {"command": None}),
        ("entrypoint: [a, b]", "entrypoint: c", {"entrypoint": ["c"]}),
        (
            "healthcheck: {test: [CMD, a], interval: 1s}",
            "healthcheck: {test: b, retries: 2}",
            {"healthcheck": {"test": ["CMD-SHELL", "b"], "interval": "1s", "retries": 2}},
        ),
        (
            "environment: {A: 1, B: 2}",
            "environment: [B=3, C]",
            {"environment": {"A": "1", "B": "3", "C": None}},
        ),
        (
            "environment: [A=1, A=2]",
            "environment: {A: true}",
            {"environment": {"A": "true"}},
        ),
        ("environment: {A: 1}", "environment: [A]", {"environment": {"A": None}}),
        ("labels: [a=1]", "labels: {b: 2}", {"labels": {"a": "1", "b": "2"}}),
        ("expose: [80]", "expose: ['81', '80']", {"expose": ["80", "81"]}),
        ("tmpfs: /run", "tmpfs: ['/run:size=1m', /tmp]", {"tmpfs": ["/run:size=1m", "/tmp"]}),
        ("cap_add: [A]", "cap_add: [B, A]", {"cap_add": ["A", "B"]}),
        ("profiles: [a]", "profiles: [b]", {"profiles": ["a", "b"]}),
        (
            "env_file: a",
            "env_file: [b, {path: a, required: false}]",
            {"env_file": [{"path": "a", "required": False}, {"path": "b", "required": True}]},
        ),
        (
            "depends_on: [a, b]",
            "depends_on: {a: {condition: service_healthy}}",
            {
                "depends_on": {
                    "a": {"condition": "service_healthy", "required": True},
                    "b": {"condition": "service_started", "required": True},
                }
            },
        ),
        (
            "networks: [a]",
            "networks: {b: {aliases: [x]}}",
            {"networks": {"a": None, "b": {"aliases": ["x"]}}},
        ),
        (
            "networks: {a: {aliases: [x]}}",
            "networks: [a, b]",
            {"networks": {"a": {"aliases": ["x"]}, "b": None}},
        ),
        (
            "networks: {a: {aliases: [x, y]}}",
            "networks: {a: {aliases: [y, z]}}",
            {"networks": {"a": {"aliases": ["x", "y", "z"]}}},
        ),
        (
            "deploy: {replicas: 1, resources: {limits: {memory: 1m}}}",
            "deploy: {resources: {limits: {cpus: 1}}}",
            {"deploy": {"replicas": 1, "resources": {"limits": {"memory": "1m", "cpus": 1}}}},
        ),
        ("x-a: {b: [1]}", "x-a: {c: 1}", {"x-a": {"c": 1}}),
        # Nothing below a key takes nothing away.
        ("environment: {A: 1}", "environment: ", {"environment": {"A": "1"}}),
        # Tags.
        ("ports: ['80']", "ports: !reset []", {}),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", {"environment": {"B": "2"}}),
        ("cap_add: [A]", "cap_add: !override [B]", {"cap_add": ["B"]}),
        ("environment: {A: 1}", "environment: !override {B: 2}", {"environment": {"B": "2"}}),
        ("command: a", "command: !reset null", {}),
        ("image: a", "labels: !reset {a: b}", {"image": "a"}),
    ],
)
def test_attributes(base: str, over: str, expected: Any) -> None:
    assert web(base, over) == expected


def test_ports_are_one_when_address_target_published_and_protocol_agree() -> None:
    found = web(
        "ports: ['8080:80', '53:53/udp']",
        "ports: [{target: 80, published: 8080, name: http}, '0.0.0.0:8080:80', '9090:80']",
    )
    assert [(p["target"], p.get("published"), p.get("host_ip")) for p in found["ports"]] == [
        (80, "8080", "0.0.0.0"),
        (53, "53", None),
        (80, "9090", None),
    ]


def test_mounts_are_one_when_their_targets_agree() -> None:
    found = web("volumes: ['a:/x', 'b:/y']", "volumes: ['./c:/x/:ro', {type: tmpfs, target: /z}]")
    assert [(v["type"], v.get("source"), v["target"]) for v in found["volumes"]] == [
        ("bind", "./c", "/x/"),
        ("volume", "b", "/y"),
        ("tmpfs", None, "/z"),
    ]


def test_top_level_sections_merge() -> None:
    found, errors = merged(
        "services: {a: {image: x}}\nnetworks: {n: }\nvolumes: {v: {labels: [a=1]}}",
        "name: p\nservices: {b: {image: y}}\nnetworks: {n: {internal: true}}\n"
        "volumes: {v: {labels: {b: 2}}, w: {external: {name: old}}}",
    )
    assert errors == []
    assert found == {
        "name": "p",
        "services": {"a": {"image": "x"}, "b": {"image": "y"}},
        "networks": {"n": {"internal": True}},
        "volumes": {"v": {"labels": {"a": "1", "b": "2"}}, "w": {"external": True, "name": "old"}},
    }


def test_pools_are_one_when_their_subnets_agree() -> None:
    found, _ = merged(
        "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.2.0.0/24}]}}}",
        "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.9}]}}}",
    )
    assert found["networks"]["n"]["ipam"]["config"] == [
        {"subnet": "10.1.0.0/24", "gateway": "10.1.0.9"},
        {"subnet": "10.2.0.0/24"},
    ]


def test_tags_in_a_single_file_drop_and_keep() -> None:
    found, _ = merged("services: {web: {image: a, ports: !reset ['80'], tty: !override true}}")
    assert found == {"services": {"web": {"image": "a", "tty": True}}}


def test_different_kinds_do_not_merge() -> None:
    found, errors = merged("services: {web: {deploy: {}}}", "services: {web: {deploy: [1]}}")
    assert found == {"services": {"web": {"deploy": {}}}}
    assert errors == [
        "f1:1:26: a list cannot be merged with a mapping "
        "[the other one is at f0:1:26; !override replaces it]"
    ]


def test_merging_keeps_the_places_of_both_files() -> None:
    mistakes = Mistakes()
    base = tree("services:\n  web:\n    image: a\n    tty: 1\n", "base", mistakes)
    over = tree("services:\n  web:\n    tty: 2\n", "over", mistakes)
    from stackctl.spec.nodes import mark_at

    root = merge(base, over, SHAPE, mistakes)
    assert mark_at(root, ("services", "web", "image")) == ("base", 3, 12)
    assert mark_at(root, ("services", "web", "tty")) == ("over", 3, 10)
