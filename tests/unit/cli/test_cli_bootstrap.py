"""Where `image bootstrap` takes packages from, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.cli.commands.image.bootstrap import address_of

STANZAS = """\
# A comment
Types: deb
URIs: http://packages.test/debian
Suites: trixie trixie-updates
Components: main

Types: deb
Enabled: no
URIs: http://disabled.test/debian
Suites: sid
"""
LINES = """\
# deb http://commented.test/debian sid main
deb-src http://source.test/debian sid main
deb [signed-by=/usr/share/keyrings/a.gpg arch=amd64] http://lines.test/debian sid main
"""


@pytest.mark.parametrize(
    ("text", "suite", "found"),
    [
        (STANZAS, "trixie", "http://packages.test/debian"),
        (STANZAS, "trixie-updates", "http://packages.test/debian"),
        (STANZAS, "sid", ""),
        (STANZAS, "tri", ""),
        (LINES, "sid", "http://lines.test/debian"),
        (LINES, "trixie", ""),
        ("", "sid", ""),
    ],
)
def test_sources_in_both_forms(tmp_path: Path, text: str, suite: str, found: str) -> None:
    file = tmp_path / "sources"
    file.write_text(text)
    assert address_of(str(file), suite) == found
    assert address_of(str(tmp_path / "none"), suite) == ""
    assert address_of("http://given.test/debian", suite) == "http://given.test/debian"
