"""Mistakes in stack files: all at once, each with its place and what to do."""

from __future__ import annotations

import os
from typing import Any

import pytest

from stackctl.errors import NotFound, StackFileErrors
from stackctl.spec import obstacles
from stackctl.spec.loader import load


def test_options_that_nobody_has_are_told_and_left_out(project: Any) -> None:
    text = (
        "services: {a: {image: x, networks: {n: {driver_opts: {x: y}}, e: }}}\n"
        "networks: {n: , e: {external: true, driver: bridge, internal: true}}"
    )
    assert [(w.place.line, w.text) for w in project.load(text).warnings] == [
        (2, '"driver" says how to make network "e", but it is external: it has no effect'),
        (2, '"internal" says how to make network "e", but it is external: it has no effect'),
        (1, 'service "a": a network has no option x for one container'),
    ]


def test_further_words_of_a_probe_for_the_shell_are_told(project: Any) -> None:
    loaded = project.load(
        "services: {a: {image: x, healthcheck: {test: [CMD-SHELL, pg_isready, -d, db]}}}"
    )
    check = loaded.stack.services["a"].healthcheck
    assert check.test == ["CMD-SHELL", "pg_isready", "-d", "db"]
    assert [w.text for w in loaded.warnings] == [
        'the health check of service "a" is its first text alone: '
        "the shell takes the others as $0, $1, ..."
    ]


def test_a_dependency_that_is_not_required_need_not_become_healthy(project: Any) -> None:
    text = (
        "services: {a: {image: x, depends_on: {b: {condition: service_healthy%s}}},"
        " b: {image: stackctl/host}}"
    )
    assert "is healthy, which has no health check" in project.mistakes(text % "")[0]
    assert project.load(text % ", required: false").stack.services.keys() == {"a", "b"}


def test_all_mistakes_at_once_in_file_order(project: Any) -> None:
    assert project.mistakes(
        """services:
  web:
    imag: x
    image: 5
    gpus: all
    ports: ["a:b", "80:80"]
    depends_on: [bd]
    restart: allways
    healthcheck:
      interval: 30
      test: [curl, x]
  db:
    image: ""
    tty: maybe
    volumes:
      - {type: bnd, target: x}
      - data:/x
    mem_limit: 64q
    environment: {A: [1]}
    networks: {n: {ipv4_address: foo}}
  cache: []
netwoks: {}
"""
    ) == [
        '3:5: unknown key "imag" in services.web [did you mean "image"?]',
        '4:12: services.web.image must be text, not a number [write it in quotes: "5"]',
        '5:5: "gpus" (services.web) is not supported: no driver for graphics processors is here',
        '6:13: "b" is not a port or a range of ports [a port is written like "8080:80"]',
        '7:18: service "web" depends on "bd", which no service is called [did you mean "db"?]',
        '8:14: services.web.restart cannot be "allways" '
        "[no, always, unless-stopped, on-failure or on-failure:5]",
        "10:17: services.web.healthcheck.interval needs a unit, e.g. 30s",
        '11:13: a health check starts with CMD, CMD-SHELL or NONE, not "curl" '
        '[["CMD", "curl", ...], or one text for the shell]',
        "13:12: services.db.image is empty",
        "14:10: services.db.tty must be true or false",
        '16:16: services.db.volumes[].type must be "volume", "bind", "tmpfs", "image", '
        '"npipe" or "cluster", not "bnd" [did you mean "bind"?]',
        '16:29: services.db.volumes[].target: "x" is not an absolute path in the container',
        '17:9: service "db" uses volume "data", which is not defined '
        '[define it under the top-level volumes:, or write "./data" for a host path]',
        '18:16: services.db.mem_limit: "64q" is not a size such as 64m, 512k or 1.5g',
        "19:22: services.db.environment.A must be text, not a list",
        '20:16: service "db" joins network "n", which is not defined '
        "[define it under the top-level networks:]",
        '20:34: services.db.networks.n.ipv4_address: "foo" is not an IPv4 address',
        "21:10: services.cache must be a mapping, not a list "
        '[what belongs to "cache" is indented below it]',
        '22:1: unknown key "netwoks" in the top level [did you mean "networks"?]',
    ]


def test_an_unset_variable_explains_the_mistake_it_makes(project: Any) -> None:
    assert project.mistakes("services:\n  web:\n    image: $A\n") == [
        "3:12: services.web.image is empty "
        '[the variable "A" is not set: an empty string takes its place]'
    ]


