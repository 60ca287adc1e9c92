"""Short forms of ports and mounts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.model.container import TmpfsMount
from stackctl.spec import ports, volumes
from stackctl.spec.ports import Port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [Port(80)]),
        ("8080:80", [Port(80, "8080")]),
        ("8080:80/udp", [Port(80, "8080", protocol="udp")]),
        ("80/UDP", [Port(80, protocol="udp")]),
        ("127.0.0.1:8080:80", [Port(80, "8080", "127.0.0.1")]),
        ("127.0.0.1::80", [Port(80, "", "127.0.0.1")]),
        ("[::1]:8080:80", [Port(80, "8080", "::1")]),
        ("[::]::80", [Port(80, "", "::")]),
        (":80", [Port(80)]),
        ("0:80", [Port(80, "0")]),
        ("3000-3002", [Port(3000), Port(3001), Port(3002)]),
        ("9090-9091:8080-8081", [Port(8080, "9090"), Port(8081, "9091")]),
        ("8000-8010:80", [Port(80, "8000-8010")]),
        (
            "127.0.0.1:5000-5001:5000-5001/udp",
            [Port(5000, "5000", "127.0.0.1", "udp"), Port(5001, "5001", "127.0.0.1", "udp")],
        ),
    ],
)
def test_ports(text: str, expected: list[Port]) -> None:
    assert ports.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "8080:",
        "80/xyz",
        "0",
        "65536",
        "1:2:3:4",
        "host:8080:80",
        "8000-8001:80-82",
        "81-80",
        "[::1]8080:80",
        "-1",
        "+80",
        "٨٠",
        "80:0",
        "1.2.3:80:80",
    ],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ports.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", {"type": "volume", "target": "/data", "volume": {}}),
        (
            "data:/data",
            {"type": "volume", "source": "data", "target": "/data", "volume": {}},
        ),
        (
            "data:/data:ro",
            {
                "type": "volume",
                "source": "data",
                "target": "/data",
                "read_only": True,
                "volume": {},
            },
        ),
        (
            "data:/data:rw,nocopy",
            {
                "type": "volume",
                "source": "data",
                "target": "/data",
                "volume": {"nocopy": True},
            },
        ),
        (
            "./a:/b",
            {
                "type": "bind",
                "source": "./a",
                "target": "/b",
                "bind": {"create_host_path": True},
            },
        ),
        (
            "~/a:/b:ro,z",
            {
                "type": "bind",
                "source": "~/a",
                "target": "/b",
                "read_only": True,
                "bind": {"create_host_path": True, "selinux": "z"},
            },
        ),
        (
            "/a:/b:rshared",
            {
                "type": "bind",
                "source": "/a",
                "target": "/b",
                "bind": {"create_host_path": True, "propagation": "rshared"},
            },
        ),
    ],
)
def test_mounts(text: str, expected: dict[str, Any]) -> None:
    assert volumes.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "a:", ":/b", "a:/b:ro:x", "a:/b:readonly", "a:/b:RO", r"C:\a:/b"]
)
def test_what_is_no_mount(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        volumes.parse(text, lambda reason: None)


@pytest.mark.parametrize("text", ["./a:/b:nocopy", "a:/b:rshared", "a:/b:U", "./a:/b:ro,idmap"])
def test_options_that_have_no_effect_are_told_or_refused(text: str) -> None:
    told: list[str] = []
    assert volumes.parse(text, told.append)["target"] == "/b"
    assert len(told) == 1
    with pytest.raises(ValueError, match=re.escape(told[0])):
        volumes.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/run", TmpfsMount(target="/run")),
        ("/run:size=64m", TmpfsMount(target="/run", size=67108864)),
        (
            "/run:mode=1777,ro,noexec,nosuid,relatime",
            TmpfsMount(target="/run", mode=0o1777, read_only=True),
        ),
        (
            "/run:exec,uid=1000,gid=50",
            TmpfsMount(target="/run", uid=1000, gid=50, executable=True),
        ),
    ],
)
def test_tmpfs(text: str, expected: TmpfsMount) -> None:
    assert volumes.parse_tmpfs(text) == expected


@pytest.mark.parametrize("text", ["run", "/run:size", "/run:size=x", "/run:suid", "/run:mode=9"])
def test_what_is_no_tmpfs(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        volumes.parse_tmpfs(text)


@given(st.text(alphabet="0123456789:-/[].abtcpud ", max_size=24) | st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for read in (ports.parse, volumes.parse, volumes.parse_tmpfs):
        try:
            read(text)
        except ValueError:
            pass
