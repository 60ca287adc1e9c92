"""A project whose files were carried elsewhere is the same project, mistakes included."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import StackctlError
from stackctl.spec.files import DISK, Carried, Recorded
from stackctl.spec.loader import LoadRequest, load, project_name

FILES = {
    "stack.yaml": """\
include: [{path: more/inner.yaml}]
services:
  web:
    extends: {file: base.yaml, service: base}
    image: ${IMAGE}
    env_file: [web.env, {path: missing.env, required: false}]
    label_file: labels
    security_opt: ["seccomp:profile.json"]
""",
    "stack.override.yaml": "services: {web: {hostname: other}}\n",
    ".env": "IMAGE=from-dotenv\n",
    "base.yaml": "services: {base: {environment: {BASE: '1'}}}\n",
    "web.env": "A=${IMAGE}\n",
    "labels": "l=1\n",
    "profile.json": '{"defaultAction": "SCMP_ACT_ALLOW"}',
    "more/inner.yaml": "services: {inner: {image: i, command: '$${WORD} ${WORD}'}}\n",
    "more/.env": "WORD=inner-dotenv\n",
}


def outcome(request: LoadRequest) -> Any:
    try:
        return load(request)
    except StackctlError as error:
        return error.to_json()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stack.yaml", None),
        ("stack.yaml", FILES["stack.yaml"] + "    imagee: x\n"),
        ("base.yaml", "services: {base: {ports: [x]}}\n"),
        ("web.env", "1=2\n"),
        ("profile.json", "{"),
        ("more/inner.yaml", "services: [\n"),
        ("labels", "\xff"),
        ("stack.override.yaml", ""),
    ],
)
def test_the_same_elsewhere(tmp_path: Path, name: str, text: str | None) -> None:
    directory = tmp_path / "project"
    for each, content in {**FILES, **({name: text} if text is not None else {})}.items():
        path = directory / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="latin-1")
    recorded = Recorded(DISK)
    here = outcome(LoadRequest(cwd=str(directory), source=recorded))
    shutil.rmtree(directory)
    elsewhere = LoadRequest(cwd=str(directory), source=Carried(recorded.contents))
    assert outcome(elsewhere) == here
    if text is None:
        assert here.stack.services["web"].environment == {"BASE": "1", "A": "from-dotenv"}
        assert str(directory / "more/.env") in recorded.contents


def test_nothing_of_this_machine_is_seen(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("services: {web: {image: x}}\n")
    (tmp_path / ".env").write_text("COMPOSE_PROJECT_NAME=other\n")
    request = LoadRequest(cwd=str(tmp_path), source=Carried({}))
    with pytest.raises(StackctlError, match="no stack file"):
        load(request)
    carried = Carried({str(tmp_path / "stack.yaml"): b"name: mine\n"})
    assert project_name(replace(request, source=carried)) == "mine"