@pytest.mark.parametrize(
    ("lines", "text", "place"),
    [
        ("pull_refresh_after: 1h", "nothing without pull_policy: refresh", (4, 25)),
        (
            "deploy: {update_config: {order: start-first}}\nports: ['80:80']",
            "its host port can have one holder",
            (4, 37),
        ),
        ("deploy: {update_config: {failure_action: rollback}}", "nothing is rolled back", (4, 46)),
        ("deploy: {mode: replicated-job}", "jobs are services like others", (4, 20)),
        ("platform: linux/s390x", "this machine runs", (4, 15)),
        ("network_mode: host\nports: ['80:80']", "are not published", (5, 5)),
        ("runtime: runc", "the engine is its own runtime", (4, 5)),
        ("deploy: {restart_policy: {delay: 5s}}", "back-off decides", (4, 31)),
    ],
)
def test_what_is_carried_out_in_another_way_is_told(
    project: Any, lines: str, text: str, place: tuple[int, int]
) -> None:
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    (notice,) = project.load(f"services:\n  web:\n    image: a\n{body}").warnings
    assert text in notice.text
    assert (notice.place.line, notice.place.column) == place


def test_what_has_no_effect_is_told_once_a_file(project: Any) -> None:
    text = """\
services:
  a: {image: x, deploy: {labels: {a: b}, placement: {constraints: [node.role == manager]}}}
  b: {image: x, deploy: {placement: {max_replicas_per_node: 1}}, annotations: {a: b}}
  c: {image: x, volumes: ['./x:/y:cached'], isolation: default}
"""
    told = [(w.text, w.place.line if w.place else 0) for w in project.load(text).warnings]
    assert told == [
        ('"labels" has no effect: labels of the service, not of its containers', 2),
        ('"placement" has no effect: there is one machine only', 2),
    ]


