"""A check runs where an attribute that it is about is given; for others it has nothing to say."""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.errors import StackFileErrors
from stackctl.spec import service_checks
from stackctl.spec.service import Service

from .conftest import Project

#: By check, an attribute of a service with which it finds something.
FOUND_BY = {
    "_dependencies": "depends_on: [nobody]",
    "_used_services": "links: [nobody]",
    "_build_bases": "build: {context: ., additional_contexts: {x: 'service:nobody'}}",
    "_build_file": "build: {context: ., dockerfile: D, dockerfile_inline: FROM x}",
    "_networks": "networks: [nowhere]",
    "_shared_network": "{network_mode: host, ports: ['80']}",
    "_mounts": "volumes: ['nothing:/data']",
    "_tmpfs": "tmpfs: /proc/self",
    "_used_files": "secrets: [nothing]",
    "_health": "healthcheck: {test: [CMD]}",
    "_watch": "develop: {watch: [{action: sync, path: .}]}",
    "_hooks": "post_start: [{command: []}]",
    "_replicas": "{scale: 2, deploy: {replicas: 3}}",
    "_same_limits": "{mem_limit: 64m, deploy: {resources: {limits: {memory: 32m}}}}",
    "_least_memory": "mem_limit: 1m",
    "_rights": "cap_add: [NOTHING]",
    "_platform": "platform: linux/s390x",
    "_not_exactly": "pull_policy: refresh",
}


def stack(attributes: str) -> str:
    inner = attributes if attributes.startswith("{") else f"{{{attributes}}}"
    return f"services:\n  a:\n    image: x\n    <<: {inner}\n"


def told(project: Project, text: str) -> list[str]:
    """Mistakes and warnings alike."""
    try:
        return [str(notice) for notice in project.load(text).warnings]
    except StackFileErrors as errors:
        return [str(error) for error in errors.errors]


def told_with(patch: pytest.MonkeyPatch, checks: Any, project: Project, text: str) -> list[str]:
    with patch.context() as context:
        context.setattr(service_checks, "CHECKS", checks)
        return told(project, text)


@pytest.mark.parametrize("name", FOUND_BY)
def test_what_it_is_about_is_all_that_it_takes(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = stack(FOUND_BY[name])
    alone = [(about, check) for about, check in service_checks.CHECKS if check.__name__ == name]
    found = told_with(monkeypatch, alone, project, text)
    assert found != told_with(monkeypatch, [], project, text)
    assert set(found) <= set(told(project, text))


def test_nothing_is_missed_where_a_check_does_not_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = [(frozenset({"image"}), check) for _, check in service_checks.CHECKS]
    for attributes in ("{}", *FOUND_BY.values()):
        text = stack(attributes)
        assert told_with(monkeypatch, always, project, text) == told(project, text)


def test_the_table_is_whole() -> None:
    fields: Any = Service.model_fields
    assert [check.__name__ for _, check in service_checks.CHECKS] == list(FOUND_BY)
    for about, check in service_checks.CHECKS:
        assert about <= fields.keys(), check.__name__
