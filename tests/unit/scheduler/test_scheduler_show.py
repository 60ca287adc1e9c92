"""A plan as lines, as a tree, as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import get_args

from stackctl.scheduler.desired import DownPolicy, Observed, UpPolicy
from stackctl.scheduler.executor import execute
from stackctl.scheduler.ops import Op, Plan
from stackctl.scheduler.plan import down_plan, up_plan
from stackctl.scheduler.show import WORDS, render, summary, to_json, tree
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import HEALTHY, depends, service, stack


def plan() -> Plan:
    desired = stack(
        service("db", health=HEALTHY, volumes=["data"]),
        service("web", depends("db", "healthy"), image="nginx"),
        project="p",
    )
    return up_plan(desired, Observed(project="p", images=frozenset({"stackctl/host"})), UpPolicy())


def test_a_tree_groups_by_service():
    assert tree(plan()).splitlines() == [
        "project p",
        "  image nginx          pull: not found",
        "  volume p_data        create: not found",
        "  network p_default    create: not found",
        "  db",
        "    p-db-1             create, start: not found",
        "                       wait until healthy: web depends on db: healthy",
        "  web",
        "    p-web-1            create, start: not found",
    ]


def test_a_tree_calls_a_replacement_by_its_name():
    engine = MemoryEngine()
    first = up_plan(stack(service("a")), engine.observed("p"), UpPolicy())
    asyncio.run(execute(first, engine)).raise_failure()
    changed = up_plan(stack(service("a", version="2")), engine.observed("p"), UpPolicy())
    assert tree(changed).splitlines()[-1] == "    p-a-1  recreate, start: configuration changed"
    assert summary(changed) == "1 to recreate, 1 to start, 1 to stop"


def test_an_empty_plan_has_no_lines():
    empty = Plan(project="p")
    assert render(empty) == ""
    assert tree(empty) == "project p: nothing to do"
    assert summary(empty) == "nothing to do"


def test_a_summary_counts():
    assert summary(plan()) == "4 to create, 2 to start"


def test_json_is_json_and_complete():
    shown = json.loads(json.dumps(to_json(plan())))
    assert shown["project"] == "p"
    assert shown["steps"][-1] == {
        "number": 8,
        "op": "StartContainer",
        "target": "p-web-1",
        "service": "web",
        "cause": "not found",
        "text": "start container p-web-1",
        "after": [5, 7],
        "tolerates": [],
        "optional": False,
        "loses": [],
        "changes": [],
    }


def test_every_operation_has_words():
    assert set(WORDS) == set(get_args(Op))


def test_a_removal_says_what_is_lost():
    desired = stack(service("web", volumes=["data"], anonymous=["/cache"]))
    engine = MemoryEngine()
    asyncio.run(execute(up_plan(desired, engine.observed("p"), UpPolicy()), engine))
    changed = stack(service("web", volumes=["data"], anonymous=["/cache"], version="2"))

    def lost(found: Plan) -> list[str]:
        return [text for step in found.steps for text in step.loses]

    layer = "what it wrote outside of volumes"
    seen = engine.observed("p")
    assert lost(up_plan(changed, seen, UpPolicy())) == [layer]
    renewed = up_plan(changed, seen, UpPolicy(renew_anonymous_volumes=True))
    assert lost(renewed) == [layer, "its anonymous volume at /cache"]
    assert lost(down_plan(seen, DownPolicy())) == [layer]
    assert lost(down_plan(seen, DownPolicy(volumes=True))) == [
        layer,
        "its anonymous volume at /cache",
        "all that is in volume p_data",
    ]
