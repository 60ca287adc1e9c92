"""USER as the image's own files define it; a number is never a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.runtime.shim import identity
from stackctl.runtime.shim.identity import IdentityError

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
web:x:33:34:,,,:/var/www:/bin/false
1000:x:77:77::/trap:/bin/sh
huge:x:4294967295:1::/:/bin/sh
broken:x
none:x:5:6:::
"""
GROUP = """\
root:x:0:
web:x:34:
video:x:44:web,other
audio:x:29:other,web
same:x:44:web
99:x:1:
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("user", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, [], "/root"),
        ("root", 0, 0, [], "/root"),
        ("web", 33, 34, [44, 29], "/var/www"),
        ("33", 33, 34, [44, 29], "/var/www"),
        ("33:0", 33, 0, [], "/var/www"),
        ("web:video", 33, 44, [], "/var/www"),
        ("1000", 1000, 0, [], "/"),
        ("1000:99", 1000, 99, [], "/"),
        ("none", 5, 6, [], "/"),
        ("4294967294", 4294967294, 0, [], "/"),
        (":web", 0, 34, [], "/root"),
    ],
)
def test_users(root: int, user: str, uid: int, gid: int, groups: list[int], home: str) -> None:
    found = identity.resolve(root, user)
    assert (found.uid, found.gid, found.groups, found.home) == (uid, gid, groups, home)


@pytest.mark.parametrize(
    "user",
    [
        "nobody",
        "4294967295",
        "4294967296",
        "99999999999999",
        "huge",
        "broken",
        "web:nogroup",
        "0:4294967295",
        "-1",
        "٣",
    ],
)
def test_refusals(root: int, user: str) -> None:
    with pytest.raises(IdentityError):
        identity.resolve(root, user)


def test_without_files_numbers_stand_on_their_own(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    found = identity.resolve(fd, "7:8")
    assert (found.uid, found.gid, found.groups) == (7, 8, [])
    with pytest.raises(IdentityError):
        identity.resolve(fd, "name")
    os.close(fd)


def test_a_huge_group_file_is_refused(root: int, tmp_path: Path) -> None:
    with open(tmp_path / "etc/group", "r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(IdentityError, match="larger"):
        identity.resolve(root, "web")


@settings(max_examples=200)
@given(content=st.binary(max_size=200), user=st.text(max_size=12))
def test_any_file_gives_an_answer_or_a_refusal(
    root: int, tmp_path: Path, content: bytes, user: str
) -> None:
    (tmp_path / "etc/passwd").write_bytes(content)
    try:
        found = identity.resolve(root, user.replace("\0", ""))
    except IdentityError:
        return
    assert 0 <= found.uid < 2**32 - 1
