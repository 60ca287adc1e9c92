"""Limits that contradict each other: what Docker refuses is a mistake, what it takes is none."""

from __future__ import annotations

import re
from typing import Any

import pytest

DEPLOYED = "deploy: {resources: {limits: {memory: 64m, cpus: '1'}}}"
RESERVED = "deploy: {resources: {reservations: {memory: 64m}}}"


def mistakes(project: Any, attributes: str) -> list[str]:
    found: list[str] = project.mistakes(f"services:\n  a: {{image: x, {attributes}}}\n")
    return found


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("cpus: 1, cpu_quota: 50000", '2:37: service "a" has both cpus and cpu_quota'),
        ("cpus: 1, cpu_period: 50ms", '2:38: service "a" has both cpus and cpu_period'),
        (f"cpu_quota: 5000, {DEPLOYED}", "2:28: .* has both deploy.resources.limits.cpus and"),
        ("memswap_limit: 32m", '2:32: memswap_limit of service "a" needs a limit of memory'),
        ("memswap_limit: 32m, mem_limit: 0", "2:32: memswap_limit .* needs a limit of memory"),
        ("memswap_limit: 32m, mem_limit: 64m", "2:32: .*33554432 bytes. is less than its mem_lim"),
        (
            f"memswap_limit: 32m, {DEPLOYED}",
            "2:32: memswap_limit .* is less than its deploy.resources.limits.memory",
        ),
        ("mem_reservation: 64m, mem_limit: 32m", "2:34: mem_reservation .* is more than its mem_"),
        (
            f"mem_reservation: 65m, {DEPLOYED}",
            "2:34: mem_reservation .* is more than its deploy.resources.limits.memory",
        ),
        (
            f"mem_limit: 32m, {RESERVED}",
            r"2:77: deploy.resources.reservations.memory of service .* is more than its mem_limit",
        ),
        (
            "mem_limit: 1m",
            '2:28: mem_limit of service "a" is 1048576 bytes: a container needs 6 MB',
        ),
        (
            "deploy: {resources: {limits: {memory: 1m}}}",
            '2:55: deploy.resources.limits.memory of service "a" is 1048576',
        ),
        ("mem_limit: 32m, deploy: {resources: {limits: {memory: 64m}}}", "2:28: .* two values for"),
        (
            "pids_limit: 5, deploy: {resources: {limits: {pids: 6}}}",
            "2:29: .* two values for pids_limit",
        ),
    ],
)
def test_a_contradiction_has_its_place(project: Any, attributes: str, expected: str) -> None:
    (found,) = mistakes(project, attributes)
    assert re.search(expected, found), found


@pytest.mark.parametrize(
    "attributes",
    [
        "cpus: 1, cpu_quota: -1",
        "cpus: 1, cpu_quota: 0, cpu_period: 0",
        "cpus: 0, cpu_quota: 50000, cpu_period: 100000",
        "cpus: 1, cpu_shares: 512, cpuset: '0'",
        "memswap_limit: -1",
        "memswap_limit: 0",
        "memswap_limit: -1, mem_limit: 64m",
        "memswap_limit: 64m, mem_limit: 64m",
        f"memswap_limit: 64m, {DEPLOYED}",
        "mem_swappiness: 0",
        "mem_swappiness: 10, mem_limit: 64m",
        "mem_reservation: 64m",
        "mem_reservation: 64m, mem_limit: 0",
        f"mem_reservation: 64m, {DEPLOYED}",
        RESERVED,
    ],
)
def test_what_docker_takes_is_no_mistake(project: Any, attributes: str) -> None:
    project.load(f"services:\n  a: {{image: x, {attributes}}}\n")
