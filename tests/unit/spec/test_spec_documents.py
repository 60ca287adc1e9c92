"""extends and include: other services and other projects as parts of this one."""

from __future__ import annotations

from typing import Any

import pytest


def services(project: Any, text: str, **options: Any) -> Any:
    return project.load(text, **options).stack.services


# -- extends


def test_a_service_extends_one_of_its_own_file(project: Any) -> None:
    found = services(
        project,
        """
services:
  base:
    image: img
    environment: {A: "1", B: "1"}
    command: [base]
    cap_add: [SYS_TIME]
    healthcheck: {test: [CMD, probe], interval: 5s}
  middle:
    extends: base
    environment: {B: "2"}
    cap_add: [NET_ADMIN]
  web:
    extends: {service: middle}
    environment: [C=3]
    command: [own]
    healthcheck: {retries: 2}
""",
    )
    web = found["web"]
    assert web.environment == {"A": "1", "B": "2", "C": "3"}
    assert (web.image, web.command) == ("img", ["own"])
    assert web.cap_add == ["SYS_TIME", "NET_ADMIN"]
    assert web.healthcheck.test == ["CMD", "probe"]
    assert (web.healthcheck.interval, web.healthcheck.retries) == (5.0, 2)
    assert web.extends is None


def test_paths_of_an_extended_file_start_at_that_file(project: Any) -> None:
    project.write(
        "shared/common.yaml",
        """
services:
  base:
    image: $IMG
    env_file: [one.env]
    label_file: labels.env
    volumes: [./src:/src, data:/data, /cache]
    build:
      context: .
      additional_contexts: {a: ./a, b: docker-image://x}
      ssh: [default, key=keys/id, other=~/id]
    extends: {service: root, file: deeper/root.yaml}
""",
    )
    project.write("shared/one.env", "FROM_FILE=yes\n")
    project.write("shared/labels.env", "team=a\n")
    project.write(
        "shared/deeper/root.yaml", "services: {root: {user: me, volumes: ['./r:/r'], tty: true}}"
    )
    web = services(
        project,
        "services: {web: {extends: {service: base, file: shared/common.yaml}, tty: false}}\n"
        "volumes: {data: }\n",
        environment={"IMG": "i"},
    )["web"]
    home = project.directory
    assert web.image == "i"
    assert (web.user, web.tty) == ("me", False)
    assert web.environment == {"FROM_FILE": "yes"}
    assert web.labels == {"team": "a"}
    assert [m.source for m in web.volumes] == [
        f"{home}/shared/deeper/r",
        f"{home}/shared/src",
        "data",
        None,
    ]
    assert web.build.context == f"{home}/shared"
    assert web.build.additional_contexts == {"a": f"{home}/shared/a", "b": "docker-image://x"}
    assert web.build.ssh == {"default": None, "key": f"{home}/shared/keys/id", "other": "/root/id"}


def test_reset_and_override_against_what_is_extended(project: Any) -> None:
    found = services(
        project,
        """
services:
  base: {image: i, ports: ["80:80", "81:81"], environment: {A: "1"}, user: u, labels: {a: b}}
  web:
    extends: base
    ports: !override ["82:82"]
    environment: !reset {}
    user: !reset null
    labels: {a: !reset x}
""",
    )
    web = found["web"]
    assert [p.published for p in web.ports] == ["82"]
    assert (web.environment, web.user, web.labels) == ({}, None, {})


def test_a_later_file_merges_over_what_was_extended(project: Any) -> None:
    stack = project.load(
        "services: {base: {image: a}, web: {extends: base, user: one}}",
        "services: {web: {user: two}, more: {extends: base, tty: true}}",
    ).stack
    assert (stack.services["web"].image, stack.services["web"].user) == ("a", "two")
    # Not in its own file, but in what came before.
    assert (stack.services["more"].image, stack.services["more"].tty) == ("a", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "services: {a: {extends: b, image: x}, b: {extends: a, image: x}}",
            "services extend each other in a circle: a (file0.yaml) -> b (file0.yaml) -> a",
        ),
        ("services: {a: {extends: a, image: x}}", "in a circle: a (file0.yaml) -> a"),
        ("services: {web: {extends: wbe, image: x}, web2: {image: x}}", 'extends "wbe", which is'),
        ("services: {a: {extends: {service: b, file: no.yaml}, image: x}}", "there is no file"),
        ("services: {a: {extends: {file: no.yaml}, image: x}}", "extends has no service"),
        ("services: {a: {extends: {service: b, fil: x}, image: x}}", 'unknown key "fil"'),
        ("services: {a: {extends: [b], image: x}}", "extends must be a mapping"),
        (
            "services: {a: {extends: {service: b, file: 'https://x/y.yaml'}, image: x}}",
            "https://x/y.yaml is not on this machine",
        ),
    ],
)
def test_extends_that_cannot_be(project: Any, text: str, message: str) -> None:
    found = project.mistakes(text)
    assert any(message in one for one in found), found
    assert all(one[0].isdigit() for one in found)


