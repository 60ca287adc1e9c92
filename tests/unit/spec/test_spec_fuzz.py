"""Whatever a stack file holds, loading gives a stack or says what is wrong, with places."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackctl.errors import NotFound, StackFileError, StackFileErrors
from stackctl.spec.loader import LoadRequest, load
from stackctl.spec.shape import Shape, stack_shape
from stackctl.spec.shown import Wish, described

ODD = [
    *(None, True, -1, 0, 5, 1.5, 10**30, "", "a", "a:b", "/a:/b:ro", "80:80", "$X", "${X:-y}"),
    *("${", "5m", "1h", "no", "1.2.3.4", "::1", "service:a", "~/x", "\ud800", "x" * 300, "../.."),
]


def keys(shape: Shape) -> st.SearchStrategy[str]:
    known = sorted(shape.fields) if shape.fields else ["a", "b", "default"]
    return st.sampled_from([*known, "x-more", "a b"]) if shape.fields else st.sampled_from(known)


def values(shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    """Mostly what the place takes, sometimes anything."""
    anything = st.sampled_from(ODD)
    if depth == 0:
        return anything
    choices = [anything, st.lists(anything, max_size=3)]
    if shape.fields is not None:
        fields = shape.fields

        def filled(names: list[str]) -> st.SearchStrategy[Any]:
            return st.fixed_dictionaries(
                {name: values(fields.get(name, Shape()), depth - 1) for name in names}
            )

        choices += [st.lists(keys(shape), max_size=5, unique=True).flatmap(filled)] * 3
    if shape.values is not None:
        below = values(shape.values, depth - 1)
        choices += [st.dictionaries(keys(Shape()), below, max_size=3)] * 2
    if shape.items is not None:
        choices += [st.lists(values(shape.items, depth - 1), max_size=3)] * 2
    return st.one_of(choices)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(values(stack_shape(), 5), min_size=1, max_size=2))
def test_loading_never_fails_in_another_way(documents: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for i, document in enumerate(documents):
            Path(directory, f"f{i}.yaml").write_text(json.dumps(document))
        names = tuple(f"f{i}.yaml" for i, _ in enumerate(documents))
        request = LoadRequest(cwd=directory, files=names, name="p")
        try:
            loaded = load(request)
        except StackFileErrors as errors:
            assert errors.errors
            assert all(error.brief for error in errors.errors)
        except (StackFileError, NotFound) as error:
            assert error.brief
        else:
            assert loaded.stack.name == "p"
        for wish in (Wish(coverage=True), Wish(interpolate=False), Wish(variables=True)):
            try:
                described(request, wish)
            except (StackFileError, NotFound):
                continue


@pytest.mark.parametrize("way", ["include", "extends"])
def test_files_that_bring_each_other_along_are_bounded(tmp_path: Path, way: str) -> None:
    """Each file names the next two: as many paths as 2^30, each file read a few times at most."""
    for i in range(30):
        if way == "include":
            text = f"include: [f{i + 1}.yaml, f{i + 1}.yaml]\nservices: {{s{i}: {{image: x}}}}"
        else:
            text = (
                f"services: {{a: {{extends: {{service: a, file: f{i + 1}.yaml}}}}, "
                f"b: {{extends: {{service: b, file: f{i + 1}.yaml}}}}}}"
            )
        (tmp_path / f"f{i}.yaml").write_text(text)
    (tmp_path / "f30.yaml").write_text("services: {a: {image: x}, b: {image: x}}")
    request = LoadRequest(cwd=str(tmp_path), files=("f0.yaml",), name="p")
    try:
        stack = load(request).stack
        assert stack.services["a"].image == "x"
    except StackFileError as error:
        assert "files are included" in str(error)