def test_mistakes_of_several_files_name_each(project: Any) -> None:
    with pytest.raises(StackFileErrors) as caught:
        project.load("services: {a: {image: 1}}", "services: {b: {image: 2}}")
    files = [os.path.basename(e.place.file) for e in caught.value.errors if e.place]
    assert files == ["file0.yaml", "file1.yaml"]
    with pytest.raises(StackFileErrors) as caught:
        project.load("a: [", "b: ]")
    assert len(caught.value.errors) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("depends_on: [web]", "depend on each other in a circle: web -> web"),
        ("depends_on: {db: {condition: healthy}}", 'condition must be "service_started", "'),
        ("networks: [none]", 'joins network "none", which is not defined'),
        ("network_mode: host\nnetworks: [default]", "has both networks and network_mode"),
        ("network_mode: service:x", 'network_mode of service "web" names "x", which no service'),
        ("network_mode: service:web", "depend on each other in a circle: web -> web"),
        ("links: [x:y]", 'links of service "web" names "x", which no service is called'),
        ("volumes_from: [bd:ro]", 'volumes_from of service "web" names "bd"'),
        ("scale: 2\ncontainer_name: x1", "has 2 replicas, which cannot all be called"),
        ("scale: 5001", 'service "web" cannot have 5001 containers: a stack has at most 5000'),
        ("deploy: {replicas: 1000000000000}", "cannot have 1000000000000 containers"),
        ("scale: 2\ndeploy: {replicas: 3}", "has scale 2 and deploy.replicas 3"),
        ("scale: -1", "scale must not be negative"),
        ("mem_limit: 1m\ndeploy: {resources: {limits: {memory: 2m}}}", "two values for mem_limit"),
        ("mem_limit: 1k", 'mem_limit of service "web" is 1024 bytes: a container needs 6 MB'),
        ("deploy: {resources: {limits: {memory: 5m}}}", 'memory of service "web" is 5242880'),
        ('command: ["a\\0b"]', "a text cannot have a NUL character"),
        ("volumes: ['/x:/']", "/ is the container's own root"),
        ("volumes: ['/x:/a/../']", "/ is the container's own root"),
        (
            "volumes: [{type: volume, source: v, target: /d, volume: {subpath: a/../../b}}]",
            'subpath "a/../../b" leads out of the volume',
        ),
        ("volumes: ['v:/proc/sys']", "/proc/sys is the kernel's"),
        ("tmpfs: /proc", "/proc is the kernel's"),
        (
            "volumes: ['/x:/y']\ntmpfs: /y/",
            "mounts two things at /y: the other one is under volumes",
        ),
        ("volumes: [{type: bind, target: /x}]", "the bind mount on /x has no source"),
        ("volumes: [{type: tmpfs, source: a, target: /x}]", "cannot have a source"),
        ("volumes: [{type: image, target: /x}]", "the image mount on /x has no source"),
        (
            "volumes: [{type: image, source: i, target: /x, image: {subpath: ../y}}]",
            'subpath "../y" leads out of the image',
        ),
        ("volumes: [{type: tmpfs, target: /x, bind: {}}]", '"bind" options on a mount of type'),
        ("volumes: [{type: npipe, source: a, target: /x}]", 'type "npipe" is not supported: named'),
        ("volumes: [{type: cluster, source: a, target: /x}]", 'type "cluster" is not supported'),
        ("pull_policy: refresh", "pull_refresh_after has to say after which time"),
        ("pull_policy: often", "pull_policy must be one of always, never, missing"),
        ("volumes: ['/x:/y:rox']", '"rox" is not a mount option'),
        ("volumes: [5]", "volumes[] must be a mapping, not a number"),
        ("tmpfs: /run:suid", '"suid" is not an option of a tmpfs'),
        ("ports: [{published: 80}]", "ports[] has no target"),
        ("ports: [{target: 70000}]", "target must be within 1 to 65535"),
        ("ports: [{target: 80, published: x}]", "is not a port or a range"),
        ('command: "a \'b"', "the command cannot be split into words: no closing quotation"),
        ("healthcheck: {test: [CMD-SHELL]}", "CMD-SHELL is followed by a text"),
        ("healthcheck: {test: [CMD]}", "CMD is followed by a program"),
        ("environment: [=x]", "an item has no name before its ="),
        ("environment: [[x]]", "an item is a list"),
        ("environment: x", "environment must be a mapping, not text"),
        ("security_opt: [systempaths=x]", "systempaths is followed by unconfined"),
        ("security_opt: [seccomp=./no.json]", "there is no file"),
        ("security_opt: [what]", '"what" is not a security option'),
        ("cap_add: ['a b']", '"a b" is not a capability'),
        ("stop_signal: SIGWHAT", '"SIGWHAT" is not a signal'),
        ("user: 1000", "user must be text, not a number"),
        ("credential_spec: {}", "is not supported: it exists for Windows only"),
        ("secrets: [a]", 'service "web" uses secret "a", which is not defined'),
        ("deploy: {resources: {reservations: {devices: []}}}", "devices are not reserved"),
        ("sysctls: {kernel.panic: 1}", "is a setting of the whole machine"),
        ("ulimits: {nofiles: 1}", '"nofiles" is no limit; there are as, core'),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "soft is above hard"),
        ("extra_hosts: [x]", '"x" names no address'),
        ("pull_policy: every_x", "every_ and a duration"),
        ("deploy: {what: {}}", 'unknown key "what" in services.web.deploy'),
        ("networks: {default: {ipv4_address: 10.0.0.2}}", "needs a subnet for the fixed address"),
        ("hostname: -x", 'hostname cannot be "-x"'),
        ("image: b", 'the key "image" is given twice'),
        ("dns_search: bad domain", '"bad domain" cannot be a domain: it holds a space'),
        ("dns_opt: [foo bar]", '"foo bar" is no resolver option such as ndots:2'),
        ("links: ['db:b ad']", '"b ad" cannot be a name'),
        ("cap_add: [NET_ADMN]", 'no capability called "NET_ADMN"'),
        ("mem_limit: 10m\nmemswap_limit: 6m", '5:20: memswap_limit of service "web" (6291456'),
        ("memswap_limit: 32m", '4:20: memswap_limit of service "web" needs a limit of memory'),
        ("extra_hosts: ['foo']", '"foo" names no address'),
        ("extra_hosts: ['foo:']", "is not an IP address"),
        ("external_links: ['db:b..d']", '"b..d" cannot be a name'),
    ],
)
def test_mistakes_in_a_service(project: Any, lines: str, message: str) -> None:
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    found = project.mistakes(f"services:\n  web:\n    image: a\n{body}  db: {{image: a}}\n")
    assert any(message in one for one in found), found
    assert all(one[0].isdigit() for one in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {a: {}}", '1:12: service "a" has no image'),
        ("services: {'a b': {image: x}}", '1:12: "a b" is not a name for a service'),
        ("services: [a]", "1:11: services must be a mapping, not a list"),
        # A level too far to the left.
        (
            "a: {image: x}",
            '1:1: unknown key "a" in the top level [services stand below "services:"]',
        ),
        (
            "a: {build: .}",
            '1:1: unknown key "a" in the top level [services stand below "services:"]',
        ),
        ("servces: {a: {image: x}}", '"servces" in the top level [did you mean "services"?]'),
        (
            "services:\n  a:\n  image: x",
            '2:3: services.a must be a mapping, not nothing [what belongs to "a" is indented below',
        ),
        (
            "services:\n  a:\n  image: x",
            '3:10: services.image must be a mapping, not text ["image" belongs to a service: ',
        ),
        (
            "services: {a: {build: {context: ., secrets: [k]}}}",
            '1:46: the build of service "a" uses secret "k", which is not defined',
        ),
        (
            "services: {d: {build: {context: ., additional_contexts: {x: 'service:d'}}}}",
            'the build of service "d" is based on itself',
        ),
        (
            "services: {a: {image: x, healthcheck: {test: [NONE, x]}}}",
            "1:46: nothing follows NONE: there is no health check then",
        ),
        ("services: {a: {image: x}, volumes: [d]}", '["volumes" belongs to a service: indent it'),
        ("secrets: {a: {}}", '1:14: secret "a" needs exactly one of file, environment'),
        ("configs: {a: {content: x, file: y}}", 'config "a" needs exactly one of file,'),
        (
            "services: {w: {image: x, secrets: [a]}}\nsecrets: {a: {external: true}}",
            '1:36: service "w" uses secret "a", which is external: the engine keeps no secrets',
        ),
        (
            "services: {w: {image: x, secrets: [{source: a, uid: '70000'}]}}\n"
            "secrets: {a: {environment: A}}",
            "1:53: uid 70000 is beyond the container's 65536 ids",
        ),
        (
            "services: {w: {image: x, configs: [{source: a, target: /proc/sys}]}}\n"
            "configs: {a: {content: a}}",
            "1:36: /proc/sys is the kernel's",
        ),
        (
            "services: {a: {image: x}, b: {image: x}, c: {image: x, network_mode: 'service:a'},"
            " w: {image: x, pid: 'service:c', network_mode: 'service:a', ipc: 'service:b'}}",
            '1:148: service "w" shares namespaces with two containers that have ids of their own '
            "(network_mode and ipc)",
        ),
        ("volumes: {n: {external: true, x-a: 1, labels: {}}}", '1:39: "labels" says how to make'),
        (
            "services: {a: {image: x, gpus: [{count: 1, device_ids: [a]}]}}",
            "1:33: services.a.gpus[]: count and device_ids exclude each other",
        ),
        (
            "services: {a: {image: x, gpus: [{count: some}]}}",
            "1:41: services.a.gpus[].count must be all, or a number",
        ),
        (
            "services: {a: {image: x, deploy: {resources: {reservations: {devices: [{}]}}}}}",
            "1:72: services.a.deploy.resources.reservations.devices[] needs capab",
        ),
        ("secrets: {a: {external: true, file: x}}", '1:31: "file" says what secret "a" is, but'),
        ("services: {a: {build: {dockerfile: x, dockerfile_inline: y}}}", "has both dockerfile"),
        (
            "services: {a: {platform: linux/amd64, build: {platforms: [linux/arm64, linux/386]}}}",
            'platform linux/amd64 of service "a" is not among the platforms of its build '
            "[there are linux/arm64, linux/386]",
        ),
        ("include: [x]", "1:11: there is no file"),
        ("networks: {n: {enable_ipv6: 5}}", "enable_ipv6 must be"),
        (
            "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.1.0.0/25}]}}}",
            "1:64: the subnets 10.1.0.0/24 and 10.1.0.0/25 of one network overlap",
        ),
        ("networks: {n: {ipam: {config: [{subnet: 10.1.0.1/24}]}}}", "should be 10.1.0.0/24"),
        ("networks: {n: {ipam: {config: [{subnet: 'fd00::/x'}]}}}", "is not a subnet"),
        ("networks: {n: {ipam: {config: [{gateway: 10.1.0.1}]}}}", "gateway needs a subnet"),
        (
            "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.2.0.1}]}}}",
            "gateway 10.2.0.1 is not in the subnet 10.1.0.0/24",
        ),
        (
            "services: {a: {image: x, networks: {n: {ipv4_address: 10.1.0.5}}}}\n"
            "networks: {n: {ipam: {config: [{subnet: 10.2.0.0/24}]}}}",
            '1:55: 10.1.0.5 is not in network "n" (10.2.0.0/24)',
        ),
        (
            "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.255}]}}}",
            "gateway 10.1.0.255 is the broadcast address of 10.1.0.0/24",
        ),
        ("networks: {n: {ipam: {config: [{subnet: 224.1.0.0/16}]}}}", "the subnet 224.1.0.0/16"),
        (
            "networks: {n: {driver_opts: {com.docker.network.driver.mtu: 9}}}",
            '1:61: com.docker.network.driver.mtu "9" is no MTU',
        ),
        (
            "networks: {n: {driver_opts: {com.docker.network.bridge.host_binding_ipv4: '::1'}}}",
            'host_binding_ipv4 "::1" is not an IPv4 address',
        ),
        ("services: {a: {image: x, cpuset: '1-0'}}", '1:34: services.a.cpuset: the range "1-0"'),
    ],
)
def test_mistakes_elsewhere(project: Any, text: str, message: str) -> None:
    found = project.mistakes(text)
    assert any(message in one for one in found), found


