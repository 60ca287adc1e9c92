"""From the user's stack to what containers need."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackctl.daemon.build_wishes import named, wish, wishes, with_builds
from stackctl.daemon.desired import desired, one_off
from stackctl.daemon.projects import Project
from stackctl.daemon.verbs import stack_images
from stackctl.errors import NotFound, Place, StackFileError, UsageError
from stackctl.model.container import (
    BindMount,
    HealthCheck,
    ImageMount,
    NetworkAttachment,
    PortBinding,
    RestartMode,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.image import Image, ImageConfig
from stackctl.model.lending import inherited
from stackctl.scheduler.desired import Condition, Desired
from stackctl.scheduler.differences import changes, of_resource
from stackctl.spec.hashes import config_hash
from stackctl.spec.loader import LoadRequest, load
from stackctl.spec.model import Stack

PROBE = HealthCheck(test=("/probe",), interval=7.0, start_period=2.0)
IMAGE = Image(
    id="sha256:1",
    reference="img",
    config=ImageConfig(
        entrypoint=("/entry",),
        command=("serve", "--all"),
        env=("PATH=/bin", "A=image", "BROKEN"),
        working_dir="/srv",
        user="app",
        labels={"org": "x", "com.docker.compose.project": "hostile"},
        volumes=("/var/data", "/cache"),
        exposed_ports=("80/tcp",),
        stop_signal="SIGQUIT",
        health=PROBE,
    ),
)


class Stacks:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, text: str, **options: Any) -> Stack:
        (self.directory / "stack.yaml").write_text(text)
        request = LoadRequest(cwd=str(self.directory), name="p", **options)
        return load(request).stack

    def service(self, lines: str, *, top: str = "") -> Stack:
        body = "".join(f"    {line}\n" for line in lines.splitlines())
        return self.load(f"services:\n  web:\n    image: img\n{body}{top}")


@pytest.fixture
def stacks(tmp_path: Path) -> Stacks:
    return Stacks(tmp_path)


def wanted(stack: Stack, **options: Any) -> Desired:
    options.setdefault("name_volume", lambda container, target: f"anon:{container}:{target}")
    return desired(stack, lambda reference: IMAGE, **options)


def container(stack: Stack) -> Any:
    (service,) = wanted(stack).services
    return service.replicas[0]


def test_a_build_may_be_based_on_a_service_that_is_not_enabled(stacks: Stacks) -> None:
    stack = stacks.load(
        "services:\n"
        "  base: {profiles: [off], build: .}\n"
        "  other: {profiles: [off], image: x}\n"
        "  app:\n"
        "    build: {context: ., additional_contexts: {under: 'service:base'}}\n"
        "    depends_on: {other: {required: false}}\n"
    )
    assert wish(stack, "app", {}).bases["base"].names == ("p-base",)
    asked = {"services": ["app"], "with_dependencies": True}
    assert list(wishes(stack, asked)) == ["app"]


def test_a_build_for_several_platforms_is_for_a_container_of_this_machine_alone(
    stacks: Stacks,
) -> None:
    both, one = ("linux/amd64", "linux/arm64"), ("linux/arm64",)
    stack = stacks.load(
        "services:\n"
        "  both: {build: {platforms: [linux/amd64, linux/arm64]}}\n"
        "  one: {build: {platforms: [linux/arm64]}, platform: linux/arm64}\n"
        "  none: {build: .}\n"
    )
    asked = wishes(stack, {})
    assert {name: each.platforms for name, each in asked.items()} == {
        "both": both,
        "one": one,
        "none": (),
    }
    made = with_builds(wanted(stack), stack, {}).services
    assert {s.name: s.build and s.build.platforms for s in made} == {
        "both": (),
        "one": one,
        "none": (),
    }
    usual = {"project": {"environment": {"DOCKER_DEFAULT_PLATFORM": "linux/s390x"}}}
    with pytest.raises(StackFileError, match="lacks the platform linux/s390x") as caught:
        wishes(stack, usual)
    assert caught.value.place is not None and caught.value.place.line == 2
    assert wishes(stack, {**usual, "services": ["one", "none"]})


@pytest.mark.parametrize(
    ("lines", "entrypoint", "command"),
    [
        ("", ("/entry",), ("serve", "--all")),
        ("command: other 'one word'", ("/entry",), ("other", "one word")),
        ("command: []", ("/entry",), ("serve", "--all")),
        ("entrypoint: /own", ("/own",), ()),
        ("entrypoint: /own x\ncommand: [y]", ("/own", "x"), ("y",)),
        ("entrypoint: null", ("/entry",), ("serve", "--all")),
        ("entrypoint: []", (), ("serve", "--all")),
        ("entrypoint: ''\ncommand: [y]", (), ("y",)),
    ],
)
def test_what_is_executed(
    stacks: Stacks, lines: str, entrypoint: tuple[str, ...], command: tuple[str, ...]
) -> None:
    config = container(stacks.service(lines))
    assert (config.entrypoint, config.command) == (entrypoint, command)
    assert config.argv == (*entrypoint, *command)


def test_the_image_gives_defaults(stacks: Stacks) -> None:
    config = container(stacks.service(""))
    assert (config.working_dir, config.user, config.stop_signal) == ("/srv", "app", "SIGQUIT")
    assert config.env == ("PATH=/bin", "A=image")
    # A name that nobody gives a value takes the image's away.
    assert container(stacks.service("environment: [A]")).env == ("PATH=/bin",)
    assert config.expose == ("80/tcp",)
    assert config.health == PROBE
    assert config.stop_grace == 10.0
    assert config.shm_size == 64 * 1024 * 1024
    assert config.image_id == "sha256:1"


def test_the_service_wins(stacks: Stacks) -> None:
    config = container(
        stacks.service(
            "working_dir: /w\nuser: '0:0'\nstop_signal: INT\nstop_grace_period: 0s\nhostname: h\n"
            "environment: {A: own, B: 2, GONE: }\nexpose: [81, 53/udp]\nshm_size: 1m\ninit: true\n"
            "tty: true\nstdin_open: true\nread_only: true\nrestart: on-failure:3\n"
            "cap_add: [net_admin]\ncap_drop: [CAP_CHOWN]\nprivileged: true\nuserns_mode: host\n"
            "security_opt: ['no-new-privileges:true', seccomp=unconfined]\nlabels: {mine: 1}"
        )
    )
    assert (config.working_dir, config.user, config.stop_signal) == ("/w", "0:0", "SIGINT")
    assert (config.stop_grace, config.hostname, config.shm_size) == (0.0, "h", 1 << 20)
    assert config.env == ("PATH=/bin", "A=own", "B=2")
    assert config.expose == ("80/tcp", "81/tcp", "53/udp")
    assert config.init and config.tty and config.stdin_open and config.read_only
    assert (config.restart.mode, config.restart.max_retries) == (RestartMode.ON_FAILURE, 3)
    assert (config.security.cap_add, config.security.cap_drop) == (("NET_ADMIN",), ("CHOWN",))
    assert config.security.privileged and config.security.no_new_privileges
    assert (config.security.seccomp, config.security.userns) == ("unconfined", "host")
    assert config.labels["mine"] == "1"


def test_an_image_is_mounted(stacks: Stacks) -> None:
    stack = stacks.service(
        "volumes: [{type: image, source: data, target: /x, image: {subpath: a/b}}]\n"
        "read_only: true",
        top="volumes: {data: }\n",
    )
    found = wanted(stack)
    # No volume is meant that is called so, too.
    assert found.volumes == ()
    assert found.services[0].further_images == ("data",)
    mounts = found.services[0].replicas[0].mounts
    assert mounts[-1] == ImageMount(image="data", target="/x", subpath="a/b")


def test_links_to_services_and_to_containers_of_others(stacks: Stacks) -> None:
    found = wanted(
        stacks.load(
            "services:\n  a: {image: i}\n"
            "  b: {image: i, links: [a, 'a:one'], external_links: [else-db-1, 'else-db-1:db']}\n"
        )
    )
    b = found.services[1]
    assert b.external_links == ("else-db-1", "else-db-1")
    assert b.replicas[0].links == (
        ("a", "a"),
        ("one", "a"),
        ("else-db-1", "else-db-1"),
        ("db", "else-db-1"),
    )


def test_what_is_written_out_though_it_is_so_anyway_makes_no_other_container(
    stacks: Stacks,
) -> None:
    def digest(lines: str) -> str:
        return str(container(stacks.service(lines)).config_hash)

    plain = digest("volumes: [{type: volume, target: /x}]\nhealthcheck: {test: t}")
    assert plain == digest(
        "volumes: [{type: volume, target: /x, read_only: false}]\nrestart: 'no'\ninit: false\n"
        "privileged: false\ntty: false\nread_only: false\nstdin_open: false\n"
        "healthcheck: {test: t, disable: false}\n"
        "develop: {watch: [{path: ., action: restart}]}"
    )
    for other in ("init: true", "restart: always", "entrypoint: []", "command: ['']"):
        assert (
            digest(f"volumes: [{{type: volume, target: /x}}]\nhealthcheck: {{test: t}}\n{other}")
            != plain
        )


def test_a_plan_says_what_has_changed(stacks: Stacks) -> None:
    old = container(
        stacks.service("environment: {A: 1, B: 2}\nvolumes: [/x]\nlabels: {l: 1}\ncommand: a")
    )
    new = container(
        stacks.service(
            "environment: {A: 1, B: 3, C: 4}\nvolumes: [/x, ./d:/d]\nlabels: {l: 2}\n"
            "command: b\nrestart: always\nmem_limit: 64m\nstop_grace_period: 1s"
        )
    )
    assert changes(old.made_of, old.made_of) == ()
    *found, last = [str(change) for change in changes(old.made_of, new.made_of) or ()]
    assert last.startswith('volumes[/d] added: {"source": "')
    assert found == [
        'command: ["a"] -> ["b"]',
        'environment.B: "2" -> "3"',
        'environment.C added: "4"',
        'labels.l: "1" -> "2"',
        "mem_limit added: 64m",
        'restart added: "always"',
        'stop_grace_period added: "1s"',
    ]


def test_limits_by_either_name(stacks: Stacks) -> None:
    one = container(
        stacks.service("mem_limit: 64m\ncpus: 0.5\npids_limit: 9\nmem_reservation: 1m")
    ).limits
    other = container(
        stacks.service(
            "deploy: {resources: {limits: {memory: 64m, cpus: '0.5', pids: 9}, "
            "reservations: {memory: 1m}}}"
        )
    ).limits
    assert one == other
    assert (one.memory, one.cpus, one.pids, one.memory_reservation) == (1 << 26, 0.5, 9, 1 << 20)
    assert container(stacks.service("pids_limit: 0")).limits.pids == -1
    assert container(stacks.service("")).limits.pids is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("healthcheck: {disable: true}", None),
        ("healthcheck: {test: [NONE]}", None),
        (
            "healthcheck: {interval: 1s}",
            HealthCheck(test=("/probe",), interval=1.0, start_period=2.0),
        ),
        (
            "healthcheck: {test: 'a b', retries: 1, timeout: 2s, start_period: 3s, "
            "start_interval: 100ms}",
            HealthCheck(
                test=("/bin/sh", "-c", "a b"),
                interval=7.0,
                retries=1,
                timeout=2.0,
                start_period=3.0,
                start_interval=0.1,
            ),
        ),
        (
            "healthcheck: {test: [CMD, a, b], start_period: 0s, interval: 0s}",
            HealthCheck(test=("a", "b"), interval=7.0, start_period=0.0),
        ),
        # As Docker: the shell's further words are its $0, $1, ...
        (
            "healthcheck: {test: [CMD-SHELL, pg_isready, -d, db]}",
            HealthCheck(
                test=("/bin/sh", "-c", "pg_isready", "-d", "db"), interval=7.0, start_period=2.0
            ),
        ),
    ],
)
def test_health_checks(stacks: Stacks, lines: str, expected: HealthCheck | None) -> None:
    config = container(stacks.service(lines))
    assert config.health == expected


def test_mounts_replace_what_the_image_declares(stacks: Stacks) -> None:
    stack = stacks.service(
        "volumes:\n"
        "  - data:/var/data:ro\n"
        "  - ./host:/host\n"
        "  - /own\n"
        "  - {type: volume, source: shared, target: /s, volume: {nocopy: true, subpath: a/b}}\n"
        "  - {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}\n"
        "  - {type: bind, source: /x, target: /x, bind: {create_host_path: false}}\n"
        "tmpfs: ['/run:size=2m,mode=755']",
        top="volumes: {data: , shared: {external: true}, unused: }\n",
    )
    by_target = {mount.target: mount for mount in container(stack).mounts}
    assert by_target == {
        "/var/data": VolumeMount(volume="p_data", target="/var/data", read_only=True),
        "/cache": VolumeMount(volume="anon:p-web-1:/cache", target="/cache", anonymous=True),
        "/own": VolumeMount(volume="anon:p-web-1:/own", target="/own", anonymous=True),
        "/host": BindMount(source=f"{stacks.directory}/host", target="/host"),
        "/s": VolumeMount(volume="shared", target="/s", nocopy=True, subpath="a/b"),
        "/t": TmpfsMount(target="/t", size=1 << 20, mode=0o700),
        "/run": TmpfsMount(target="/run", size=2 << 20, mode=0o755),
        "/x": BindMount(source="/x", target="/x", create_host_path=False),
    }
    plan = wanted(stack)
    assert [v.name for v in plan.volumes] == ["p_data"]
    assert list(plan.external_volumes) == ["shared"]


def test_what_no_service_uses_is_wanted_on_request(stacks: Stacks) -> None:
    text = (
        "networks: {n: , e: {external: true}}\nvolumes: {v: , f: {external: true}}\n"
        "services: {a: {image: img, network_mode: none}}\n"
    )
    assert wanted(stacks.load(text)).networks == wanted(stacks.load(text)).volumes == ()
    plan = wanted(stacks.load(text, all_resources=True))
    file = f"{stacks.directory}/stack.yaml"
    assert [n.name for n in plan.networks] == ["p_n"]
    assert plan.external_networks == {"e": Place(file, 1, 17)}
    assert [v.name for v in plan.volumes] == ["p_v"]
    assert plan.external_volumes == {"f": Place(file, 2, 16)}
    with pytest.raises(StackFileError, match="overlay"):
        wanted(stacks.load(text.replace("n: ,", "n: {driver: overlay},"), all_resources=True))


def test_anonymous_volumes_have_names_of_their_own(stacks: Stacks) -> None:
    stack = stacks.service("scale: 2")
    replicas = desired(stack, lambda reference: IMAGE).services[0].replicas
    names = [mount.volume for config in replicas for mount in config.mounts]
    assert len(set(names)) == 4
    assert all(len(name) == 64 for name in names)


def test_ports(stacks: Stacks) -> None:
    config = container(
        stacks.service("ports: ['8080:80', 443, '127.0.0.1:0:53/udp', '9000-9005:90']")
    )
    assert config.ports == (
        PortBinding(container_port=80, host_port=(8080, 8080)),
        PortBinding(container_port=443),
        PortBinding(container_port=53, protocol="udp", host_ip="127.0.0.1"),
        PortBinding(container_port=90, host_port=(9000, 9005)),
    )


def test_networks(stacks: Stacks) -> None:
    stack = stacks.load(
        """
