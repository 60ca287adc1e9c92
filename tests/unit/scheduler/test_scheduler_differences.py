"""What has changed is named as in the stack file, and secrets are not told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from stackctl.scheduler.desired import Desired, UpPolicy
from stackctl.scheduler.differences import changes
from stackctl.scheduler.executor import execute
from stackctl.scheduler.ops import CreateContainer, CreateNetwork
from stackctl.scheduler.orphans import notices
from stackctl.scheduler.plan import up_plan
from stackctl.scheduler.show import step_json
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import service, stack

PORT = {"target": 80, "published": "8080", "protocol": "tcp"}
MOUNT = {"type": "bind", "source": "/a", "target": "/data"}


def made_of(attributes: dict[str, Any], **more: Any) -> str:
    return json.dumps({"service": attributes, "networks": {}, "volumes": {}, **more})


def told(old: str, new: str) -> list[str]:
    found = changes(old, new)
    assert found is not None
    return [str(change) for change in found]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"environment": {"A": "1"}}, {"environment": {"A": "2"}}, ['environment.A: "1" -> "2"']),
        ({"environment": {"A": "1"}}, {"environment": {}}, ['environment.A removed: "1"']),
        ({}, {"environment": {"A": "1"}}, ['environment.A added: "1"']),
        ({"tty": True}, {"user": "me"}, ["tty removed: true", 'user added: "me"']),
        ({"mem_limit": "67108864"}, {"mem_limit": "134217728"}, ["mem_limit: 64m -> 128m"]),
        ({"cpu_shares": 1024}, {"cpu_shares": 2048}, ["cpu_shares: 1024 -> 2048"]),
        (
            {"deploy": {"resources": {"limits": {"memory": "1073741824"}}}},
            {"deploy": {"resources": {"limits": {"memory": "1000"}}}},
            ["deploy.resources.limits.memory: 1g -> 1000b"],
        ),
        (
            {"command": ["a", "b"]},
            {"command": ["a", "c"]},
            ['command: ["a", "b"] -> ["a", "c"]'],
        ),
        ({"command": None}, {"command": ["a"]}, ['command: null -> ["a"]']),
        (
            {"cap_add": ["A", "B"]},
            {"cap_add": ["B", "C"]},
            ['cap_add removed: "A"', 'cap_add added: "C"'],
        ),
        ({"dns": ["1", "2"]}, {"dns": ["2", "1"]}, ['dns: ["1", "2"] -> ["2", "1"]']),
        (
            {"ports": [PORT]},
            {"ports": [{**PORT, "published": "81"}, {"target": 9}]},
            ['ports[80].published: "8080" -> "81"', 'ports[9] added: {"target": 9}'],
        ),
        (
            {"volumes": [MOUNT]},
            {"volumes": [{**MOUNT, "read_only": True}]},
            ["volumes[/data].read_only added: true"],
        ),
        ({"command": ["a", "$1$2"]}, {"command": ["b"]}, ['command: ["a", "$1$2"] -> ["b"]']),
        # A port and a user are no secrets.
        (
            {"command": ["mysqld", "-P", "1"], "user": "a"},
            {"command": ["curl", "-U"], "user": "b"},
            ['command: ["mysqld", "-P", "1"] -> ["curl", "-U"]', 'user: "a" -> "b"'],
        ),
        (
            {"labels": {"l": "x" * 100}},
            {"labels": {"l": "y\nz"}},
            [f'labels.l: "{"x" * 46}… -> "y\\nz"'],
        ),
    ],
)
def test_changes(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert told(made_of(old), made_of(new)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            {"environment": {"DB_PASSWORD": "s3cret"}},
            {"environment": {"DB_PASSWORD": "s4cret"}},
            "environment.DB_PASSWORD changed",
        ),
        (
            {"environment": {"URL": "pg://u:s3cret@db/x"}},
            {"environment": {"URL": "pg://u@db"}},
            "environment.URL changed",
        ),
        ({}, {"environment": {"PRIVATE_KEY": "s3cret"}}, "environment.PRIVATE_KEY added"),
        ({"command": ["x"]}, {"command": ["x", "--password=s3cret"]}, "command changed"),
        ({"command": ["x"]}, {"command": ["x", "--token", "s3cret"]}, "command changed"),
        ({"command": ["x"]}, {"command": ["sh", "-c", "x --token s3cret"]}, "command changed"),
        ({"command": ["x"]}, {"command": ["mysqldump", "-ps3cret", "db"]}, "command changed"),
        ({"command": ["x"]}, {"command": ["sh", "-c", "mariadb -ps3cret"]}, "command changed"),
        ({"command": ["x"]}, {"command": ["redis-cli", "-a", "s3cret"]}, "command changed"),
        ({"command": ["x"]}, {"command": ["curl", "-us3cret:x", "h"]}, "command changed"),
        (
            {},
            {"healthcheck": {"test": ["CMD", "sshpass", "-p", "s3cret"]}},
            "healthcheck.test added",
        ),
        (
            {"environment": {"DSN": "user=a pw=s3cret"}},
            {"environment": {"DSN": "user=a pw=s4cret"}},
            "environment.DSN changed",
        ),
        ({}, {"environment": {"DB_PW": "s3cret"}}, "environment.DB_PW added"),
        ({}, {"environment": {"H": "Authorization: Bearer s3cret"}}, "environment.H added"),
        ({}, {"environment": {"H": "u:$apr1$s3cret"}}, "environment.H added"),
        ({}, {"environment": {"H": f"$6$salt$s3cret{'x' * 20}"}}, "environment.H added"),
        ({}, {"environment": {"G": f"https://s3cret{'x' * 20}@h/g"}}, "environment.G added"),
        ({}, {"provider": {"options": {"api_key": "s3cret"}}}, "provider.options.api_key added"),
        (
            {},
            {"logging": {"options": {"splunk-token": "s3cret"}}},
            "logging.options.splunk-token added",
        ),
    ],
)
def test_secrets_are_not_told(old: dict[str, Any], new: dict[str, Any], expected: str) -> None:
    found = changes(made_of(old), made_of(new))
    assert found is not None
    assert [str(change) for change in found] == [expected]
    assert "cret" not in json.dumps([change.to_json() for change in found])


def test_long_text_is_looked_through_at_once() -> None:
    # A search that begins anew at each letter and runs to the end would take minutes.
    for text in ("pass" * 20_000, "://" + "a:" * 40_000, "curl " * 20_000, "-" * 80_000):
        assert told(made_of({}), made_of({"command": [text]}))


def test_names_and_contents() -> None:
    old = made_of({}, networks={"back": "p_back"}, contents={"secrets.s": "1", "configs.c": "1"})
    new = made_of({}, networks={"back": "other"}, contents={"secrets.s": "2", "configs.d": "1"})
    assert told(old, new) == [
        'networks.back.name: "p_back" -> "other"',
        "the content of configs.c removed",
        "the content of configs.d added",
        "the content of secrets.s changed",
    ]
    # What a service has no more is one change.
    item = {"configs": [{"source": "c"}]}
    assert len(told(made_of(item, contents={"configs.c": "1"}), made_of({}))) == 1
    assert changes("", new) is None


def creations(engine: MemoryEngine, desired: Desired) -> list[dict[str, Any]]:
    found = up_plan(desired, engine.observed("p"), UpPolicy())
    return [step_json(s) for s in found.steps if isinstance(s.op, CreateContainer)]


def test_where_things_are_from() -> None:
    def of(attributes: dict[str, Any], **sources: Any) -> str:
        return made_of(attributes, sources=sources)

    bind = {"d": {"driver_opts": {"device": "/a", "o": "bind,password=x"}}}
    other = {"d": {"driver_opts": {"device": "/b", "o": "bind,password=y"}}}
    expected = ['volumes.d.driver_opts.device: "/a" -> "/b"', "volumes.d.driver_opts.o changed"]
    assert told(of({}, volumes=bind), of({}, volumes=other)) == expected
    one, two = {"s": {"file": "/1"}}, {"s": {"file": "/2"}}
    assert told(of({}, secrets=one), of({}, secrets=two)) == ['secrets.s.file: "/1" -> "/2"']
    # A volume of the engine's that becomes a directory of the host's; a secret that is new.
    assert told(of({}), of({}, volumes={"d": {"driver_opts": {"device": "/a"}}})) == [
        'volumes.d.driver_opts.device added: "/a"'
    ]
    used = {"secrets": [{"source": "s"}]}
    assert told(of({}), of(used, secrets=one)) == told(of({}), of(used))
    # Older engines did not say.
    assert told(made_of({}), of({}, secrets=one)) == []


def test_a_recreation_names_what_has_changed() -> None:
    def wanted(version: str, **attributes: Any) -> Desired:
        one = service("a", version=version)
        parts = made_of(attributes) if attributes else ""
        replicas = tuple(replace(config, made_of=parts) for config in one.replicas)
        return stack(replace(one, replicas=replicas))

    engine = MemoryEngine()
    first = up_plan(wanted("1", user="x"), engine.observed("p"), UpPolicy())
    assert asyncio.run(execute(first, engine)).ok
    (step,) = creations(engine, wanted("2", user="y", init=True, tty=True))
    assert step["cause"] == ("configuration changed: init added: true; tty added: true; and 1 more")
    assert step["changes"][2] == {
        "attribute": "user",
        "how": "changed",
        "text": 'user: "x" -> "y"',
        "before": "x",
        "after": "y",
    }
    # Another hash of the same: a newer stackctl counts something in, or no more.
    assert creations(engine, wanted("2", user="x")) == []
    # Who made it kept nothing.
    assert [s["cause"] for s in creations(engine, wanted("2"))] == ["configuration changed"]


def test_what_has_changed_in_networks_and_volumes() -> None:
    def wanted(internal: bool, subnet: str, size: str, *, told: bool = True) -> Desired:
        parts = json.dumps({"internal": internal, "ipam": {"config": [{"subnet": subnet}]}})
        found = stack(service("web", networks=["back"], volumes=["data"]))
        networks = tuple(
            replace(each, config_hash=parts, made_of=parts if told else "")
            for each in found.networks
        )
        options = json.dumps({"driver_opts": {"size": size}})
        volumes = tuple(
            replace(each, config_hash=options, made_of=options) for each in found.volumes
        )
        return replace(found, networks=networks, volumes=volumes)

    def steps(desired: Desired) -> list[str]:
        plan = up_plan(desired, engine.observed("p"), UpPolicy())
        return [s.cause for s in plan.steps if isinstance(s.op, CreateNetwork)]

    engine = MemoryEngine()
    first = wanted(False, "10.1.0.0/24", "1m")
    asyncio.run(execute(up_plan(first, engine.observed("p"), UpPolicy()), engine))
    assert steps(first) == []
    after = wanted(True, "10.2.0.0/24", "2m")
    assert steps(after) == [
        "configuration changed: internal added: true; "
        'ipam.config[0].subnet: "10.1.0.0/24" -> "10.2.0.0/24"'
    ]
    (notice,) = notices(after, engine.observed("p"), UpPolicy())
    assert 'another configuration (driver_opts.size: "1m" -> "2m") and keeps it' in notice
    # What an older stackctl made does not say what it was made of.
    assert steps(wanted(True, "10.1.0.0/24", "1m", told=False)) == ["configuration changed"]
