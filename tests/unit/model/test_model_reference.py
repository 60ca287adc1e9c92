"""Image references: made whole, or refused with the part that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import ImageError
from stackctl.model.reference import in_registry, parse

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("acme/api", "docker.io/acme/api:latest"),
        ("ghcr.io/acme/api:v1", "ghcr.io/acme/api:v1"),
        ("localhost/api", "localhost/api:latest"),
        ("localhost:5000/api", "localhost:5000/api:latest"),
        ("registry:5000/a/b/c:x", "registry:5000/a/b/c:x"),
        ("[::1]:5000/api", "[::1]:5000/api:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
        ("stackctl/host", "docker.io/stackctl/host:latest"),
    ],
)
def test_made_whole(text: str, whole: str) -> None:
    assert str(parse(text)) == whole
    assert parse(whole) == parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a name"),
        ("Nginx", "lower case"),
        ("nginx:", "not a tag"),
        ("nginx:a b", "not a tag"),
        (f"nginx:{'x' * 129}", "not a tag"),
        ("nginx@sha256:abc", "digest"),
        ("nginx@md5:" + "0" * 32, "digest"),
        ("a//b", "not a name"),
        ("/a", "not a name"),
        ("a/", "not a name"),
        ("-a", "not a name"),
        ("a..b", "not a name"),
        ("-x.io/a", "not a registry"),
        ("x" * 256, "longer than"),
        ("nginx\n", "not a name"),
        ("../../etc/passwd", "not a registry"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        parse(text)


def test_as_people_write_it() -> None:
    assert parse("docker.io/library/nginx").familiar == "nginx:latest"
    assert parse("docker.io/acme/api:1").familiar == "acme/api:1"
    assert parse("ghcr.io/acme/api:1").familiar == "ghcr.io/acme/api:1"


@pytest.mark.parametrize("text", ["stackctl/host", "stackctl/host:latest"])
def test_the_built_in_image(text: str) -> None:
    assert parse(text).is_host
    # Whoever owns that name at the default registry is never asked for it.
    with pytest.raises(ImageError, match="no registry has it"):
        in_registry(text)


@pytest.mark.parametrize(
    "text", ["stackctl/host:2", "ghcr.io/stackctl/host", f"stackctl/host@{DIGEST}", "host"]
)
def test_what_only_looks_like_the_built_in_image(text: str) -> None:
    assert not parse(text).is_host
    assert in_registry(text) == parse(text)


@given(st.text(max_size=80))
def test_any_text_gives_a_reference_or_a_clean_error(text: str) -> None:
    try:
        found = parse(text)
    except ImageError:
        return
    assert parse(str(found)) == found
