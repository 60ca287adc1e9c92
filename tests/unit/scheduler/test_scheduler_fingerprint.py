"""What makes a plan another one, though its steps read the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stackctl.errors import Place
from stackctl.model.build import BuildRequest
from stackctl.model.provider import ProviderRequest
from stackctl.scheduler.fingerprint import fingerprint
from stackctl.scheduler.ops import (
    BuildImage,
    CreateContainer,
    Op,
    Plan,
    PullImage,
    RunInit,
    RunProvider,
    Step,
)
from stackctl.testing.stacks import service

BASE = BuildRequest(context="/base")
BUILD = BuildRequest(
    context="/c",
    text=b"FROM x",
    arguments={"A": "1"},
    secrets={"s": b"secret"},
    ssh={"default": ("/agent",)},
    bases={"b": BASE},
)
PROVIDER = ProviderRequest(
    project="p", service="s", type="t", options=(("size", "small"),), definition="{}"
)
CONFIG = service("a").replicas[0]


def of(op: Op) -> str:
    step = Step(number=1, op=op, cause="not found")
    return fingerprint(Plan(project="p", steps=(step,)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BuildImage(reference="i", build=BUILD), {"build": replace(BUILD, text=b"FROM y")}),
        (BuildImage(reference="i", build=BUILD), {"build": replace(BUILD, arguments={"A": "2"})}),
        (BuildImage(reference="i", build=BUILD), {"build": replace(BUILD, ssh={})}),
        (
            BuildImage(reference="i", build=BUILD),
            {"build": replace(BUILD, bases={"b": replace(BASE, target="t")})},
        ),
        (PullImage(reference="i", build=BUILD), {"build": replace(BUILD, target="t")}),
        (PullImage(reference="i", build=BUILD), {"build": None}),
        (
            RunProvider(provider=PROVIDER),
            {"provider": replace(PROVIDER, options=(("size", "huge"),))},
        ),
        (RunProvider(provider=PROVIDER), {"provider": replace(PROVIDER, definition="{1}")}),
        (RunInit(config=CONFIG, beside="b"), {"config": replace(CONFIG, config_hash="x")}),
        (CreateContainer(config=CONFIG), {"config": replace(CONFIG, image_id="x")}),
    ],
)
def test_what_is_asked_for_counts(one: Any, other: dict[str, Any]) -> None:
    assert of(one) == of(replace(one)) != of(replace(one, **other))


def test_what_is_the_callers_does_not_count() -> None:
    build = replace(BUILD, ssh={"default": ("/other",)}, place=Place("f", 1, 1))
    assert of(BuildImage(reference="i", build=build)) == of(BuildImage(reference="i", build=BUILD))
