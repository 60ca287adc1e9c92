"""`make fuzz`: damaged DNS queries against the parser for SECONDS, any exception ends it.

Messages that dnspython makes are cut, joined and flipped; whatever is answered
must be readable by dnspython.
"""

from __future__ import annotations

import os
import random
import sys
import time

import dns.exception
import dns.message

from stackctl.net.keeper import codec
from stackctl.net.keeper.codec import Question
from stackctl.net.keeper.names import Directory, Elsewhere, Membership

_KINDS = ("A", "AAAA", "PTR", "TXT", "ANY", "SRV")


def directory() -> Directory:
    made = Directory()
    made.set_network("n", "shop_front", False)
    for number in range(40):
        place = Membership("n", f"10.0.0.{number}", f"fd00::{number}", (f"c{number}", "web"))
        made.set_container(f"c{number}", (place,))
    return made


def seed_query(rng: random.Random) -> bytes:
    labels = ["".join(rng.choices("abcwe0-_", k=rng.randint(1, 63))) for _ in range(3)]
    name = rng.choice(["web", "c1.shop_front", "1.0.0.10.in-addr.arpa", ".".join(labels)])
    query = dns.message.make_query(name, rng.choice(_KINDS))
    if rng.random() < 0.5:
        query.use_edns(0, 0, rng.choice([0, 512, 1232, 65535]))
    return query.to_wire()


def damaged(rng: random.Random, data: bytes) -> bytes:
    raw = bytearray(data)
    for _ in range(rng.randint(0, 6)):
        match rng.randint(0, 3):
            case 0 if raw:
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            case 1 if raw:
                del raw[rng.randrange(len(raw)) :]
            case 2:
                place = rng.randint(0, len(raw))
                raw[place:place] = rng.randbytes(rng.randint(1, 40))
            case _:
                raw += data[: rng.randint(0, len(data))]
    return bytes(raw)


def one(names: Directory, data: bytes) -> int:
    """Handles a message as the resolver does; 1 when it was answered."""
    question = codec.parse(data)
    if not isinstance(question, Question):
        if question.code is not None:
            codec.refusal(data, question.flags, question.code)
        return 0
    codec.answers_query(data, data, question)
    found = names.answer("c1", question, question.udp_limit)
    forwarded = isinstance(found, Elsewhere)
    reply = codec.failure(data, question) if forwarded else data[:2] + found[0]
    assert len(reply) <= max(question.udp_limit, 512)
    dns.message.from_wire(reply, ignore_trailing=False, one_rr_per_rrset=True)
    return 1


def main(seconds: float, seed: int) -> int:
    rng, names = random.Random(seed), directory()
    end, count, answered = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = damaged(rng, seed_query(rng))
        try:
            answered += one(names, data)
        except Exception as error:
            print(f"seed {seed}, message {data.hex()}: {error!r}")
            return 1
        count += 1
    print(f"{count} messages, {answered} answered, seed {seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(os.environ.get("SECONDS_OF_FUZZING", "60")), int(time.time())))
