"""What the doctor makes of facts and of trials that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.errors import UsageError
from stackctl.runtime import doctor, trials
from stackctl.state.paths import Paths


@pytest.mark.parametrize("name", ["root", "python", "kernel", "architecture", "ip-forward"])
def test_facts_are_told_to_anybody(name: str) -> None:
    found = doctor.probe(name)
    assert found.name == name
    assert found.state in ("ok", "warn", "bad")
    assert found.fact
    assert found.ok or found.advice


def test_forwarding_that_somebody_switched_off_under_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path, tmp_path)
    (tmp_path / "ip_forward").write_text("0\n")
    monkeypatch.setattr(doctor, "_FORWARDING", tmp_path / "ip_forward")
    assert doctor.probe("ip-forward", paths).ok
    bridges = [(1, "lo"), (9, f"sc{paths.tag}0a1b2c")]
    monkeypatch.setattr("socket.if_nameindex", lambda: bridges)
    found = doctor.probe("ip-forward", paths)
    assert found.state == "bad" and "switched it off" in found.fact


def test_a_state_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "not" / "yet", tmp_path)
    found = doctor.probe("state", paths)
    assert str(paths.root) in found.fact
    assert "GiB free" in found.fact
    assert not paths.root.exists()


def test_an_unknown_probe_is_told_what_there_is() -> None:
    with pytest.raises(UsageError, match="no probe called 'nft2'") as caught:
        doctor.probe("nft2")
    assert "nft" in caught.value.hint


def test_every_trial_has_a_meaning() -> None:
    assert set(trials.TRIALS) == set(doctor._TRIALS)


def test_a_failed_trial_says_why_and_what_to_do() -> None:
    found = doctor._judged("overlay", {"error": "Invalid argument (overlay)"})
    assert (found.state, found.fact) == ("bad", "Invalid argument (overlay)")
    assert "STACKCTL_ROOT" in found.advice
    assert str(found) == f"{found.fact}; {found.advice}"
    assert not found.ok


def test_missing_capabilities_and_controllers_are_no_refusal() -> None:
    capabilities = doctor._judged("capabilities", {"fact": "SYS_RESOURCE"})
    assert capabilities.state == "warn"
    assert "hard limits" in capabilities.advice
    assert doctor._judged("capabilities", {"fact": ""}).ok
    assert doctor._judged("cgroup", {"fact": "v2: cpu, cpuset, io, memory, pids"}).ok
    partly = doctor._judged("cgroup", {"fact": "v2: pids"})
    assert partly.state == "warn"
    assert "cpu, cpuset, memory" in partly.advice
