"""/etc/hosts of a running container, when its networks change."""

from __future__ import annotations

from pathlib import Path

from stackctl.daemon import hosts

LOOPBACK = "127.0.0.1\tlocalhost\n"
BEFORE = f"{LOOPBACK}10.0.0.2\tme\n10.0.0.1\tgate\n"
AFTER = f"{LOOPBACK}10.1.0.2\tme\n10.1.0.1\tgate\n"


def test_lines_of_ours_are_exchanged_and_others_stay() -> None:
    written = BEFORE + "10.9.9.9\tmine\n10.0.0.2\tme too\n"
    found = hosts.edited(written, BEFORE, AFTER).splitlines()
    assert found == [
        "127.0.0.1\tlocalhost",
        "10.9.9.9\tmine",
        "10.0.0.2\tme too",
        "10.1.0.2\tme",
        "10.1.0.1\tgate",
    ]
    assert hosts.edited(BEFORE, BEFORE, BEFORE) == BEFORE
    # Whoever took our lines out gets the new ones only.
    assert hosts.edited("", BEFORE, AFTER) == "10.1.0.2\tme\n10.1.0.1\tgate\n"
    # A line that stands there twice goes once.
    assert hosts.edited("a\na\n", "a\n", "") == "a\n"


def test_the_file_stays_the_same_one_and_bytes_stay_bytes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(BEFORE.encode() + b"\xff\xfe no text\n")
    number = path.stat().st_ino
    hosts.rewrite(path, BEFORE, f"{LOOPBACK}10.1.0.2\tStraße\n")
    assert path.stat().st_ino == number
    assert (
        path.read_bytes()
        == LOOPBACK.encode() + b"\xff\xfe no text\n" + "10.1.0.2\tStraße\n".encode()
    )
    # What a container filled is left alone, a link is not followed, and neither is an error.
    path.write_bytes(b"x" * (hosts._MOST + 1))
    hosts.rewrite(path, BEFORE, AFTER)
    assert path.stat().st_size == hosts._MOST + 1
    (tmp_path / "link").symlink_to(path)
    hosts.rewrite(tmp_path / "link", BEFORE, AFTER)
    hosts.rewrite(tmp_path / "absent", BEFORE, AFTER)
    assert path.read_bytes() == b"x" * (hosts._MOST + 1)