def test_circles_name_their_services(project: Any) -> None:
    text = """services:
  a: {image: x, depends_on: [b]}
  b: {image: x, depends_on: [c]}
  c: {image: x, depends_on: [a]}
  d: {image: x, depends_on: [a, e]}
  e: {image: x, depends_on: {d: {condition: service_healthy}}}
"""
    assert project.mistakes(text) == [
        "2:30: services depend on each other in a circle: a -> b -> c -> a "
        "[remove one of these dependencies]",
        "5:33: services depend on each other in a circle: d -> e -> d "
        "[remove one of these dependencies]",
    ]


@pytest.mark.parametrize(
    ("db", "is_wrong"),
    [
        ("image: stackctl/host", True),
        ("image: x, healthcheck: {disable: true}", True),
        ("image: x, healthcheck: {test: [NONE]}", True),
        ("image: stackctl/host, healthcheck: {test: 'true'}", False),
        ("image: x", False),  # it may bring one
        ("build: .", False),
    ],
)
def test_nobody_waits_for_health_that_is_never_known(project: Any, db: str, is_wrong: bool) -> None:
    text = f"""services:
  db: {{{db}}}
  web: {{image: x, depends_on: {{db: {{condition: service_healthy}}}}}}
"""
    if not is_wrong:
        project.load(text)
        return
    assert project.mistakes(text) == [
        '3:32: service "web" waits until "db" is healthy, which has no health check '
        "[give it a `healthcheck`, or use condition: service_started]"
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("environment: [A=1, A=2]", '"A" is there twice: this one counts, not the one at {}:3:19'),
        (
            "volumes: ['a:/x', 'b:/x']",
            '"/x" is there twice: this one counts, not the one at {}:3:15',
        ),
        ("devices: [/dev/null, /dev/null]", ""),
        (
            "tmpfs: ['/x:size=1m', '/x:size=2m']",
            '"/x" is there twice: this one counts, not the one at {}:3:13',
        ),
        ("ports: ['80:80', '80:80']", ""),
    ],
)
def test_what_a_list_says_twice_is_told(project: Any, body: str, told: str) -> None:
    text = f"services:\n  web:\n    {body}\n    image: x\nvolumes: {{a: , b: }}\n"
    loaded = project.load(text)
    place = f"{project.directory}/file0.yaml"
    assert [w.text for w in loaded.warnings] == ([told.format(place)] if told else [])


