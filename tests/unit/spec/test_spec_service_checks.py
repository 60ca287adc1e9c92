"""A check runs where an attribute that it is about is given; for others it has nothing to say."""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.spec import merge, yaml
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import Mapping
from stackctl.spec.service import Service
from stackctl.spec.service_checks import CHECKS, ServiceChecks
from stackctl.spec.shape import stack_shape
from stackctl.spec.validate import validate
from stackctl.spec.written import Written

#: Check and attribute -> a service in which it finds something through that one alone.
FOUND_BY = {
    ("_dependencies", "depends_on"): "depends_on: [nobody]",
    ("_used_services", "links"): "links: [nobody]",
    ("_used_services", "volumes_from"): "volumes_from: [nobody]",
    ("_used_services", "network_mode"): "network_mode: service:nobody",
    ("_used_services", "ipc"): "ipc: service:nobody",
    ("_used_services", "pid"): "pid: service:nobody",
    ("_used_services", "uts"): "uts: service:nobody",
    ("_build_bases", "build"): "build: {context: ., additional_contexts: {x: 'service:nobody'}}",
    ("_build_file", "build"): "build: {context: ., dockerfile: D, dockerfile_inline: FROM x}",
    ("_build_platforms", "build"): "build: {platforms: [linux/386]}, platform: linux/arm",
    ("_networks", "networks"): "networks: [nowhere]",
    ("_shared_network", "network_mode"): "network_mode: host, ports: ['80']",
    ("_mounts", "volumes"): "volumes: ['nothing:/data']",
    ("_mounts", "tmpfs"): "tmpfs: /proc/self",
    ("_covered", "secrets"): "secrets: [{source: s, target: /f}, {source: s, target: /./f}]",
    ("_covered", "configs"): "configs: [{source: c, target: /f}, {source: c, target: /./f}]",
    ("_images", "volumes"): ("volumes: [{type: image, source: i, target: /i, read_only: false}]"),
    ("_used_files", "secrets"): "secrets: [nothing]",
    ("_used_files", "configs"): "configs: [nothing]",
    ("_build_secrets", "build"): "build: {context: ., secrets: [nothing]}",
    ("_health", "healthcheck"): "healthcheck: {test: [CMD]}",
    ("_watch", "develop"): "develop: {watch: [{action: sync, path: .}]}",
    ("_hooks", "pre_start"): "pre_start: [{command: []}]",
    ("_hooks", "post_start"): "post_start: [{command: []}]",
    ("_hooks", "pre_stop"): "pre_stop: [{command: []}]",
    ("_replicas", "scale"): "scale: 2, container_name: one",
    ("_replicas", "deploy"): "deploy: {replicas: 2}, container_name: one",
    ("_limits", "mem_limit"): "mem_limit: 1m",
    ("_limits", "cpu_period"): "cpus: 1, cpu_period: 50000",
    ("_limits", "cpu_quota"): "cpus: 1, cpu_quota: 50000",
    ("_limits", "memswap_limit"): "memswap_limit: 8m, mem_limit: 16m",
    ("_limits", "mem_reservation"): "mem_reservation: 32m, mem_limit: 16m",
    ("_limits", "deploy"): ("mem_limit: 16m, deploy: {resources: {reservations: {memory: 32m}}}"),
    ("_rights", "cap_add"): "cap_add: [NOTHING]",
    ("_rights", "cap_drop"): "cap_drop: [NOTHING]",
    ("_rights", "secrets"): "secrets: [{source: s, uid: '70000'}]",
    ("_rights", "configs"): "configs: [{source: c, gid: '70000'}]",
    # Two of three are needed.
    ("_rights", "network_mode"): "network_mode: service:b, ipc: service:c",
    ("_rights", "ipc"): "ipc: service:b, pid: service:c",
    ("_rights", "pid"): "pid: service:b, network_mode: service:c",
    ("_platform", "platform"): "platform: linux/s390x",
    ("_not_exactly", "deploy"): "deploy: {mode: global-job}",
    ("_not_exactly", "logging"): "logging: {options: {labels: x}}",
    ("_not_exactly", "pull_policy"): "pull_policy: refresh",
    ("_not_exactly", "pull_refresh_after"): "pull_refresh_after: 12h",
}
CHECK_OF = {check.__name__: check for _, check in CHECKS}


def told(attributes: str, checks: Any) -> list[str]:
    """Mistakes and warnings of service "a", which these checks find."""
    text = f"""
services:
  a: {{image: x, {attributes}}}
  b: {{image: x}}
  c: {{image: x}}
secrets: {{s: {{file: f}}}}
configs: {{c: {{file: f}}}}
"""
    mistakes = Mistakes()
    tree = merge.canonical(yaml.compose(text, "f")[0], stack_shape(), mistakes)
    validated = validate(tree, mistakes)
    assert validated is not None and not mistakes.errors
    file, known = validated
    assert isinstance(known, Mapping)
    service = ServiceChecks("a", file.services["a"], file, Written(known, tree), mistakes)
    service.run(checks)
    return [str(found) for found in (*mistakes.errors, *mistakes.warnings)]


@pytest.mark.parametrize(("name", "attribute"), FOUND_BY)
def test_one_attribute_is_enough(name: str, attribute: str) -> None:
    found = told(FOUND_BY[name, attribute], [({attribute}, CHECK_OF[name])])
    assert found
    assert set(found) <= set(told(FOUND_BY[name, attribute], CHECKS))


def test_nothing_is_missed_where_a_check_does_not_run() -> None:
    always = [({"image"}, check) for _, check in CHECKS]
    for attributes in ("", *FOUND_BY.values()):
        assert told(attributes, always) == told(attributes, CHECKS)


def test_the_table_is_whole() -> None:
    fields: Any = Service.model_fields
    listed = {(check.__name__, attribute) for about, check in CHECKS for attribute in about}
    assert listed == set(FOUND_BY)
    assert {attribute for _, attribute in listed} <= fields.keys()
