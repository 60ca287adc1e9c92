"""What a container may do, found out from inside and compared with a list of what it may.

The list is tests/integration/snapshots/audit.txt: whatever is found and is not in it is
a widening, and fails. To widen on purpose, add the line there, with a reason in the commit.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.model.container import Security
from stackctl.state.paths import Paths
from support.runtime_bed import Bed

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup", "python:ctypes")

HERE = Path(__file__).parent
PROBE = (HERE / "audit_probe.py").read_text()
#: Lines with shell patterns; "#" begins a remark.
ALLOWED = [
    line.strip()
    for line in (HERE / "snapshots/audit.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


def audit(bed: Bed, **config: object) -> list[str]:
    container = bed.start("/usr/bin/python3", "-I", "-S", "-c", PROBE, **config)
    lines = container.output().splitlines()
    assert container.wait().exit_code == 0, container.output("stderr")
    return lines


def widened(lines: list[str]) -> list[str]:
    return [line for line in lines if not any(fnmatch.fnmatchcase(line, rule) for rule in ALLOWED)]


def test_nothing_is_allowed_that_is_not_listed(bed: Bed) -> None:
    lines = audit(bed)
    assert widened(lines) == []
    # The probe did look: these are always there.
    assert {"seccomp mode 2", "call getpid answers", "device /dev/null 1:3 666"} <= set(lines)


def test_an_exec_is_allowed_no_more(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    out, err, code = bed.runs(container, "/usr/bin/python3", "-I", "-S", "-c", PROBE)
    assert code == 0, err
    assert widened(out.decode().splitlines()) == []


def test_the_audit_notices_a_widening(bed: Bed) -> None:
    """Each thing that is looked at is found when it is given."""
    lines = audit(bed, security=Security(privileged=True, seccomp="unconfined"))
    found = widened(lines)
    for start in ("CapEff SYS_ADMIN", "call mount", "namespace user", "device ", "seccomp mode 0"):
        assert any(line.startswith(start) for line in found), start
    assert any(line.startswith("writable /proc/sys/") for line in found)
    assert any(line.startswith("shown ") for line in found)


#: One thing given -> how all that the audit then finds begins: each is noticed, and alone.
WIDENINGS: tuple[tuple[dict[str, object], tuple[str, ...]], ...] = (
    *(
        ({"security": Security(cap_add=(name,))}, (f"Cap??? {name}", *also))
        for name, also in {
            "SYSLOG": ("call syslog ",),
            "SYS_TIME": ("call ",),
            "WAKE_ALARM": (),
            "DAC_READ_SEARCH": ("call open_by_handle_at ", "call name_to_handle_at "),
            "NET_ADMIN": (),
        }.items()
    ),
    ({"security": Security(seccomp="unconfined")}, ("seccomp mode ", "call ", "socket family ")),
    ({"security": Security(userns="host")}, ("namespace user ", "a device ", "mount /etc/")),
    ({"security": Security(unmasked=True)}, ("writable /proc/", "shown ", "mount ")),
    # With all that is mounted below it: others' tests have their disks there.
    ({"ipc": "host"}, ("namespace ipc ", "mount /dev/shm")),
    ({"pid": "host"}, ("namespace pid ", "mount /proc")),
    ({"cgroup": "host"}, ("namespace cgroup ", "mount /sys/fs/cgroup")),
)


def test_each_single_widening_is_noticed_alone(bed: Bed) -> None:
    for given, starts in WIDENINGS:
        found = widened(audit(bed, **given))
        assert found, given
        strange = [f for f in found if not any(fnmatch.fnmatchcase(f, f"{s}*") for s in starts)]
        assert not strange, (given, strange)


def test_an_ordinary_user_has_no_capability(bed: Bed) -> None:
    lines = audit(bed, user="1000")
    assert not [line for line in lines if line.startswith(("CapEff", "CapPrm", "CapInh", "CapAmb"))]
    assert widened(lines) == []
