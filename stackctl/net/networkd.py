"""systemd-networkd: does one of its files take containers' interfaces out of their bridges?

It configures each interface by the first file whose [Match] fits (systemd.network(5)),
and an interface that it configures leaves a bridge which the file does not name,
unless KeepMaster says otherwise. The usual `Type=ether`, meant for the machine's
cards, fits the ends of veth pairs, too. Files are read, nothing is changed.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

from stackctl.net.firewall import Finding

#: The first directory that has a file of a name decides what is in it.
_DIRECTORIES = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
#: What our end of a veth pair has to show for itself; absent: nothing can fit.
_TRAITS = {"Type": "ether", "Kind": "veth", "Driver": "veth"}
#: They say something of the machine, not of the interface: taken to fit.
_OF_THE_MACHINE = (
    *("Host", "Virtualization", "KernelCommandLine", "KernelVersion"),
    *("Architecture", "Firmware", "Credential", "Version"),
)
_TRUE = ("1", "yes", "true", "on")
Section = dict[str, list[str]]


def findings(veth: str, root: Path = Path("/")) -> list[Finding]:
    """What networkd does to an interface called `veth`; nothing where it does not run."""
    if not (root / "run/systemd/netif/links").is_dir():
        return []
    for path in _files(root):
        try:
            sections = _parse(path.read_text(errors="replace"))
        except OSError:
            continue
        match = sections.get("Match", {})
        if match and all(_fits(key, words, veth) for key, words in match.items()):
            return [_told(path)] if _takes(sections) else []
    return []


def _told(path: Path) -> Finding:
    return Finding(
        f"systemd-networkd takes containers out of their bridges: {path} fits their interfaces",
        is_problem=True,
        hint="add the line Kind=!veth to its [Match] section, then `networkctl reload`",
        part="networkd",
    )


def _files(root: Path) -> Iterator[Path]:
    """The .network files that count, in networkd's order; an empty one hides others."""
    found: dict[str, Path] = {}
    for directory in _DIRECTORIES:
        for path in (root / directory / "systemd/network").glob("*.network"):
            found.setdefault(path.name, path)
    for name in sorted(found):
        yield found[name]


def _parse(text: str) -> dict[str, Section]:
    """Words by section and key; an empty value forgets those before it."""
    sections: dict[str, Section] = {}
    section: Section = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1], {})
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            words = section.setdefault(key.strip(), [])
            words += value.split()
            if not value.strip():
                words.clear()
    return sections


def _fits(key: str, words: list[str], veth: str) -> bool:
    """One line of [Match]: any of its words, or with "!" before the first none of them."""
    if not words or key in _OF_THE_MACHINE:
        return True
    trait = veth if key == "Name" else _TRAITS.get(key)
    if trait is None:
        return False
    is_turned = words[0].startswith("!")
    patterns = [words[0].removeprefix("!"), *words[1:]]
    return any(fnmatch.fnmatchcase(trait, p) for p in patterns if p) is not is_turned


def _takes(sections: dict[str, Section]) -> bool:
    def says(section: str, key: str) -> bool:
        return sections.get(section, {}).get(key, [""])[-1:][0].lower() in _TRUE

    return not says("Link", "Unmanaged") and not says("Network", "KeepMaster")
