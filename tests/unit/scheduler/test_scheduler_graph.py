"""Order, closure and cycles; and that the hot path does not load networkx."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import StackFileError
from stackctl.scheduler.graph import (
    closure,
    critical_path,
    cycles,
    dependents,
    start_order,
    stop_order,
    without_cycles,
)
from stackctl.scheduler.ops import Plan, StartContainer, Step

EDGES = {"web": ["api", "cache"], "api": ["db"], "db": [], "cache": [], "log": []}

graphs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), unique=True)
)


def test_dependencies_start_first_and_stop_last():
    order = start_order(EDGES)
    assert order.index("db") < order.index("api") < order.index("web")
    assert stop_order(EDGES) == order[::-1]


def test_dependents_and_closure():
    assert dependents(EDGES) == {
        "web": (),
        "api": ("web",),
        "db": ("api",),
        "cache": ("web",),
        "log": (),
    }
    assert closure(EDGES, ["api"]) == {"api", "db"}
    assert closure(dependents(EDGES), ["db"]) == {"db", "api", "web"}


def test_every_knot_is_named_once():
    edges = {"a": ["b"], "b": ["a"], "c": ["c"], "d": ["a"], "x": ["y"], "y": ["z"], "z": ["x"]}
    assert cycles(edges) == (("a", "b", "a"), ("c", "c"), ("x", "y", "z", "x"))
    with pytest.raises(StackFileError) as failure:
        start_order(edges)
    assert str(failure.value).endswith("a -> b -> a; c -> c; x -> y -> z -> x")


@given(graphs)
def test_without_cycles_there_is_an_order_and_what_was_acyclic_stays(edges):
    kept = without_cycles(edges)
    start_order(kept)
    assert all(set(kept[name]) <= set(edges[name]) for name in edges)
    if not cycles(edges):
        assert kept == {name: tuple(needs) for name, needs in edges.items()}
    else:
        with pytest.raises(StackFileError):
            start_order(edges)


def test_the_critical_path_is_the_slowest_way_through():
    def step(number: int, *after: int) -> Step:
        op = StartContainer(name=str(number))
        return Step(number=number, op=op, cause="test", after=frozenset(after))

    plan = Plan(project="p", steps=(step(1), step(2), step(3, 1, 2), step(4)))
    assert critical_path(plan, {1: 1.0, 2: 2.0, 3: 1.0, 4: 2.5}) == (2, 3)
    assert critical_path(plan, {1: 1.0, 2: 2.0, 3: 1.0, 4: 9.0}) == (4,)
    assert critical_path(Plan(project="p"), {}) == ()


def test_planning_does_not_load_networkx():
    code = (
        "import sys, stackctl.scheduler.plan, stackctl.scheduler.executor\n"
        "from stackctl.testing.stacks import *\n"
        "from stackctl.scheduler.plan import *\n"
        "up_plan(stack(service('a'), service('b', depends('a'))), Observed(project='p',"
        " images=frozenset({'stackctl/host'})), UpPolicy())\n"
        "heavy = {'networkx', 'pydantic_core._pydantic_core', 'numpy'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
