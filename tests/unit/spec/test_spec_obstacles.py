"""What stands in the way of containers is a mistake only of the services that are wanted."""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.errors import StackFileErrors
from stackctl.spec import loader, obstacles, shown
from stackctl.spec.model import Stack


def told(stack: Stack, *services: str) -> list[str]:
    try:
        obstacles.check(stack, services)
    except StackFileErrors as errors:
        return [error.brief for error in errors.errors]
    return []


def test_a_dependency_in_a_disabled_profile(project: Any) -> None:
    text = "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [p, q]}\n"
    stack = project.load(text).stack
    with pytest.raises(StackFileErrors) as caught:
        obstacles.check(stack)
    (error,) = caught.value.errors
    assert str(error).endswith(':2:30: service "a" depends on "b", which is disabled')
    assert error.hint == "activate a profile of it (p, q) with --profile"
    obstacles.check(project.load(text, profiles=("p",)).stack)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("80:80", "80:81", True),
        ("80:80", "127.0.0.1:80:80", True),
        ("0.0.0.0:80:80", "127.0.0.1:80:80", True),
        ("127.0.0.1:80:80", "127.0.0.2:80:80", False),
        ("80:80", "80:80/udp", False),
        ("80:80", "81:80", False),
        ("80", "80", False),
        ("0:80", "0:80", False),
        ("8000-8001:80", "8000-8001:80", False),
    ],
)
def test_two_services_publish_a_port(project: Any, one: str, other: str, clash: bool) -> None:
    text = f"""\
services:
  a: {{image: x, ports: ['{one}']}}
  b: {{image: x, ports: ['{other}']}}
  c: {{image: x, depends_on: [b]}}
"""
    stack = project.load(text).stack
    brief = 'host port 80/tcp is published by "a" and "b"'
    assert told(stack) == told(stack, "a", "c") == ([brief] if clash else [])
    assert told(stack, "a") == told(stack, "b") == told(stack, "c") == []


def test_two_services_have_one_name(project: Any) -> None:
    text = """\
services:
  a: {image: x, container_name: cc}
  b: {image: x, container_name: cc}
  c: {image: x, depends_on: [b]}
"""
    stack = project.load(text).stack
    assert told(stack) == told(stack, "a", "c") == ['services "a" and "b" are both called "cc"']
    assert told(stack, "a") == told(stack, "b") == told(stack, "c") == []


def test_one_service_publishes_a_port_twice(project: Any) -> None:
    text = "services: {a: {image: x, ports: ['80:80', '127.0.0.1:80:81']}}"
    assert told(project.load(text).stack) == ['host port 80/tcp is published by "a" and "a"']


def test_a_secret_in_a_variable_that_nobody_has_set(project: Any) -> None:
    text = """\
services:
  a: {image: x, secrets: [s]}
  b: {image: x}
secrets: {s: {environment: NOBODY}}
"""
    stack = project.load(text).stack
    assert told(stack) == told(stack, "a") == ['the variable "NOBODY" of secret "s" is not set']
    assert told(stack, "b") == []
    assert told(project.load(text, environment={"NOBODY": ""}).stack) == []


#: Something that stands in the way of `bad`, in a place of its own.
HINDRANCES = [
    ("devices: ['nvidia.com/gpu=all']", 'the device "nvidia.com/gpu=all" is not supported'),
    ("gpus: all", '"gpus" (services.bad) is not supported'),
    (
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, "
        "capabilities: [gpu]}]}}}",
        '"devices" (services.bad.deploy.resources.reservations) is not supported',
    ),
    (
        "logging: {driver: syslog, options: {syslog-address: 'udp://x'}}",
        'services.bad.logging.driver "syslog" is not supported: there are json-file, local, none',
    ),
    ("isolation: hyperv", 'isolation "hyperv" exists for Windows only'),
    ("sysctls: {vm.max_map_count: 262144}", '"vm.max_map_count" is a setting of the whole machine'),
    ("logging: {options: {max-sise: 5m}}", '"max-sise" is not an option of this driver'),
    ("logging: {options: {max-size: often}}", "services.bad.logging.options: "),
    ("logging: {driver: local, options: {max-file: '0'}}", 'max-file: "0" is not a number of'),
    ("healthcheck: {test: a, start_interval: 1s}", "start_interval means nothing without start_"),
    ("env_file: nope.env", "does not exist"),
    ("label_file: nope.labels", "does not exist"),
    ("security_opt: ['seccomp:nope.json']", "there is no file"),
    ("env_file: wrong.env", "not UTF-8"),
]