def test_extending_a_namesake_in_a_file_of_the_same_name_is_no_circle(project: Any) -> None:
    project.write("common/file0.yaml", "services: {web: {image: i, tty: true}}")
    found = services(
        project,
        "services: {web: {user: u, extends: {file: common/file0.yaml, service: web}}}",
    )["web"]
    assert (found.image, found.tty, found.user) == ("i", True, "u")


def test_a_base_that_is_not_there_is_the_only_mistake(project: Any) -> None:
    (only,) = project.mistakes("services: {e: {extends: {file: no.yaml, service: q}}}")
    assert "there is no file" in only


def test_files_that_extend_each_other_in_a_circle(project: Any) -> None:
    project.write("o.yaml", "services: {b: {extends: {service: a, file: file0.yaml}}}")
    found = project.mistakes("services: {a: {image: x, extends: {service: b, file: o.yaml}}}")
    assert any("circle: a (file0.yaml) -> b (o.yaml) -> a" in one for one in found)


# -- include


def test_an_included_project_has_its_own_directory_and_variables(project: Any) -> None:
    project.write(
        "sub/stack.yaml",
        """
name: other
services:
  db: {image: "$IMG-$TAG", volumes: ["./d:/d"], secrets: [pw], env_file: own.env}
secrets: {pw: {file: pw.txt}}
volumes: {extra: }
x-note: 1
""",
    )
    project.write("sub/.env", "IMG=sub\nTAG=sub\n")
    project.write("sub/own.env", "A=$TAG\n")
    project.write(".env", "TAG=main\n")
    stack = project.load(
        "include: [sub/stack.yaml]\nservices: {web: {image: w, depends_on: [db]}}", name="p"
    ).stack
    db = stack.services["db"]
    # The including project's variables win, the included one's fill in.
    assert db.image == "sub-main"
    assert db.volumes[0].source == f"{project.directory}/sub/d"
    assert stack.secrets["pw"].file == f"{project.directory}/sub/pw.txt"
    assert stack.name == "p"
    assert stack.volumes["extra"].name == "p_extra"
    assert stack.extensions == {}


def test_the_long_form_of_include(project: Any) -> None:
    project.write("a/one.yaml", "services: {db: {image: '$X', user: one, volumes: ['./v:/v']}}")
    project.write("a/two.yaml", "services: {db: {user: two}}")
    project.write("vars", "X=img\n")
    stack = project.load(
        """
include:
  - path: [a/one.yaml, a/two.yaml]
    project_directory: elsewhere
    env_file: vars
"""
    ).stack
    db = stack.services["db"]
    assert (db.image, db.user) == ("img", "two")
    assert db.volumes[0].source == f"{project.directory}/elsewhere/v"


def test_an_included_projects_variables_are_those_of_names_without_a_value(project: Any) -> None:
    project.write("sub/.env", "OWN=inside\nBOTH=inside\n")
    project.write(
        "sub/c.yaml",
        "services:\n"
        "  s:\n"
        "    image: i\n"
        "    environment: [OWN, BOTH, NO, 'X=$OWN']\n"
        "    build: {context: ., args: [OWN]}\n"
        "    secrets: [sec]\n"
        "    configs: [conf]\n"
        "secrets: {sec: {environment: OWN}}\n"
        "configs: {conf: {environment: BOTH}}\n",
    )
    stack = project.load("include: [sub/c.yaml]", environment={"BOTH": "outside"}).stack
    service = stack.services["s"]
    assert service.environment == {"OWN": "inside", "BOTH": "outside", "NO": None, "X": "inside"}
    assert service.build.args == {"OWN": "inside"}
    assert stack.contents == {("secrets", "sec"): "inside", ("configs", "conf"): "outside"}


