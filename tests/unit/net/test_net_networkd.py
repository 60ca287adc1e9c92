"""Which of networkd's files fits the end of a veth pair, and what it does there."""

from pathlib import Path

import pytest

from stackctl.net import networkd

VETH = "vabcdef12345678"
WIRED = "[Match]\nType=ether\n[Network]\nDHCP=yes\n"


def machine(root: Path, **files: str) -> Path:
    """`files`: name with "_" for "/" -> text; the networkd of this machine runs."""
    (root / "run/systemd/netif/links").mkdir(parents=True)
    for name, text in files.items():
        directory, _, rest = name.partition("_")
        path = root / directory / "systemd/network" / f"{rest}.network"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "match",
    [
        "Type=ether",
        "Name=*",
        "Name=e* v*",
        "Name=!en* wl*",
        "Driver=veth",
        "Kind=veth bond\nType=ether",
        "Type=wlan\nType=ether",
        "Type=wlan\nType=\nType=ether",
        "Type=ether\nHost=here",
        "# nothing\nType = ether",
    ],
)
def test_a_file_that_fits_takes_the_interface(match: str, tmp_path: Path) -> None:
    root = machine(tmp_path, etc_20wired=f"[Match]\n{match}\n[Network]\nDHCP=yes\n")
    found = networkd.findings(VETH, root)
    assert [f.is_problem for f in found] == [True]
    assert "etc/systemd/network/20wired.network" in found[0].text
    assert "Kind=!veth" in found[0].hint


@pytest.mark.parametrize(
    "text",
    [
        "[Match]\nName=en*\n",
        "[Match]\nType=ether\nKind=!veth\n",
        "[Match]\nType=ether\nKind=!veth bond\n",
        "[Match]\nType=ether\nMACAddress=02:00:00:00:00:01\n",
        "[Match]\nType=ether\nPath=pci-*\n",
        "[Match]\n[Network]\nDHCP=yes\n",
        f"{WIRED}KeepMaster=yes\n",
        f"{WIRED}[Link]\nUnmanaged=true\n",
        "nonsense",
    ],
)
def test_others_leave_it_alone(text: str, tmp_path: Path) -> None:
    assert networkd.findings(VETH, machine(tmp_path, etc_20wired=text)) == []


def test_the_first_file_by_name_decides_and_etc_hides_others(tmp_path: Path) -> None:
    unmanaged = "[Match]\nName=v*\n[Link]\nUnmanaged=yes\n"
    root = machine(tmp_path, run_05ours=unmanaged, etc_20wired=WIRED)
    assert networkd.findings(VETH, root) == []
    (root / "etc/systemd/network/05ours.network").write_text("")
    assert len(networkd.findings(VETH, root)) == 1


def test_without_networkd_its_files_mean_nothing(tmp_path: Path) -> None:
    root = machine(tmp_path, etc_20wired=WIRED)
    (root / "run/systemd/netif/links").rmdir()
    assert networkd.findings(VETH, root) == []