services:
  web:
    image: img
    networks:
      front:
      back: {aliases: [b, web], priority: 5, gw_priority: 1, ipv4_address: 10.9.0.5}
      out:
  alone: {image: img, network_mode: none}
  guest: {image: img, network_mode: street}
networks:
  front: {name: fixed}
  back:
    internal: true
    labels: [a=b]
    driver_opts: {com.docker.network.driver.mtu: 1400}
    ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.1}]}
  out: {external: true}
  unused:
"""
    )
    plan = wanted(stack)
    web, alone, guest = (service.replicas[0] for service in plan.services)
    # The engine's, whatever the stack calls its own.
    assert (guest.networks, guest.network_mode) == ((NetworkAttachment(network="street"),), "")
    assert web.networks == (
        NetworkAttachment(
            network="p_back", aliases=("web", "b"), ipv4_address="10.9.0.5", gw_priority=1
        ),
        NetworkAttachment(network="fixed", aliases=("web",)),
        NetworkAttachment(network="out", aliases=("web",)),
    )
    assert (alone.networks, alone.network_mode) == ((), "none")
    assert [n.name for n in plan.networks] == ["fixed", "p_back"]
    lines = {name: place and place.line for name, place in plan.external_networks.items()}
    assert lines == {"out": 18, "street": 10}
    back = plan.networks[1]
    assert back.internal and back.ipam[0].subnet == "10.9.0.0/24"
    assert back.labels == {
        "a": "b",
        "com.docker.compose.network": "back",
        "com.docker.compose.project": "p",
    }
    assert back.driver_opts == {"com.docker.network.driver.mtu": "1400"}
    assert (back.project, back.key) == ("p", "back")


def test_names_numbers_and_labels(stacks: Stacks) -> None:
    stack = stacks.load(
        """
