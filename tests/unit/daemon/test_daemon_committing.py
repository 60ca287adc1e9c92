"""The config of a committed image: the container's own, what was given, and --change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stackctl.daemon.committing import image_config, merged
from stackctl.errors import UsageError
from stackctl.image.changes import apply_changes
from stackctl.model.container import ContainerConfig, HealthCheck, VolumeMount

OWN = {
    "Env": ["A=1", "B=2"],
    "Entrypoint": ["/entry"],
    "Cmd": ["serve"],
    "User": "app",
    "Labels": {"x": "1"},
    "ExposedPorts": {"80/tcp": {}},
}


def test_what_a_container_ran_with_is_the_images_config() -> None:
    config = ContainerConfig(
        name="one",
        image="base:1",
        image_id="sha256:" + "0" * 64,
        argv=("/entry", "serve"),
        entrypoint=("/entry",),
        command=("serve",),
        env=("A=1",),
        user="app",
        labels={"mine": "x", "com.docker.compose.service": "web"},
        expose=("80/tcp",),
        stop_signal="SIGINT",
        health=HealthCheck(test=("/bin/sh", "-c", "true"), interval=2.0),
        mounts=(
            VolumeMount(volume="a" * 64, target="/data", anonymous=True),
            VolumeMount(volume="named", target="/named"),
        ),
    )
    made = image_config(config)
    assert made["Labels"] == {"mine": "x"}
    assert made["Volumes"] == {"/data": {}}
    assert made["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
    assert made["Healthcheck"]["Interval"] == 2_000_000_000
    assert (made["Entrypoint"], made["Cmd"], made["User"]) == (["/entry"], ["serve"], "app")
    assert made["StopSignal"] == "SIGINT" and made["ExposedPorts"] == {"80/tcp": {}}
    assert "StopSignal" not in image_config(replace(config, stop_signal="SIGTERM"))


def test_what_is_given_counts_before_the_containers_own() -> None:
    made = merged({"Env": ["B=3", "C=4"], "User": "root", "Labels": {"y": "2"}, "Tty": True}, OWN)
    assert made == {
        "Env": ["B=3", "C=4", "A=1"],
        "Entrypoint": ["/entry"],
        "Cmd": ["serve"],
        "User": "root",
        "Labels": {"x": "1", "y": "2"},
        "ExposedPorts": {"80/tcp": {}},
    }
    # Another command goes with the old entrypoint; not the other way round.
    assert merged({"Cmd": ["other"]}, OWN)["Entrypoint"] == ["/entry"]
    assert "Cmd" not in merged({"Entrypoint": ["/new"]}, OWN)
    assert merged({}, {}) == {}


def test_changes_are_a_dockerfiles_instructions() -> None:
    changed = apply_changes(
        OWN,
        (
            *("ENV C=$A-x", "LABEL x=2 y=3", "EXPOSE 443/udp", "WORKDIR /srv", "WORKDIR sub"),
            *("ENTRYPOINT /other", "CMD run it", "VOLUME /v", "USER 1:1", "STOPSIGNAL 9"),
            *("HEALTHCHECK --interval=3s CMD test -f /x", "ONBUILD RUN true", 'SHELL ["/a"]'),
        ),
    )
    assert changed["Env"] == ["A=1", "B=2", "C=1-x"]
    assert changed["Labels"] == {"x": "2", "y": "3"}
    assert set(changed["ExposedPorts"]) == {"80/tcp", "443/udp"}
    assert changed["WorkingDir"] == "/srv/sub"
    assert changed["Entrypoint"] == ["/bin/sh", "-c", "/other"]
    assert changed["Cmd"] == ["/bin/sh", "-c", "run it"]
    assert (changed["User"], changed["StopSignal"]) == ("1:1", "9")
    assert changed["Healthcheck"]["Test"] == ["CMD-SHELL", "test -f /x"]
    assert (changed["OnBuild"], changed["Shell"]) == (["RUN true"], ["/a"])
    assert "WorkingDir" not in OWN and OWN["Env"] == ["A=1", "B=2"]  # untouched
    assert "Cmd" not in apply_changes(OWN, ["ENTRYPOINT /other"])


@pytest.mark.parametrize(
    "text",
    ["COPY a b", "RUN x", "FROM x", "NONSENSE", "", "EXPOSE x", "STOPSIGNAL no", "ENV", "ONBUILD"],
)
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_changes({}, [text])
    assert repr(text) in str(caught.value)
