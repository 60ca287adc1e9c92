"""Capabilities: names, numbers, and what cap_add and cap_drop make of the default."""

from __future__ import annotations

import pytest

from stackctl.errors import UsageError
from stackctl.model.container import Security
from stackctl.runtime import capabilities
from stackctl.runtime.capabilities import ALL, DEFAULT, effective, mask, names


def test_numbers_are_the_kernels() -> None:
    number = capabilities.NUMBERS
    assert (number["CHOWN"], number["NET_ADMIN"], number["SYS_ADMIN"]) == (0, 12, 21)
    assert (number["MKNOD"], number["SETFCAP"], number["CHECKPOINT_RESTORE"]) == (27, 31, 40)


def test_the_default_is_dockers() -> None:
    # What `docker run` shows as CapEff.
    assert mask(DEFAULT) == 0xA80425FB
    assert effective(Security()) == DEFAULT


def test_masks_read_back() -> None:
    assert names(mask(DEFAULT)) == DEFAULT
    assert names(mask(ALL)) == ALL
    assert mask(()) == 0
    assert names(1 << 60) == frozenset()


@pytest.mark.parametrize("name", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"])
def test_names_in_any_form(name: str) -> None:
    assert effective(Security(cap_add=(name,))) == DEFAULT | {"NET_ADMIN"}


def test_adding_and_dropping() -> None:
    assert effective(Security(cap_drop=("CHOWN",))) == DEFAULT - {"CHOWN"}
    assert effective(Security(cap_drop=("ALL",))) == frozenset()
    assert effective(Security(cap_drop=("ALL",), cap_add=("KILL",))) == {"KILL"}
    assert effective(Security(cap_add=("ALL",))) == ALL
    assert effective(Security(cap_add=("all",), cap_drop=("SYS_ADMIN",))) == ALL - {"SYS_ADMIN"}


def test_privileged_is_everything() -> None:
    assert effective(Security(privileged=True, cap_drop=("CHOWN",))) == ALL


def test_an_unknown_name_is_told_with_what_is_close() -> None:
    with pytest.raises(UsageError, match="NET_ADMN") as caught:
        effective(Security(cap_add=("NET_ADMN",)))
    assert "NET_ADMIN" in caught.value.hint