def test_files_of_an_included_project_see_its_variables(project: Any) -> None:
    """Also those of a service that one of its services extends, and not those of others."""
    project.write("top.env", "VAR=inside\n")
    project.write("sub/my.env", "MINE=${VAR?}\nVAR\n")
    project.write("sub/my.labels", "mine=${VAR?}\n")
    project.write("sub/base.yaml", "services: {b: {image: i, env_file: my.env}}")
    project.write(
        "sub/c.yaml",
        "services:\n"
        "  s: {image: i, env_file: my.env, label_file: [my.labels]}\n"
        "  t: {extends: {file: base.yaml, service: b}}\n",
    )
    project.write("out.env", "OUT=${VAR-not here}\n")
    text = "include: [{path: sub/c.yaml, env_file: top.env}]\nservices: {o: {image: i, %s}}"
    services = project.load(text % "env_file: out.env").stack.services
    assert services["s"].environment == {"MINE": "inside", "VAR": "inside"}
    assert services["t"].environment == services["s"].environment
    assert services["s"].labels == {"mine": "inside"}
    assert services["o"].environment == {"OUT": "not here"}


def test_includes_nest_and_the_including_file_wins(project: Any) -> None:
    project.write("a.yaml", "include: [b/b.yaml]\nservices: {x: {user: a}}")
    project.write("b/b.yaml", "include: [c.yaml]\nservices: {x: {image: b, user: b}}")
    project.write("b/c.yaml", "services: {x: {image: c, tty: true, volumes: ['./h:/h']}}")
    project.write("d.yaml", "include: [b/c.yaml]")
    x = services(project, "include: [a.yaml, d.yaml]\nservices: {x: {tty: false}}")["x"]
    assert (x.image, x.user, x.tty) == ("c", "a", False)
    assert [v.source for v in x.volumes] == [f"{project.directory}/b/h"]


def test_many_services_may_extend_those_of_one_file(project: Any) -> None:
    project.write("base.yaml", "services: {base: {image: b, environment: {A: 1}}}")
    extends = "extends: {file: base.yaml, service: base}"
    text = "".join(f"  s{i}: {{{extends}, user: u{i}}}\n" for i in range(600))
    found = services(project, f"services:\n{text}")
    assert len(found) == 600
    assert (found["s599"].image, found["s599"].user) == ("b", "u599")


def test_variables_of_files_that_services_get_are_counted(project: Any) -> None:
    project.write("many.env", "".join(f"K{i}=v\n" for i in range(5000)))
    text = "".join(f"  s{i}: {{image: x, env_file: many.env}}\n" for i in range(100))
    (told,) = project.mistakes(f"services:\n{text}")
    assert "what services take from others and from files of variables" in told


@pytest.mark.parametrize(
    ("include", "brief"),
    [
        ("[broken.yaml, a.yaml]", "2:1: not valid YAML: "),
        ("[missing.yaml, a.yaml]", "1:11: there is no file "),
        ("[{path: a.yaml, env_file: no.env}]", "1:11: there is no file "),
    ],
)
def test_a_file_that_cannot_be_read_makes_no_other_mistakes(
    project: Any, include: str, brief: str
) -> None:
    """What is named may be in it; what is wrong elsewhere is told as well."""
    project.write("broken.yaml", "services: [\n")
    project.write("a.yaml", "services: {a: {image: x}}")
    text = (
        f"include: {include}\n"
        + """services:
      web:
        user: me
        depends_on: [db]
        volumes: ["data:/data"]
        networks: [back]
        secrets: [key]
        links: [db]
        restart: perhaps
    """
    )
    first, second = sorted(project.mistakes(text), key=lambda told: "restart" in told)
    assert first.startswith(brief)
    assert "services.web.restart cannot be" in second


