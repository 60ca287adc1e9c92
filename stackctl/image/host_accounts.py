"""The host's system accounts, without its people and without anything secret.

A container on stackctl/host runs what packages installed, so it knows the
accounts that packages made (www-data, postgres, redis). People's accounts and
every password hash stay out: there is no shadow file, and the password field is
"*", with which PAM asks no shadow file and lets nobody in.
"""

from __future__ import annotations

from stackctl.values import dataclass

#: Ids below this are the distribution's and its packages' (login.defs, UID_MIN).
FIRST_PERSON = 1000
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Accounts:
    """`passwd` and `group` as texts for /etc; ids by name for owners in other files."""

    passwd: str
    group: str
    uids: dict[str, int]
    gids: dict[str, int]


def is_system(number: int) -> bool:
    return number < FIRST_PERSON or number == NOBODY


def accounts(passwd: str, group: str) -> Accounts:
    """From the texts of the host's two files; lines that are not plain entries are dropped."""
    users = [f for f in _lines(passwd, 7) if is_system(int(f[2])) and f[3].isdigit()]
    names = {f[0] for f in users}
    groups = [f for f in _lines(group, 4) if is_system(int(f[2]))]
    for fields in users:
        fields[1] = "*"
        if not is_system(int(fields[3])):
            fields[3] = str(NOBODY)
    for fields in groups:
        fields[1] = "*"
        fields[3] = ",".join(name for name in fields[3].split(",") if name in names)
    return Accounts(
        _text(users),
        _text(groups),
        {f[0]: int(f[2]) for f in users},
        {f[0]: int(f[2]) for f in groups},
    )


def _lines(text: str, count: int) -> list[list[str]]:
    split = (line.split(":") for line in text.splitlines() if not line.startswith("#"))
    return [fields for fields in split if len(fields) == count and fields[2].isdigit()]


def _text(lines: list[list[str]]) -> str:
    return "".join(":".join(fields) + "\n" for fields in lines)
