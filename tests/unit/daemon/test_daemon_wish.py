"""Every field of Docker's create request: carried out, given back, warned of or refused.

The tables hold facts about the API: which fields there are, and a value that says something.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackctl.daemon import inspection, volume_wishes, wish
from stackctl.daemon.single import container_config
from stackctl.errors import StackctlError, UsageError
from stackctl.model.container import ContainerConfig
from stackctl.model.image import Image, ImageConfig
from stackctl.model.record import ContainerRecord

IMAGE = Image(
    id="sha256:" + "a" * 64,
    reference="box:1",
    size=1,
    created_at=0.0,
    config=ImageConfig(command=("true",), env=("PATH=/bin", "A=image")),
)

CARRIED_OUT: dict[str, Any] = {
    "Hostname": "box",
    "Domainname": "example.org",
    "User": "1000",
    "ExposedPorts": {"80/tcp": {}},
    "Tty": True,
    "OpenStdin": True,
    "StdinOnce": False,
    "Env": ["X=1"],
    "Cmd": ["echo"],
    "Healthcheck": {"Test": ["CMD", "true"]},
    "Image": "other",
    "Volumes": {"/v": {}},
    "WorkingDir": "/tmp",
    "Entrypoint": ["env"],
    "NetworkDisabled": True,
    "MacAddress": "02:00:00:00:00:01",
    "Labels": {"a": "b"},
    "StopSignal": "SIGINT",
    "StopTimeout": 3,
    "HostConfig.CpuShares": 512,
    "HostConfig.Memory": 1 << 26,
    "HostConfig.BlkioWeight": 300,
    "HostConfig.BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 300}],
    "HostConfig.BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 300}],
    "HostConfig.BlkioDeviceWriteBps": [{"Path": "/dev/null", "Rate": 300}],
    "HostConfig.BlkioDeviceReadIOps": [{"Path": "/dev/null", "Rate": 300}],
    "HostConfig.BlkioDeviceWriteIOps": [{"Path": "/dev/null", "Rate": 300}],
    "HostConfig.CpuPeriod": 50000,
    "HostConfig.CpuQuota": 50000,
    "HostConfig.CpusetCpus": "0",
    "HostConfig.CpusetMems": "0",
    "HostConfig.Devices": [{"PathOnHost": "/dev/null"}],
    "HostConfig.DeviceCgroupRules": ["c 1:3 rwm"],
    "HostConfig.MemoryReservation": 1 << 26,
    "HostConfig.MemorySwap": -1,
    "HostConfig.MemorySwappiness": 7,
    "HostConfig.NanoCpus": 500_000_000,
    "HostConfig.OomKillDisable": True,
    "HostConfig.Init": True,
    "HostConfig.PidsLimit": 50,
    "HostConfig.Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 5}],
    "HostConfig.Binds": ["/etc:/e:ro"],
    "HostConfig.LogConfig": {"Type": "none"},
    "HostConfig.NetworkMode": "host",
    "HostConfig.PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
    "HostConfig.RestartPolicy": {"Name": "always"},
    "HostConfig.AutoRemove": True,
    "HostConfig.Mounts": [{"Type": "tmpfs", "Target": "/t"}],
    "HostConfig.Annotations": {"a": "b"},
    "HostConfig.CapAdd": ["NET_ADMIN"],
    "HostConfig.CapDrop": ["ALL"],
    "HostConfig.CgroupnsMode": "host",
    "HostConfig.Dns": ["10.0.0.1"],
    "HostConfig.DnsOptions": ["ndots:1"],
    "HostConfig.DnsSearch": ["example.org"],
    "HostConfig.ExtraHosts": ["a:10.0.0.1"],
    "HostConfig.GroupAdd": ["7"],
    "HostConfig.IpcMode": "host",
    "HostConfig.Links": ["/other:o"],
    "HostConfig.OomScoreAdj": 100,
    "HostConfig.PidMode": "host",
    "HostConfig.Privileged": True,
    "HostConfig.ReadonlyRootfs": True,
    "HostConfig.SecurityOpt": ["no-new-privileges"],
    "HostConfig.Tmpfs": {"/t": "size=1m"},
    "HostConfig.UTSMode": "host",
    "HostConfig.UsernsMode": "host",
    "HostConfig.ShmSize": 1 << 20,
    "HostConfig.Sysctls": {"net.ipv4.ip_forward": "1"},
}
#: Read by clients alone, or carried out elsewhere (VolumesFrom, VolumeDriver and ConsoleSize
#: by the engine; PublishAllPorts with exposed ports, below).
GIVEN_BACK: dict[str, Any] = {
    "AttachStdin": True,
    "AttachStdout": True,
    "AttachStderr": True,
    "OnBuild": ["RUN true"],
    "Shell": ["/bin/sh", "-c"],
    "HostConfig.ContainerIDFile": "/tmp/id",
    "HostConfig.ConsoleSize": [24, 80],
    "HostConfig.VolumesFrom": ["other"],
    "HostConfig.VolumeDriver": "local",
    "HostConfig.PublishAllPorts": True,
}
WARNED_OF: dict[str, Any] = {
    "ArgsEscaped": True,
    "HostConfig.CpuCount": 1,
    "HostConfig.CpuPercent": 1,
    "HostConfig.IOMaximumIOps": 1,
    "HostConfig.IOMaximumBandwidth": 1,
    "HostConfig.KernelMemoryTCP": 1,
    "HostConfig.CpuRealtimePeriod": 1,
    "HostConfig.CpuRealtimeRuntime": 1,
}
REFUSED: dict[str, Any] = {
    "HostConfig.CgroupParent": "/x",
    "HostConfig.DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}],
    "HostConfig.Cgroup": "x",
    "HostConfig.StorageOpt": {"size": "1G"},
    "HostConfig.Runtime": "kata",
    "HostConfig.Isolation": "hyperv",
    "HostConfig.MaskedPaths": ["/proc/whatever"],
    "HostConfig.ReadonlyPaths": ["/proc/whatever"],
}


def request(place: str = "", value: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = {"Image": "box:1", "HostConfig": {}}
    if place.startswith("HostConfig."):
        made["HostConfig"][place.removeprefix("HostConfig.")] = value
    elif place:
        made[place] = value
    return made


def config(asked: dict[str, Any]) -> ContainerConfig:
    return container_config("box", asked, IMAGE, lambda target: f"volume-of{target}")


def inspected(made: ContainerConfig) -> dict[str, Any]:
    record = ContainerRecord(id="b" * 64, config=made, created_at=1.0)
    shape = inspection.inspected(
        record,
        directory=inspection.Path("/d"),
        log=inspection.Path("/l"),
        volume_path=lambda name: f"/volumes/{name}",
    )
    return {
        **shape["Config"],
        **{f"HostConfig.{key}": value for key, value in shape["HostConfig"].items()},
    }


def test_the_tables_name_every_field_of_the_request() -> None:
    fields = {*wish.CONFIG, *(f"HostConfig.{name}" for name in wish.HOST_CONFIG)}
    tables = [*CARRIED_OUT, *GIVEN_BACK, *WARNED_OF, *REFUSED]
    assert sorted(tables) == sorted(fields)


@pytest.mark.parametrize("place", CARRIED_OUT)
def test_carried_out(place: str) -> None:
    asked = request(place, CARRIED_OUT[place])
    assert replace(config(asked), asked="") != replace(config(request()), asked="")
    assert wish.warnings(asked) == []


@pytest.mark.parametrize("place", GIVEN_BACK)
def test_given_back(place: str) -> None:
    value = GIVEN_BACK[place]
    assert inspected(config(request(place, value)))[place] == value


@pytest.mark.parametrize("place", WARNED_OF)
def test_warned_of(place: str) -> None:
    asked = request(place, WARNED_OF[place])
    config(asked)
    (warning,) = wish.warnings(asked)
    discarded = {"HostConfig": {"NetworkMode": "host", "PortBindings": {"80/tcp": [{}]}}}
    assert wish.warnings(discarded) == [
        "Published ports are discarded when using host network mode"
    ]
    assert warning.startswith(place.rpartition(".")[2])


@pytest.mark.parametrize("place", REFUSED)
def test_refused(place: str) -> None:
    with pytest.raises(StackctlError):
        config(request(place, REFUSED[place]))


def test_fields_of_endpoints_and_mounts() -> None:
    asked = request()
    asked["NetworkingConfig"] = {
        "EndpointsConfig": {
            "back": {
                "Aliases": ["a"],
                "Links": ["other:o"],
                "IPAMConfig": {"IPv4Address": "10.0.0.9", "LinkLocalIPs": ["169.254.0.9"]},
                "DriverOpts": {
                    wish.ENDPOINT_OPTIONS[0]: "lan0",
                    wish.ENDPOINT_OPTIONS[1]: "net.ipv4.conf.IFNAME.rp_filter=2",
                    "x": "y",
                },
                "GwPriority": 3,
            }
        }
    }
    made = config(asked)
    back = made.networks[1]
    assert (back.aliases, back.ipv4_address, back.interface_name, back.gw_priority) == (
        ("a",),
        "10.0.0.9",
        "lan0",
        3,
    )
    assert back.link_local_ips == ("169.254.0.9",)
    assert back.settings == (("ipv4/conf/IFNAME/rp_filter", "2"),)
    assert made.links == (("o", "other"),)
    assert len(wish.warnings(asked)) == 1  # the driver option x
    for options, kind in (
        ({"TmpfsOptions": {"Options": [["noexec"]]}}, "tmpfs"),
        ({"TmpfsOptions": {"Mode": 7}}, "bind"),
        ({"BindOptions": {"ReadOnlyNonRecursive": True}, "ReadOnly": True}, "bind"),
        ({"Consistency": "now and then"}, "bind"),
        ({}, "npipe"),
    ):
        mount = {"Type": kind, "Source": "/etc", "Target": "/x", **options}
        with pytest.raises(StackctlError):
            config(request("HostConfig.Mounts", [mount]))


def test_volumes_get_driver_options_and_labels() -> None:
    options = {"type": "tmpfs", "o": "size=1m"}
    asked = request("HostConfig.VolumeDriver", "other") | {"Volumes": {"/own": {}}}
    asked["HostConfig"]["Binds"] = ["named:/named"]
    asked["HostConfig"]["Mounts"] = [
        {
            "Target": "/lent/",
            "Source": "lent",
            "VolumeOptions": {"Labels": {"a": "b"}, "DriverConfig": {"Options": options}},
        },
        {"Target": "/plain", "Source": "plain", "Type": "volume"},
    ]
    found = volume_wishes.asked(asked, config(asked))
    drivers = {name: volume.driver for name, volume in found.items()}
    assert len(drivers) == 4 and drivers.pop("named") == "other"
    assert (drivers.pop("lent"), drivers.pop("plain")) == ("local", "local")
    assert list(drivers.values()) == ["other"]
    assert (found["lent"].labels, found["lent"].driver_opts) == ({"a": "b"}, options)


def test_inspect_speaks_the_words_of_the_request() -> None:
    made = config(
        {
            "Image": "box:1",
            "Env": ["A", "B=1"],
            "StdinOnce": False,
            "HostConfig": {
                "Binds": ["/etc:/e:ro,rshared"],
                "Tmpfs": {"/t": "size=3M"},
                "SecurityOpt": [],
                "MaskedPaths": [],
                "ReadonlyPaths": [],
            },
        }
    )
    assert made.security.unmasked and made.env == ("PATH=/bin", "B=1")
    shown = inspected(made)
    assert shown["Env"] == ["PATH=/bin", "B=1", "A"]
    assert shown["HostConfig.Tmpfs"] == {"/t": "size=3M"}
    assert shown["HostConfig.Binds"] == ["/etc:/e:ro,rshared"]
    assert shown["HostConfig.MaskedPaths"] == []
    # A copy of what inspect says is a request with the same meaning: recreation by others.
    usual = inspected(config(request()))
    copy = {k.removeprefix("HostConfig."): v for k, v in usual.items() if k.startswith("HostConf")}
    again = config({"Image": "box:1", "Cmd": ["true"], "HostConfig": copy})
    assert wish.warnings({"HostConfig": copy}) == []
    fewer = {"MaskedPaths": copy["MaskedPaths"][:1], "ReadonlyPaths": copy["ReadonlyPaths"]}
    assert [w.partition(":")[0] for w in wish.warnings({"HostConfig": fewer})] == ["MaskedPaths"]
    assert not again.security.unmasked and again.limits == config(request()).limits


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"Image": 7}, "Image"),
        ({"Tty": "yes"}, "Tty"),
        ({"Cmd": [1]}, "Cmd[0]"),
        ({"Env": "A=B"}, "Env"),
        ({"HostConfig": []}, "HostConfig"),
        ({"HostConfig": {"Memory": "1g"}}, "HostConfig.Memory"),
        ({"HostConfig": {"Memory": 1 << 70}}, "HostConfig.Memory"),
        (
            {"HostConfig": {"Ulimits": [{"Name": 1, "Soft": 1, "Hard": 1}]}},
            "HostConfig.Ulimits[0].Name",
        ),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}}, "PortBindings.80/tcp"),
        ({"NetworkingConfig": {"EndpointsConfig": {"n": []}}}, "EndpointsConfig.n"),
    ],
)
def test_a_value_of_another_type_is_a_mistake_with_its_place(asked: Any, place: str) -> None:
    with pytest.raises(UsageError) as mistake:
        wish.checked(asked)
    assert place in str(mistake.value)


WORDS = ("a", "/a", "80/tcp", "1", "host", "none", "bind", "tmpfs", "volume", "a:/b", "A=b", "..")


def values(form: Any) -> st.SearchStrategy[Any]:
    """What fits the form of a field, and now and then what does not."""
    if form is str:
        fitting: st.SearchStrategy[Any] = st.sampled_from(WORDS) | st.text(max_size=4)
    elif form is int:
        fitting = st.integers(-2, 9) | st.integers()
    elif form is bool:
        fitting = st.booleans()
    elif isinstance(form, tuple):
        fitting = st.one_of([values(each) for each in form])
    elif isinstance(form, list):
        fitting = st.lists(values(form[0]), max_size=2)
    elif "" in form:
        fitting = st.dictionaries(st.sampled_from(WORDS) | st.text(), values(form[""]), max_size=2)
    else:
        fitting = st.fixed_dictionaries(
            {}, optional={n: values(f) for n, f in form.items() if n != "*"}
        )
    odd = st.sampled_from([None, 7, "7", [None], {}])
    return st.integers(0, 30).flatmap(lambda dice: odd if dice == 0 else fitting)


@settings(
    suppress_health_check=list(HealthCheck), deadline=None, max_examples=150, derandomize=True
)
@given(data=st.data())
def test_any_request_is_a_container_or_a_mistake_of_who_asks(data: st.DataObject) -> None:
    places = [*wish.CONFIG, *(f"HostConfig.{name}" for name in wish.HOST_CONFIG)]
    asked: dict[str, Any] = {"Image": "box:1", "HostConfig": {}}
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=5)):
        owner, _, name = place.rpartition(".")
        form = wish.HOST_CONFIG[name] if owner else wish.CONFIG[name]
        (asked["HostConfig"] if owner else asked)[name] = data.draw(values(form))
    try:
        made = config(asked)
    except StackctlError:
        return
    wish.warnings(asked)
    json.dumps(inspected(made))


def test_names_are_read_in_any_case() -> None:
    found = wish.canonical({"detachkeys": "a", "Tty": True, "tty": False, "other": 1}, wish.EXEC)
    assert found == {"DetachKeys": "a", "Tty": True, "other": 1}


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"Env": [""]}, "invalid environment variable: "),
        ({"Env": ["=foo"]}, "invalid environment variable: =foo"),
        ({"Healthcheck": {"Interval": 500_000}}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Healthcheck": {"Timeout": -1}}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"Healthcheck": {"Retries": -10}}, "Retries in Healthcheck cannot be negative"),
        ({"HostConfig": {"Tmpfs": {"foo": ""}}}, "mount path must be absolute"),
        ({"HostConfig": {"Tmpfs": {"//": ""}}}, "destination can't be '/'"),
        ({"HostConfig": {"IpcMode": "invalid"}}, "invalid IPC mode: invalid"),
        ({"HostConfig": {"PidMode": "container"}}, "invalid PID mode: container"),
        ({"HostConfig": {"UTSMode": "container:x"}}, "invalid UTS mode: container:x"),
        ({"HostConfig": {"Annotations": {"": "a"}}}, "the empty string is not permitted"),
        ({"HostConfig": {"CpusetCpus": "1-42,,"}}, "Invalid value 1-42,, for cpuset cpus"),
        ({"HostConfig": {"CpusetCpus": "1-0"}}, "Invalid value 1-0 for cpuset cpus"),
        ({"HostConfig": {"CpusetMems": "42-3,1--"}}, "Invalid value 42-3,1-- for cpuset mems"),
        ({"HostConfig": {"ShmSize": -1}}, "SHM size can not be less than 0"),
        ({"HostConfig": {"BlkioWeight": 5}}, "Range of blkio weight is from 10 to 1000"),
        ({"HostConfig": {"CapAdd": ["ALL", "BOGUS"]}}, 'unknown capability: "BOGUS"'),
        ({"HostConfig": {"CapDrop": ["x"]}}, 'invalid CapDrop: unknown capability: "x"'),
        ({"HostConfig": {"OomScoreAdj": 1001}}, "Invalid value 1001, range for oom score adj"),
        ({"HostConfig": {"Memory": 524287}}, "Minimum memory limit allowed is 6MB"),
        (
            {"HostConfig": {"Memory": 32 << 20, "MemoryReservation": 64 << 20}},
            "Minimum memory limit can not be less than memory reservation limit",
        ),
        ({"HostConfig": {"NanoCpus": 10**9, "CpuQuota": 5000}}, "--cpus says what --cpu-quota"),
        ({"HostConfig": {"RestartPolicy": {"Name": "x"}}}, "invalid restart policy"),
        (
            {"HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}}},
            "maximum retry count cannot be used with restart policy",
        ),
        (
            {"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -2}}},
            "maximum retry count cannot be negative",
        ),
        (
            {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "aa80"}]}}},
            'invalid port specification: "aa80"',
        ),
        ({"HostConfig": {"PortBindings": {"1;2": [{}]}}}, 'invalid port specification: "1;2"'),
        ({"HostConfig": {"Dns": ["1.1.1.1", "nonsense"]}}, '"nonsense" is not an IP address'),
        ({"HostConfig": {"DnsSearch": ["bad domain"]}}, '"bad domain" cannot be a domain'),
        ({"HostConfig": {"DnsOptions": ["a\nb"]}}, "is no resolver option such as ndots:2"),
        ({"HostConfig": {"Links": ["db:b ad"]}}, '"b ad" cannot be a name'),
        ({"HostConfig": {"ExtraHosts": ["a b:10.0.0.1"]}}, '"a b" cannot be a name'),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["b ad"]}}}},
            '"b ad" cannot be a name',
        ),
        ({"ExposedPorts": {"70-80x/tcp": {}}}, 'invalid port specification: "70-80x/tcp"'),
        ({"ExposedPorts": {"80/foo": {}}}, "no protocol is called foo"),
        (
            {"HostConfig": {"NetworkMode": "container:x", "PortBindings": {"80/tcp": [{}]}}},
            "conflicting options: port publishing and the container type network mode",
        ),
    ],
)
def test_mistakes_in_the_words_that_clients_look_for(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        container_config("box", {"Image": "box:1", **wish}, IMAGE, lambda target: "v")
    assert words in refused.value.brief


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"Type": "notreal", "Target": "/foo"}, "mount type unknown"),
        ({"Type": "bind"}, "Target must not be empty"),
        ({"Type": "bind", "Target": "/foo"}, "Source must not be empty"),
        (
            {"Type": "bind", "Target": "/foo", "Source": "/etc", "VolumeOptions": {"NoCopy": True}},
            "VolumeOptions must not be specified",
        ),
        ({"Type": "tmpfs", "Target": "/foo", "Source": "/x"}, "Source must not be specified"),
        (
            {"Source": "v", "Target": "/foo", "VolumeOptions": {"Subpath": "../up"}},
            "subpath must be a relative path within the volume",
        ),
        ({"Type": "image", "Target": "/foo"}, "Source must not be empty"),
        (
            {"Type": "image", "Source": "i", "Target": "/f", "ImageOptions": {"Subpath": "/x"}},
            "subpath must be a relative path within the image",
        ),
    ],
)
def test_mistakes_in_mounts(mount: dict[str, Any], words: str) -> None:
    wish = {"Image": "box:1", "HostConfig": {"Mounts": [mount]}}
    with pytest.raises(UsageError) as refused:
        container_config("box", wish, IMAGE, lambda target: "v")
    assert words in refused.value.brief
