"""A short run of `make fuzz`."""

import random

import fuzz_dns


def test_damaged_queries_raise_nothing_and_answers_are_readable() -> None:
    rng, names = random.Random(5), fuzz_dns.directory()
    answered = sum(
        fuzz_dns.one(names, fuzz_dns.damaged(rng, fuzz_dns.seed_query(rng))) for _ in range(3000)
    )
    assert answered > 300