def test_a_service_may_extend_an_included_one(project: Any) -> None:
    project.write("a.yaml", "services: {base: {image: i, tty: true}}")
    found = services(project, "include: [a.yaml]\nservices: {web: {extends: base, user: u}}")
    assert (found["web"].image, found["web"].tty, found["web"].user) == ("i", True, "u")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: [no.yaml]", "1:11: there is no file"),
        ("include: [a.yaml]", "files include each other in a circle: file0.yaml -> a.yaml -> b"),
        ("include: [{path: a.yaml, dir: x}]", 'unknown key "dir" in include'),
        ("include: [{env_file: x}]", "an include names no file"),
        ("include: [{paht: x}]", '1:12: unknown key "paht" in include [did you mean "path"?]'),
        ("include: [3]", "1:11: an include is a file or a mapping, not a number"),
        ("include: [{path: [a, 3]}]", "1:22: path of include must be a path, not a number"),
        ("include: [{path: c.yaml, env_file: 3}]", "env_file of include must be a path, not a n"),
        ("include: ['oci://x/y']", "oci://x/y is not on this machine"),
        ("include: x", "include must be a list"),
        ("include: [{path: c.yaml, env_file: no.env}]", "1:11: there is no file"),
        ("include: [bad.yaml]", "not valid YAML"),
    ],
)
def test_includes_that_cannot_be(project: Any, text: str, message: str) -> None:
    project.write("a.yaml", "include: [b.yaml]")
    project.write("b.yaml", "include: [a.yaml]")
    project.write("c.yaml", "services: {c: {image: x}}")
    project.write("bad.yaml", "services: [")
    found = project.mistakes(f"{text}\nservices: {{web: {{image: x}}}}")
    assert any(message in one for one in found), found


def test_mistakes_in_included_files_are_told_there(project: Any) -> None:
    project.write("sub/a.yaml", "services:\n  db: {imag: x}\n")
    found = project.mistakes("include: [sub/a.yaml]\nservices: {web: {image: 5}}")
    assert any(one.startswith('2:8: unknown key "imag"') for one in found), found
    assert any("web.image must be text" in one for one in found), found


# -- what is implied


def test_services_that_share_come_first(project: Any) -> None:
    web = services(
        project,
        """
services:
  a: {image: x}
  b: {image: x}
  c: {image: x}
  web: {image: x, links: ["a:alias"], volumes_from: ["b:ro", a], network_mode: "service:c"}
""",
    )["web"]
    assert {n: bool(d.restart) for n, d in web.depends_on.items()} == {
        "a": True,
        "b": False,
        "c": True,
    }


def test_logging_options_merge_only_within_one_driver(project: Any) -> None:
    def merged(base: str, over: str) -> Any:
        stack = project.load(
            f"services: {{web: {{image: x, logging: {base}}}}}",
            f"services: {{web: {{logging: {over}}}}}",
        ).stack
        logging = stack.services["web"].logging
        return logging.driver, logging.options

    base = "{driver: json-file, options: {max-size: 1m}}"
    assert merged(base, "{options: {max-file: 2}}") == (
        "json-file",
        {"max-size": "1m", "max-file": "2"},
    )
    assert merged(base, "{driver: local, options: {max-file: 2}}") == ("local", {"max-file": "2"})


def test_short_forms_of_files_devices_hosts_and_limits(project: Any) -> None:
    web = services(
        project,
        """
services:
  web:
    image: x
    secrets: [s, {source: s, target: other, mode: 0400, uid: "1"}]
    devices: ["/dev/null", "/dev/zero:/dev/z", "/dev/full:r", "/dev/a:/dev/b:rw"]
    extra_hosts: {a: 1.2.3.4, b: ["::1", host-gateway]}
    ulimits: {nofile: 10, core: {soft: 0, hard: -1}}
    build: ./ctx
secrets: {s: {environment: S}}
""",
        environment={"S": "x"},
    )["web"]
    assert [(f.source, f.target, f.mode) for f in web.secrets] == [
        ("s", "/run/secrets/s", None),
        ("s", "other", 0o400),
    ]
    assert [(d.source, d.target, d.permissions) for d in web.devices] == [
        ("/dev/null", "/dev/null", "rwm"),
        ("/dev/zero", "/dev/z", "rwm"),
        ("/dev/full", "/dev/full", "r"),
        ("/dev/a", "/dev/b", "rw"),
    ]
    assert web.extra_hosts == ["a=1.2.3.4", "b=::1", "b=host-gateway"]
    assert {n: (u.soft, u.hard) for n, u in web.ulimits.items()} == {
        "nofile": (10, 10),
        "core": (0, -1),
    }
    assert web.build.context == f"{project.directory}/ctx"
