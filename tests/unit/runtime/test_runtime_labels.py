"""A label is refused or answered, never accepted without effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.errors import ContainerError
from stackctl.model.container import BindMount, ContainerConfig, Security
from stackctl.runtime.labels import checked


def config(*label: str, selinux: str = "") -> ContainerConfig:
    return ContainerConfig(
        name="one",
        image="i",
        image_id="sha256:0",
        argv=("true",),
        mounts=(BindMount(source="/a", target="/b", selinux=selinux),),
        security=Security(label=label),
    )


def test_without_selinux_a_label_is_answered(tmp_path: Path) -> None:
    nowhere = tmp_path / "enforce"
    assert checked(config(), nowhere) == []
    assert checked(config("disable", selinux="Z"), nowhere) == []
    (said,) = checked(config("type:svirt_t"), nowhere)
    assert "has no SELinux" in said and "type:svirt_t" in said


def test_with_selinux_it_is_refused(tmp_path: Path) -> None:
    enforce = tmp_path / "enforce"
    enforce.write_text("1")
    assert checked(config(), enforce) == checked(config("disable"), enforce) == []
    with pytest.raises(ContainerError, match="type:svirt_t") as caught:
        checked(config("type:svirt_t"), enforce)
    assert "label=disable" in caught.value.hint
    (said,) = checked(config(selinux="z"), enforce)
    assert "/b keep" in said