def test_a_later_file_replaces_without_a_word(project: Any) -> None:
    one, other = (f"services: {{web: {{image: x, environment: [A={i}]}}}}" for i in (1, 2))
    assert not project.load(one, other).warnings


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("environment: {'': x}", "3:19: a name is empty"),
        ("labels: {'': x}", "3:14: a name is empty"),
        ("expose: [x]", '3:14: services.web.expose[]: "x" is not a port or a range of ports'),
        (
            "expose: [70000]",
            '3:14: services.web.expose[]: "70000" is not a port from 1 to 65535',
        ),
        ("expose: [80/tpc]", "3:14: services.web.expose[] must be one of tcp, udp, sctp"),
        (
            "working_dir: rel",
            '3:18: services.web.working_dir: "rel" is not an absolute path in the container',
        ),
    ],
)
def test_values_that_nothing_could_carry_out(project: Any, body: str, message: str) -> None:
    found = project.mistakes(f"services:\n  web:\n    {body}\n    image: x\n")
    assert [text.partition(" [")[0] for text in found] == [message]


def test_what_is_wrong_is_told_once(project: Any) -> None:
    text = """\
services:
  a: {image: x, extends: ""}
  b: {image: x, env_file: {path: a.env}}
  c: {image: x, bogus: 1}
"""
    project.write("a.env", "")
    assert project.mistakes(text) == [
        "2:26: services.a.extends.service is empty",
        "3:27: services.b.env_file must be a list, not a mapping",
        # gpus is nearest, and refused.
        '4:17: unknown key "bogus" in services.c',
    ]
    for name in ("https://x/y.yaml", "oci://x/y", "git@github.com:a/b.git"):
        for request in ({"files": (name,)}, {"environment": {"COMPOSE_FILE": name}}):
            with pytest.raises(NotFound, match="is not on this machine"):
                load(project.request(**request))


