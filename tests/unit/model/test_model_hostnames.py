"""What DNS can carry, and what it cannot."""

from __future__ import annotations

import dns.exception
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.model.hostnames import domain_problem, name_problem, resolver_option_problem

LONGEST = ".".join(["a" * 63] * 3 + ["a" * 61])


@pytest.mark.parametrize(
    "name", ["db", "my_db", "_x", "1", "api.example.org", "db.", "-x", "*.lan", "münchen", LONGEST]
)
def test_names_that_docker_takes_and_dns_carries(name: str) -> None:
    assert name_problem(name) == domain_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "it is empty"),
        ("has space", "holds a space"),
        ("a\nnameserver 10.0.0.1", "holds a space"),
        ("a\0b", "does not print"),
        ("x..y", "between two dots"),
        (".x", "before one"),
        ("a" * 64, "at most 63 bytes"),
        ("ü" * 32, "at most 63 bytes"),
        (f"{LONGEST}b", "at most 253 bytes"),
    ],
)
def test_names_that_dns_cannot_carry(name: str, problem: str) -> None:
    assert problem in name_problem(name)
    assert not name or domain_problem(name)


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"), max_size=80
    )
)
def test_lengths_are_those_of_an_independent_codec(name: str) -> None:
    try:
        fits = bool(name.strip(".")) and len(dns.name.from_text(name or ".")) > 0
    except dns.exception.DNSException:
        fits = False
    assert (name_problem(name) == "") is fits


def test_domains_and_options() -> None:
    assert domain_problem(".") == domain_problem("") == ""
    assert domain_problem("bad domain").startswith("cannot be a domain")
    assert resolver_option_problem("ndots:2") == resolver_option_problem("use-vc") == ""
    assert "one entry is one option" in resolver_option_problem("foo bar")
