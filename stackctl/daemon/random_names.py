"""Names for containers that were given none."""

from __future__ import annotations

import secrets


def random_name() -> str:
    """Two words, as Docker's users know it, from lists of our own."""
    return f"{secrets.choice(_QUALITIES)}_{secrets.choice(_ANIMALS)}"


_QUALITIES = (
    *("agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clever", "cosy"),
    *("crisp", "daring", "deft", "eager", "early", "fair", "fleet", "fond", "frank", "gentle"),
    *("glad", "golden", "grand", "happy", "hardy", "honest", "jolly", "keen", "kind", "lively"),
    *("loyal", "lucid", "lucky", "mellow", "merry", "mild", "neat", "nimble", "noble", "patient"),
    *("plucky", "polite", "proud", "quick", "quiet", "ready", "silent", "spry", "steady", "sunny"),
    *("swift", "tidy", "tranquil", "upbeat", "vivid", "warm", "wise", "witty", "young", "zesty"),
)
_ANIMALS = (
    *("badger", "bear", "beaver", "bison", "bobcat", "buzzard", "camel", "cat", "cod", "condor"),
    *("crane", "deer", "dingo", "dolphin", "eagle", "eel", "elk", "falcon", "ferret", "finch"),
    *("fox", "gecko", "gibbon", "goose", "hare", "hawk", "heron", "horse", "ibis", "jackal"),
    *("jay", "koala", "lark", "lemur", "lion", "lynx", "marten", "mole", "moose", "newt"),
    *("ocelot", "orca", "otter", "owl", "panda", "puffin", "quail", "raven", "robin", "salmon"),
    *("seal", "sparrow", "stork", "swan", "tapir", "tern", "toad", "trout", "walrus", "wren"),
)