def test_nothing_is_no_image(project: Any) -> None:
    assert 'service "x" has no image' in project.mistakes("services: {x: {image: }}")[0]


def test_environment_files_that_are_missing_are_told_with_the_rest(project: Any) -> None:
    project.write(
        "compose.yaml",
        """\
services:
  a: {image: a, env_file: gone.env}
  b:
    image: b
    comand: x
    env_file: [{path: also-gone.env}, {path: not-needed.env, required: false}]
""",
    )
    with pytest.raises(StackFileErrors) as caught:
        load(project.request())
    briefs = "\n".join(error.brief for error in caught.value.errors)
    assert [error.place.line for error in caught.value.errors] == [2, 5, 6], briefs
    assert all(error.place.column for error in caught.value.errors)
    for text in ("comand", "also-gone.env does not exist", "/gone.env does not exist"):
        assert text in briefs
    assert "not-needed" not in briefs


def test_words_with_nothing_in_them_are_absent(project: Any) -> None:
    """Of variables that are not set: what Docker takes for its default."""
    words = ("userns_mode", "cgroup", "pull_policy", "pid", "ipc", "restart", "platform")
    text = ", ".join(f"{word}: '${{NOPE:-}}'" for word in words)
    empty = project.load(f"services: {{web: {{image: a, isolation: '', {text}}}}}").stack
    service = empty.services["web"]
    assert not any(getattr(service, word) for word in words)
    assert not empty.refusals


def test_what_an_unset_variable_leaves_is_absent_where_compose_takes_it(project: Any) -> None:
    text = """\
services:
  a:
    image: "${NO:-}"
    build: .
    dns: ["1.1.1.1", "${NO:-}"]
    logging: {driver: "${NO:-}"}
    networks: {n: {ipv4_address: "${NO:-}", ipv6_address: "", mac_address: ""}}
    runtime: ""
    cgroup_parent: ""
  b: {image: x, dns: "${NO:-}"}
  c: {image: "${NO:-}", profiles: [off]}
networks: {n: {driver: "${NO:-}", ipam: {driver: ""}}}
volumes: {v: {driver: "${NO:-}"}}
"""
    loaded = project.load(text, all_resources=True)
    assert loaded.warnings == ()
    obstacles.check(loaded.stack)
    a, b = loaded.stack.services["a"], loaded.stack.services["b"]
    assert (a.image, a.dns, b.dns) == (None, ["1.1.1.1"], [])
    assert a.logging is not None and a.logging.driver is None
    assert a.networks["n"].ipv4_address is None and a.networks["n"].mac_address is None
    assert loaded.stack.networks["n"].driver is None
    assert project.mistakes(text, services=("c",)) == ["11:14: services.c.image is empty"]


def test_a_hook_needs_a_command(project: Any) -> None:
    text = "services:\n  a:\n    image: x\n    post_start: [{command: 'x'}, {command: ''}]\n"
    assert project.mistakes(text) == ['4:44: a post_start hook of service "a" has no command']