@pytest.mark.parametrize(("line", "message"), HINDRANCES)
def test_what_hinders_a_service_is_nothing_to_others(project: Any, line: str, message: str) -> None:
    project.write("wrong.env", b"A=\xff\n")
    text = f"""\
services:
  good: {{image: x}}
  user: {{image: x, depends_on: [bad]}}
  bad:
    image: x
    {line}
  off:
    image: x
    profiles: [p]
    {line}
"""
    (brief,) = project.mistakes(text)
    assert message in brief
    assert project.mistakes(text, services=("user",)) == [brief]
    (of_off,) = project.mistakes(text, services=("off",))
    assert {*project.mistakes(text, profiles=("p",))} == {brief, of_off}
    assert project.load(text, services=("good",)).stack.services.keys() == {"good", "user", "bad"}
    # Nor where no containers are made of it.
    request = project.request(files=("file0.yaml",), name="demo")
    assert loader.load(request, for_containers=False).stack.services.keys() >= {"good", "bad"}


#: Below a top-level section, how a service uses it, and why the engine cannot have it.
OF_OTHER_ENGINES = [
    (
        "networks: {n: {driver: overlay}}",
        "networks: [n]",
        '1:24: networks.n.driver "overlay" is not supported: there are bridge, macvlan, ipvlan, '
        "host, none",
    ),
    ("networks: {n: {driver: bridg}}", "networks: [n]", '[did you mean "bridge"?]'),
    (
        "networks: {n: {ipam: {driver: infoblox}}}",
        "networks: {n: {aliases: [x]}}",
        '1:31: networks.n.ipam.driver "infoblox" is not supported: there is default',
    ),
    (
        "volumes: {n: {driver: flocker, driver_opts: {size: 5}}}",
        "volumes: ['n:/x']",
        '1:23: volumes.n.driver "flocker" is not supported: there is local',
    ),
    (
        "volumes: {n: {driver_opts: {type: nfs, o: 'addr=x', device: ':/d'}}}",
        "volumes: ['n:/x']",
        "1:28: volumes.n.driver_opts: only a directory {type: none",
    ),
    ("secrets: {n: {external: true}}", "secrets: [n]", 'uses secret "n", which is external'),
    ("configs: {n: {external: true}}", "configs: [n]", 'uses config "n", which is external'),
    (
        "secrets: {n: {file: ./a, driver: vault}}",
        "secrets: [n]",
        '1:26: "driver" (secrets.n) is not supported',
    ),
]


@pytest.mark.parametrize(("section", "use", "message"), OF_OTHER_ENGINES)
def test_what_another_engine_has_is_refused_to_those_that_use_it(
    project: Any, section: str, use: str, message: str
) -> None:
    text = f"""\
{section}
services:
  good: {{image: x}}
  bad: {{image: x, profiles: [p], {use}}}
"""
    assert told(project.load(text).stack) == []
    stack = project.load(text, profiles=("p",)).stack
    (brief,) = told(stack, "bad")
    assert project.mistakes(text, services=("bad",)) == project.mistakes(text, profiles=("*",))
    assert message in project.mistakes(text, services=("bad",))[0]
    # It can be shown, and what is shown is refused as well.
    request = project.request(files=("file0.yaml",), name="demo", profiles=("p",))
    facts, warnings = shown.described(request, shown.Wish())
    assert any(w.text.startswith(f"up will refuse it: {brief}") and w.place for w in warnings)
    assert told(project.load(str(facts["text"]), services=("bad",)).stack) == [brief]