services:
  db: {image: img, container_name: the-db}
  web:
    image: img
    scale: 2
    depends_on: {db: {condition: service_healthy, restart: true, required: false}}
"""
    )
    db, web = wanted(stack).services
    assert [c.name for c in (*db.replicas, *web.replicas)] == ["the-db", "p-web-1", "p-web-2"]
    assert [c.number for c in web.replicas] == [1, 2]
    (needed,) = web.depends_on
    assert (needed.service, needed.condition) == ("db", Condition.HEALTHY)
    assert needed.restart and not needed.required
    labels = dict(web.replicas[1].labels)
    assert len(labels.pop("com.docker.compose.config-hash")) == 64
    assert labels == {
        "org": "x",
        "com.docker.compose.project": "p",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "2",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.depends_on": "db:service_healthy:true",
        "com.docker.compose.project.working_dir": str(stacks.directory),
        "com.docker.compose.project.config_files": str(stacks.directory / "stack.yaml"),
    }
    assert db.has_healthcheck
    assert db.pull_policy == "missing"


def test_the_targets_of_mounts_have_one_way_of_writing(stacks: Stacks) -> None:
    written = ["/a/data", "/a/data/", "/a//data", "/a/./x/../data", "//a/data"]
    found = {container(stacks.service(f"volumes: ['{target}']")).config_hash for target in written}
    assert len(found) == 1
    long = "volumes: [{type: volume, target: /a/data/}]"
    assert {m.target for m in container(stacks.service(long)).mounts} >= {"/a/data", "/cache"}
    declared = Image(id="i", reference="img", config=ImageConfig(volumes=("/dd/", "/e//f")))
    (service,) = desired(stacks.service("volumes: ['/dd']"), lambda reference: declared).services
    assert {m.target for m in service.replicas[0].mounts} == {"/dd", "/e/f"}
    # One that was made before that keeps what it has, too.
    former = replace(service.replicas[0], mounts=(_anonymous("/dd/", "old"),))
    assert {m.volume for m in inherited(service.replicas[0], former)} >= {"old"}


def _anonymous(target: str, volume: str) -> VolumeMount:
    return VolumeMount(volume=volume, target=target, anonymous=True)


def test_files_of_variables_that_were_named_are_a_label(stacks: Stacks) -> None:
    for name in ("one.env", "two.env"):
        (stacks.directory / name).touch()
    stack = stacks.load("services: {a: {image: img}}", env_files=("one.env", "two.env"))
    label = container(stack).labels["com.docker.compose.project.environment_file"]
    assert label == f"{stacks.directory}/one.env,{stacks.directory}/two.env"


def test_scale_of_the_caller(stacks: Stacks) -> None:
    stack = stacks.load("services: {a: {image: img}, b: {image: img, scale: 2}}")
    plan = wanted(stack, scale={"a": 3, "b": 0})
    assert [len(service.replicas) for service in plan.services] == [3, 0]
    with pytest.raises(NotFound, match='no service is called "c"'):
        wanted(stack, scale={"c": 1})
    with pytest.raises(UsageError):
        wanted(stack, scale={"a": -1})
    with pytest.raises(UsageError, match=r"5002 containers are too many: .* a was to have 5000"):
        wanted(stack, scale={"a": 5000})
    stack = stacks.load("services: {a: {image: img, scale: 3000}, b: {image: img, scale: 2001}}")
    with pytest.raises(StackFileError, match="5001 containers are too many"):
        wanted(stack)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("container_name: one", "cannot all be called"),
        ("ports: ['80:80']", "cannot share host port 80"),
        ("ports: ['80-81:80']", "cannot share host port 80-81"),
        ("networks: {default: {mac_address: 02-00-00-00-00-01}}", "cannot share one mac_address"),
        ("mac_address: 02-00-00-00-00-01", "cannot share one mac_address"),
    ],
)
def test_what_replicas_cannot_share(stacks: Stacks, lines: str, message: str) -> None:
    stack = stacks.service(lines)
    wanted(stack)
    with pytest.raises(StackFileError, match=message) as caught:
        wanted(stack, scale={"web": 3})
    assert caught.value.place is not None and caught.value.place.line == 4


HOOK = "pre_start: [{command: a, image: img}"


@pytest.mark.parametrize(
    ("services", "message"),
    [
        (
            "a: {image: img, container_name: p-b-1}, b: {image: img}",
            '1:44: two containers would be called "p-b-1": of service "a" and service "b"',
        ),
        (
            "b: {image: img, scale: 2}, c: {image: img, container_name: p-b-2}",
            '1:71: two containers would be called "p-b-2": of service "b" and service "c"',
        ),
        (
            f"a: {{image: img, container_name: p-b-pre_start-0}}, b: {{image: img, {HOOK}]}}",
            '1:44: two containers would be called "p-b-pre_start-0"',
        ),
        (
            f"a: {{image: img, {HOOK}], container_name: p-a-pre_start-0}}",
            'two containers would be called "p-a-pre_start-0": of service "a"',
        ),
        (
            f"a: {{image: img, {HOOK}, {{command: b, image: img}}]}}, a-pre_start: {{image: img}}",
            '"p-a-pre_start-1": of service "a" and service "a-pre_start"',
        ),
        (
            f"a: {{image: img, {HOOK[:-1]}, per_replica: true}}]}}, a-pre_start-0: {{image: img}}",
            '"p-a-pre_start-0-1": of service "a" and service "a-pre_start-0"',
        ),
        ("a: {image: img, container_name: p-b-2}, b: {image: img}", ""),
        ("a: {image: img, container_name: p-b-1}, b: {image: img, scale: 0}", ""),
        ("a: {image: img, container_name: p-b-1}, b: {image: img, profiles: [x]}", ""),
        ("a: {image: img, container_name: p-b-1}, b: {image: img, container_name: cc}", ""),
        ("a: {image: img, container_name: p-a-1}", ""),
    ],
)
def test_names_that_two_containers_would_have(stacks: Stacks, services: str, message: str) -> None:
    stack = stacks.load(f"services: {{{services}}}")
    if not message:
        wanted(stack)
        return
    with pytest.raises(StackFileError) as caught:
        wanted(stack)
    assert message in str(caught.value) and caught.value.place is not None


def test_names_count_of_the_services_that_are_meant(stacks: Stacks) -> None:
    stack = stacks.load(
        "services: {a: {image: img, container_name: p-b-1}, b: {image: img}, c: {image: img}}"
    )
    wanted(stack, services=("a", "c"))
    wanted(stack, services=("b", "c"))
    with pytest.raises(StackFileError, match="two containers would be called"):
        wanted(stack, services=("a", "b"))


def test_disabled_services(stacks: Stacks) -> None:
    stack = stacks.load(
        "services: {a: {image: img}, b: {image: img, profiles: [x]}, "
        "c: {image: img, profiles: [y], depends_on: [b]}}"
    )
    plan = wanted(stack)
    assert [s.name for s in plan.services] == ["a"]
    assert plan.disabled == {"b", "c"}
    assert [s.name for s in wanted(stack, services=["b"]).services] == ["a", "b"]
    with pytest.raises(StackFileError, match='"c" depends on "b", which is disabled'):
        wanted(stack, services=["c"])


def hashed(stack: Stack) -> str:
    return config_hash(stack, stack.services["web"])


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        ("scale: 2", False),
        ("deploy: {replicas: 3}", False),
        ("pull_policy: always", False),
        ("profiles: [x]", False),
        ("depends_on: []", False),
        ("x-note: 1", False),
        # The same container, written out.
        *((f"{key}: 0", False) for key in ("cpus", "mem_limit", "oom_score_adj")),
        ("attach: true", False),
        ("logging: {}", False),
        ("ipc: private", False),
        ("stop_grace_period: 10s", False),
        *((f"{key}: private", False) for key in ("pid", "uts", "cgroup")),
        ("shm_size: 64m", False),
        ("memswap_limit: 0", False),
        ("mem_swappiness: -1", False),
        ("cpuset: ''", False),
        ("logging: {driver: json-file, options: {tag: x}}", False),
        ("networks: {default: {priority: 0, gw_priority: 0, aliases: []}}", False),
        ("deploy: {mode: replicated, placement: {constraints: [a]}, labels: {a: b}}", False),
        ("deploy: {update_config: {order: start-first}, endpoint_mode: vip}", False),
        ("deploy: {resources: {reservations: {cpus: '1'}}}", False),
        ("deploy: {restart_policy: {delay: 5s}}", True),  # there is one: condition any
        ("networks: {default: {priority: 5}}", True),
        ("shm_size: 65m", True),
        ("stop_grace_period: 11s", True),
        ("read_only: true", True),
        ("attach: false", True),
        ("healthcheck: {disable: true}", True),
        ("oom_score_adj: 1", True),
        ("restart: always", True),
        ("environment: {A: 1}", True),
        ("deploy: {resources: {limits: {memory: 9m}}}", True),
        ("entrypoint: []", True),
        ("volumes: ['data:/d']", True),
    ],
)
def test_what_recreates(stacks: Stacks, lines: str, changes: bool) -> None:
    top = "volumes: {data: }\n"
    plain = hashed(stacks.service("", top=top))
    stack = stacks.service(lines, top=top)
    service = {**stack.services, **stack.disabled}["web"]
    assert (config_hash(stack, service) != plain) is changes


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("ports: ['80:80']", "ports: [{target: 80, published: '80', mode: host}]"),
        ("ports: ['80']", "ports: [{target: 80, published: '0', name: web, app_protocol: http}]"),
        ("ports: ['80:80', '81:81']", "ports: ['81:81', '80:80']"),
        ("cap_add: [CHOWN, KILL]", "cap_add: [KILL, CHOWN]"),
        ("ulimits: {nofile: 5}", "ulimits: {nofile: {soft: 5, hard: 5}}"),
        ("devices: [/dev/null]", "devices: [{source: /dev/null, target: /dev/null}]"),
        (
            "volumes: ['/tmp:/d']",
            "volumes: [{type: bind, source: /tmp, target: /d, consistency: cached, "
            "bind: {propagation: rprivate, recursive: enabled}}]",
        ),
        (
            "deploy: {restart_policy: {condition: any}}",
            "deploy: {restart_policy: {max_attempts: 0, window: 5s}}",
        ),
        (
            "post_start: [{command: a}]",
            "post_start: [{command: a, user: '', privileged: false, environment: {}}]",
        ),
        ("volumes: ['data:/d']", "volumes: [{type: volume, source: data, target: /d}]"),
        (
            "volumes: ['data:/d']",
            "volumes: [{type: volume, source: data, target: /d, volume: {nocopy: false}}]",
        ),
    ],
)
def test_two_ways_to_write_the_same(stacks: Stacks, short: str, long: str) -> None:
    top = "volumes: {data: }\n"
    assert hashed(stacks.service(short, top=top)) == hashed(stacks.service(long, top=top))


def test_networks_and_volumes_written_out_are_the_same(stacks: Stacks) -> None:
    def made(network: str, volume: str) -> list[str]:
        top = f"networks: {{n: {network}}}\nvolumes: {{v: {volume}}}\n"
        found = wanted(stacks.service("networks: [n]\nvolumes: ['v:/v']", top=top))
        return [each.made_of for each in (*found.networks, *found.volumes)]

    options = "driver_opts: {}, ipam: {driver: default, options: {a: b}, config: []}"
    flags = "internal: false, attachable: true, enable_ipv4: true, enable_ipv6: false"
    written = f"{{driver: bridge, {options}, {flags}, labels: {{}}}}"
    assert made("", "") == made(written, "{driver: local, driver_opts: {}, labels: {}}")
    # As an older stackctl kept it.
    now = made("", "")[0]
    kept = {**json.loads(now), "driver": "bridge", "ipam": {"options": {}}, "labels": {}}
    assert of_resource(json.dumps(kept), now) == ()


def test_resource_names_recreate(stacks: Stacks) -> None:
    top = "networks: {n: {name: %s}}\n"
    one = stacks.service("networks: [n]", top=top % "x")
    assert hashed(one) != hashed(stacks.service("networks: [n]", top=top % "y"))
    # Nothing but the project's own text counts: the order of keys does not.
    two = stacks.service("user: a\ntty: true")
    assert hashed(two) == hashed(stacks.service("tty: true\nuser: a"))


def test_new_content_recreates_who_has_a_copy_of_it(stacks: Stacks, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    top = f"secrets: {{s: {{file: '{secret}'}}}}\n"

    def hashes() -> tuple[str, str]:
        mounted = stacks.service("secrets: [s]", top=top)
        copied = stacks.service("secrets: [{source: s, mode: 0400}]", top=top)
        return hashed(mounted), hashed(copied)

    secret.write_text("one")
    before = hashes()
    assert hashes() == before
    secret.write_text("two")
    after = hashes()
    assert after[0] == before[0] and after[1] != before[1]
    secret.unlink()
    assert hashes()[1] not in (before[1], after[1])


def test_another_place_recreates_who_mounts_it(stacks: Stacks, tmp_path: Path) -> None:
    """Its name in the file is the same: a secret's path, a volume's directory."""

    def hashes(place: str) -> set[str]:
        top = f"secrets: {{s: {{file: '{tmp_path}/{place}'}}}}\n"
        bind = f"volumes: {{d: {{driver_opts: {{type: none, o: bind, device: '/{place}'}}}}}}\n"
        return {
            hashed(stacks.service("secrets: [s]", top=top)),
            hashed(stacks.service("volumes: ['d:/d']", top=bind)),
        }

    assert hashes("a") == hashes("a")
    assert hashes("a").isdisjoint(hashes("b"))


def test_variables_of_a_build_come_from_files_as_well(stacks: Stacks) -> None:
    (stacks.directory / ".env").write_text("TOKEN=t\nWHO=me\n")
    stack = stacks.load(
        "services: {a: {build: {context: ., args: [WHO, GONE], secrets: [s]}}}\n"
        "secrets: {s: {environment: TOKEN}}"
    )
    request = wish(stack, "a", {})
    assert (request.secrets, request.arguments) == ({"s": b"t"}, {"WHO": "me"})


@pytest.mark.parametrize(
    ("lines", "dockerfile"),
    [
        ("context: sub, dockerfile: ../x.Dockerfile", "{}/x.Dockerfile"),
        ("context: sub, dockerfile: d/../../y", "{}/y"),
        ("context: sub, dockerfile: d/x", "d/x"),
        ("context: ., dockerfile: ./sub/../x", "./sub/../x"),
        ("context: sub", "Dockerfile"),
        ("context: 'https://example.org/x.git', dockerfile: ../x", "../x"),
    ],
)
def test_a_dockerfile_may_be_beside_the_context(
    stacks: Stacks, lines: str, dockerfile: str
) -> None:
    stack = stacks.load(f"services: {{a: {{build: {{{lines}}}}}}}")
    assert wish(stack, "a", {}).dockerfile == dockerfile.format(stacks.directory)


def test_what_has_no_name_of_its_own_is_not_pushed(stacks: Stacks) -> None:
    text = "services: {a: {build: .}, b: {build: ., image: r/b}, c: {image: r/c}}"
    project = Project(stack=named(stacks.load(text)), warnings=())
    assert stack_images.pushed(project, {}) == {"r/b": "b"}
    assert stack_images.nameless(project, {}) == ["a"]


def test_a_one_off(stacks: Stacks) -> None:
    stack = stacks.service(
        "command: serve\nports: ['80:80']\nvolumes: [data:/data]\nenvironment: {A: 1, B: 2}\n"
        "restart: always\ncontainer_name: fixed\nlabels: {x: 1}",
        top="volumes: {data: }\n",
    )
    config = one_off(
        stack,
        "web",
        IMAGE,
        name="p-web-run-1a2b3c4d",
        options={
            "command": ["ls", "-l"],
            "env": ["B=3", "C=a=b"],
            "volumes": ["./x:/x", "/tmp:/data"],
            "ports": ["8080:80"],
            "user": "u",
            "workdir": "/w",
            "tty": True,
            "stdin": True,
            "labels": ["y=2"],
            "entrypoint": None,
        },
    )
    assert config.name == "p-web-run-1a2b3c4d"
    assert config.argv == ("/entry", "ls", "-l")
    assert config.env == ("PATH=/bin", "A=1", "B=3", "C=a=b")
    assert [m.target for m in config.mounts if isinstance(m, BindMount)] == ["/data", "/x"]
    assert config.ports == (PortBinding(container_port=80, host_port=(8080, 8080)),)
    assert (config.user, config.working_dir, config.tty, config.stdin_open) == (
        "u",
        "/w",
        True,
        True,
    )
    assert config.restart.mode is RestartMode.NO
    assert (config.oneoff, config.number, config.service) == (True, 0, "web")
    assert config.labels["com.docker.compose.oneoff"] == "True"
    assert config.labels["com.docker.compose.slug"] == "1a2b3c4d"
    # Nobody who asks for a number means it.
    assert "com.docker.compose.container-number" not in config.labels
    assert (config.labels["x"], config.labels["y"]) == ("1", "2")
    # A one-off must not take requests meant for the service.
    assert config.networks[0].aliases == ()


def test_a_one_off_without_changes(stacks: Stacks) -> None:
    stack = stacks.service("command: serve\nports: ['80:80']")
    config = one_off(stack, "web", IMAGE, name="n", options={"command": None})
    assert config.argv == ("/entry", "serve")
    assert config.ports == ()
    own = one_off(stack, "web", IMAGE, name="n", options={"service_ports": True})
    assert own.ports[0].host_port == (80, 80)
    other = one_off(stack, "web", IMAGE, name="n", options={"entrypoint": "sh -c"})
    assert other.argv == ("sh", "-c")


@pytest.mark.parametrize(
    "options",
    [
        {"ports": ["x"]},
        {"volumes": ["a:b:c:d"]},
        {"volumes": ["a:relative"]},
        {"env": ["=x"]},
        {"entrypoint": "'"},
    ],
)
def test_flags_of_a_one_off_that_are_wrong(stacks: Stacks, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        one_off(stacks.service(""), "web", IMAGE, name="n", options=options)


@pytest.mark.parametrize(
    ("variables", "joint"),
    [
        ({}, "-"),
        ({"COMPOSE_COMPATIBILITY": "0"}, "-"),
        ({"COMPOSE_COMPATIBILITY": "true"}, "_"),
        ({"STACKCTL_COMPATIBILITY": "1"}, "_"),
    ],
)
def test_what_names_are_joined_by(stacks: Stacks, variables: dict[str, str], joint: str) -> None:
    text = """\
services:
  a: {build: ., pre_start: [{command: x}]}
  b: {image: x, volumes_from: [a], container_name: own-name}
"""
    stack = named(stacks.load(text, environment=variables))
    found = wanted(stack)
    first, other = found.services
    start = f"{stack.name}{joint}a"
    assert first.replicas[0].name == f"{start}{joint}1"
    assert first.pre_start[0].config.name == f"{start}{joint}pre_start{joint}0"
    assert (first.image, found.separator) == (start, joint)
    assert (other.replicas[0].name, other.replicas[0].volumes_from) == (
        "own-name",
        (f"{start}{joint}1",),
    )
