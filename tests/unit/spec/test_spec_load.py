"""Loading: which files, which variables, which name; the resolved stack; all mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import NotFound, StackctlError, StackFileError, StackFileErrors
from stackctl.linux import plain
from stackctl.spec import files
from stackctl.spec.loader import LoadRequest, load, project_name
from stackctl.spec.shown import Wish, described

ONE = "services: {web: {image: %s}}\n"


def image(project: Any, **options: Any) -> str:
    return str(load(project.request(**options)).stack.services["web"].image)


# -- which files


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (["docker-compose.yaml"], "docker-compose.yaml"),
        (["docker-compose.yaml", "docker-compose.yml"], "docker-compose.yml"),
        (["docker-compose.yml", "compose.yml"], "compose.yml"),
        (["compose.yml", "compose.yaml"], "compose.yaml"),
        (["compose.yaml", "stack.yml"], "stack.yml"),
        (["stack.yml", "stack.yaml"], "stack.yaml"),
    ],
)
def test_the_default_file(project: Any, present: list[str], chosen: str) -> None:
    for name in present:
        project.write(name, ONE % name)
    assert image(project) == chosen
    others = [name for name in present if name != chosen]
    told = [w.text for w in load(LoadRequest(cwd=str(project.directory))).warnings]
    assert told == [f"this file is taken, {name} beside it is not" for name in others]


def test_directories_above_are_searched_and_make_the_project(project: Any) -> None:
    project.write("compose.yaml", ONE % "x")
    project.write("a/b/other.txt", "")
    request = LoadRequest(cwd=str(project.directory / "a/b"))
    stack = load(request).stack
    assert stack.project_dir == str(project.directory)
    assert stack.files == (str(project.directory / "compose.yaml"),)


@pytest.mark.parametrize(
    ("base", "override", "applies"),
    [
        ("stack.yaml", "stack.override.yml", True),
        ("stack.yaml", "compose.override.yaml", False),
        ("compose.yaml", "compose.override.yaml", True),
        ("compose.yaml", "docker-compose.override.yml", True),
        ("docker-compose.yml", "docker-compose.override.yaml", True),
    ],
)
def test_override_files(project: Any, base: str, override: str, applies: bool) -> None:
    project.write(base, ONE % "base")
    project.write(override, ONE % "override")
    assert image(project) == ("override" if applies else "base")


def test_named_files_take_no_override_along(project: Any) -> None:
    project.write("compose.yaml", ONE % "base")
    project.write("compose.override.yaml", ONE % "override")
    assert image(project, files=("compose.yaml",)) == "base"


def test_files_from_the_environment(project: Any) -> None:
    project.write("a.yaml", ONE % "a")
    project.write("b.yaml", ONE % "b")
    assert image(project, environment={"COMPOSE_FILE": "a.yaml:b.yaml"}) == "b"
    assert (
        image(project, environment={"COMPOSE_FILE": "b.yaml,a.yaml", "COMPOSE_PATH_SEPARATOR": ","})
        == "a"
    )
    assert image(project, environment={"COMPOSE_FILE": "a.yaml", "STACKCTL_FILE": "b.yaml"}) == "b"
    project.write(".env", "COMPOSE_FILE=a.yaml\n")
    assert image(project) == "a"


def test_several_documents_in_one_file_merge(project: Any) -> None:
    project.write("stack.yaml", ONE % "a" + "---\n" + ONE % "b" + "---\n")
    assert image(project) == "b"


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no stack file in"):
        load(LoadRequest(cwd=str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"", "the file is empty"),
        (b"\xff\xfe", "the file is not UTF-8 text"),
        (b"a: b\nc: \xff", "the file is not UTF-8 text"),
        (b"- a", "a stack file is a mapping, this is a list"),
        (b"just text", "a stack file is a mapping, this is text"),
        (b"a" * (11 * 1024 * 1024), "the file is larger than 10 MiB"),
    ],
)
def test_files_that_cannot_be_read(project: Any, content: bytes | None, message: str) -> None:
    if content is not None:
        project.write("f.yaml", content)
    with pytest.raises(StackFileError) as caught:
        load(project.request(files=("f.yaml",), name="p"))
    assert message in str(caught.value)


def test_a_directory_is_no_file(project: Any) -> None:
    with pytest.raises(StackFileError, match="is a directory"):
        load(project.request(files=(".",), name="p"))


# -- variables


def test_the_environment_wins_over_env_files(project: Any) -> None:
    project.write("stack.yaml", ONE % "i$A-j$B")
    project.write(".env", "A=1\nB=2\n")
    assert image(project) == "i1-j2"
    assert image(project, environment={"A": "x"}) == "ix-j2"
    assert image(project, environment={"COMPOSE_DISABLE_ENV_FILE": "1"}) == "i-j"
    project.write("other", "A=o\n")
    project.write("more", "B=m${A}\n")
    assert image(project, env_files=("other", "more")) == "io-jmo"
    assert image(project, environment={"COMPOSE_ENV_FILES": "other,more"}) == "io-jmo"


def test_env_of_the_project_directory_counts(project: Any) -> None:
    project.write("sub/stack.yaml", ONE % "x$A")
    project.write("sub/.env", "A=1")
    assert image(project, files=("sub/stack.yaml",)) == "x1"
    assert image(project, files=("sub/stack.yaml",), project_dir=".") == "x"


def test_which_env_files_count_and_which_first(project: Any) -> None:
    """What is named says where: one `.env`; what is searched or set may have two."""
    project.write(".env", "A=top\nB=top\n")
    project.write("sub/.env", "B=sub\nC=sub${A}\n")
    for path in ("stack.yaml", "sub/c.yaml"):
        project.write(path, ONE % "'x:${A:-none}-${B:-none}-${C:-none}'")
    assert image(project, files=("sub/c.yaml",)) == "x:none-sub-sub"
    assert image(project, environment={"COMPOSE_FILE": "sub/c.yaml"}) == "x:top-top-subtop"
    # A path in it begins where -f's do.
    found = {"environment": {"COMPOSE_FILE": "sub/c.yaml"}, "project_dir": "sub"}
    assert image(project, **found) == "x:none-sub-sub"
    (project.directory / "sub/c.yaml").unlink()
    project.directory /= "sub"
    assert image(project) == "x:top-sub-sub"


def test_the_projects_name_is_a_variable(project: Any) -> None:
    project.write("stack.yaml", "name: p\n" + ONE % "x-$COMPOSE_PROJECT_NAME")
    assert image(project) == "x-p"


def test_an_unset_variable_warns_once_with_its_place(project: Any) -> None:
    loaded = project.load("services:\n  web:\n    image: x$A\n    user: x$A\n")
    (warning,) = loaded.warnings
    assert warning.text == 'the variable "A" is not set: an empty string takes its place'
    assert (warning.place.line, warning.place.column) == (3, 12)


# -- which name


@pytest.mark.parametrize(
    ("options", "text", "name"),
    [
        ({"name": "flag", "environment": {"COMPOSE_PROJECT_NAME": "env"}}, "name: file", "flag"),
        ({"environment": {"COMPOSE_PROJECT_NAME": "env"}}, "name: file", "env"),
        (
            {"environment": {"COMPOSE_PROJECT_NAME": "env", "STACKCTL_PROJECT_NAME": "own"}},
            "name: file",
            "own",
        ),
        ({}, "name: file", "file"),
        ({}, "name: file\n---\nname: last", "last"),
        ({"environment": {"N": "x"}}, "name: a-${N:-y}", "a-x"),
        ({}, '{"name": "flow"}', "flow"),
        ({}, '"name": quoted', "quoted"),
        ({}, "x: &a {name: merged}\n<<: *a", "merged"),
        ({}, "services: {name: {}}", "mydir20"),
        ({}, "services:\n  name: {}", "mydir20"),
        ({}, "name:", "mydir20"),
    ],
)
def test_the_projects_name(tmp_path: Path, options: Any, text: str, name: str) -> None:
    directory = tmp_path / "_My.Dir 2.0"
    directory.mkdir()
    (directory / "stack.yaml").write_text(text)
    assert project_name(LoadRequest(cwd=str(directory), **options)) == name


def test_the_name_is_the_same_when_all_is_loaded(project: Any) -> None:
    project.write("stack.yaml", "name: file\n" + ONE % "x")
    assert load(project.request()).stack.name == project_name(project.request()) == "file"


def test_the_environment_names_a_project_where_no_file_is(tmp_path: Path) -> None:
    request = LoadRequest(cwd=str(tmp_path), environment={"COMPOSE_PROJECT_NAME": "env"})
    assert project_name(request) == "env"
    with pytest.raises(StackctlError):
        project_name(replace(request, files=("gone.yaml",)))
    with pytest.raises(StackctlError):
        project_name(replace(request, environment={}))


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ({"name": "Upper"}, "", '"Upper" is no project name'),
        ({"environment": {"COMPOSE_PROJECT_NAME": "-x"}}, "", '"-x" is no project name'),
        ({}, "name: _Ä!", '"_Ä!" is no project name'),
        ({}, "name: 5", "name must be text, not a number"),
        ({}, "name: ${A?no}", 'the required variable "A" is missing a value: no'),
    ],
)
def test_bad_names(project: Any, options: Any, text: str, message: str) -> None:
    project.write("stack.yaml", text)
    with pytest.raises(StackFileError) as caught:
        project_name(project.request(**options))
    assert message in str(caught.value)


def test_a_directory_without_a_name(tmp_path: Path) -> None:
    directory = tmp_path / "___"
    directory.mkdir()
    (directory / "stack.yaml").write_text("services: {}")
    with pytest.raises(StackFileError, match="gives no project name"):
        project_name(LoadRequest(cwd=str(directory)))


def test_the_name_alone_needs_no_models() -> None:
    import subprocess
    import sys

    code = (
        "import stackctl.spec.loader, sys; sys.exit('pydantic_core._pydantic_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prepared_loader_has_nothing_left_to_import(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "stack.yaml").write_text("services: {web: {image: a, ports: ['80']}}")
    code = (
        "import sys; from stackctl.spec import loader; loader.prepare(); before = {*sys.modules}; "
        "assert loader.load(loader.LoadRequest(cwd=sys.argv[1])).stack.services['web'].image; "
        "print(*({*sys.modules} - before - {'encodings.utf_8_sig'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=True)
    assert done.stdout.split() == []


# -- the resolved stack


def test_names_and_paths_are_resolved(project: Any) -> None:
    stack = project.load(
        """
services:
  web:
    image: a
    networks: [default, back]
    volumes: [data:/d, ./x:/x, ~/h:/h, /abs/../abs:/abs, old:/old]
networks: {back: {}, unused: {name: fixed}, ext: {external: true}}
volumes: {data: , old: {external: {name: really}}}
""",
        environment={"HOME": "/home/u"},
    ).stack
    assert {k: n.name for k, n in stack.networks.items()} == {
        "default": "demo_default",
        "back": "demo_back",
        "unused": "fixed",
        "ext": "ext",
    }
    assert {k: v.name for k, v in stack.volumes.items()} == {"data": "demo_data", "old": "really"}
    sources = [mount.source for mount in stack.services["web"].volumes]
    directory = str(project.directory)
    assert sources == ["data", f"{directory}/x", "/home/u/h", "/abs", "old"]


def test_texts_that_look_like_paths_stay_as_they_are(project: Any) -> None:
    texts = {"A": "./library", "B": "/data/", "C": "~/x", "D": "/a//b/../c", "E": "."}
    lines = "".join(f"{key}: {value}, " for key, value in texts.items())
    stack = project.load(
        f"""
services:
  web:
    image: a
    build: {{context: ., args: {{{lines}}}, labels: {{{lines}}}}}
    environment: {{{lines}}}
    labels: {{{lines}}}
    annotations: {{{lines}}}
    deploy: {{labels: {{{lines}}}}}
networks: {{default: {{labels: {{{lines}}}}}}}
volumes: {{data: {{labels: {{{lines}}}}}}}
""",
        environment={"HOME": "/home/u"},
    ).stack
    web = stack.services["web"]
    found = [web.environment, web.labels, web.annotations, web.build.args, web.build.labels]
    found += [web.deploy.labels, stack.networks["default"].labels, stack.volumes["data"].labels]
    for values in found:
        assert values == texts


@pytest.mark.parametrize(
    "key",
    [
        *("container_name", "domainname", "hostname", "ipc", "mac_address", "network_mode", "pid"),
        *("platform", "restart", "stop_signal", "user", "uts", "working_dir"),
    ],
)
def test_an_empty_text_is_as_good_as_none(service: Callable[..., Any], key: str) -> None:
    assert getattr(service(f"{key}: ${{UNSET:-}}\nisolation: default"), key) is None


def test_the_environment_of_a_service(project: Any) -> None:
    project.write("one.env", "A=1\nB=1\nC=${A}$OUT\n")
    project.write("two.env", "B=2\n")
    project.write("raw.env", "R='$OUT'\n")
    stack = project.load(
        """
services:
  web:
    image: a
    env_file:
      - one.env
      - path: two.env
      - {path: raw.env, format: raw}
      - {path: none.env, required: false}
    environment: {D: 4, E: true, OUT: , NOT: , A: 9}
""",
        environment={"OUT": "o"},
    ).stack
    service = stack.services["web"]
    assert service.environment == {
        "A": "9",
        "B": "2",
        # What the service says itself is stronger than the file, also for the file.
        "C": "9o",
        "R": "'$OUT'",
        "D": "4",
        "E": "true",
        "OUT": "o",
        "NOT": None,
    }
    assert service.env_file == []


def test_a_missing_or_wrong_env_file(project: Any) -> None:
    project.write("bad.env", "A=1\nB%=1\n")
    (at,) = project.mistakes("services:\n  w:\n    image: a\n    env_file: .\n")
    assert at.startswith("4:15: ") and "is a directory" in at
    found = project.mistakes("services:\n  w:\n    image: a\n    env_file: [none.env, bad.env]\n")
    assert len(found) == 2
    assert found[0].startswith("4:16: the environment file ")
    assert found[1].startswith('2:2: unexpected "%"')


def test_a_file_that_is_named_has_to_be_there(project: Any) -> None:
    """Also where the project's name is known without it: it may be a slip."""
    assert project_name(project.request(name="p")) == "p"
    with pytest.raises(StackctlError, match=r"there is no file .*/nope.yaml"):
        project_name(project.request(name="p", files=("nope.yaml",)))
    project.write("own.yaml", ONE % "x")
    assert project_name(project.request(name="p", files=("own.yaml",))) == "p"


def test_profiles_enable_services(project: Any) -> None:
    text = """
services:
  always: {image: a}
  debug: {image: a, profiles: [debug]}
  tools: {image: a, profiles: [tools, debug], depends_on: [debug]}
"""

    def enabled(**options: Any) -> list[str]:
        return sorted(project.load(text, **options).stack.services)

    assert enabled() == ["always"]
    assert enabled(profiles=("debug",)) == ["always", "debug", "tools"]
    assert enabled(profiles=("tools",)) == ["always", "tools"]
    assert enabled(profiles=("*",)) == ["always", "debug", "tools"]
    assert enabled(environment={"COMPOSE_PROFILES": "tools,other"}) == ["always", "tools"]
    # A service that a variable switches off, as compose has it.
    switched = "services: {web: {image: a, profiles: ['${OFF:-}']}, b: {image: a}}"
    for names, environment in ((["b", "web"], {}), (["b"], {"OFF": "off"})):
        assert sorted(project.load(switched, environment=environment).stack.services) == names
    assert sorted(project.load(switched, profiles=("other",)).stack.services) == ["b"]
    # Naming a service activates its profiles, and whatever else has them.
    assert enabled(services=("debug",)) == ["always", "debug", "tools"]
    assert project.load(text).stack.disabled.keys() == {"debug", "tools"}
    with pytest.raises(NotFound, match='no service is called "debgu"') as caught:
        enabled(services=("debgu",))
    assert caught.value.hint == 'did you mean "debug"?'


def test_extensions_are_kept_and_anchors_work(project: Any) -> None:
    stack = project.load(
        "x-base: &b {image: a, x-own: 1}\nservices: {web: {<<: *b, x-more: [1]}, x-a: *b}\n"
    ).stack
    # Names are the user's own: a service may be called so.
    assert list(stack.services) == ["web", "x-a"]
    assert stack.extensions == {"x-base": {"image": "a", "x-own": 1}}
    assert stack.services["web"].model_extra == {"x-own": 1, "x-more": [1]}


def test_flags_sizes_and_numbers_may_be_text(service: Callable[..., Any]) -> None:
    found = service(
        "tty: 'yes'\ninit: ${T}\nscale: '2'\ncpus: '0.5'\nmem_limit: 8388608\npids_limit: '10'\n"
        "stop_grace_period: 1m30s\nstop_signal: quit",
        environment={"T": "true"},
    )
    assert (found.tty, found.init, found.scale, found.cpus) == (True, True, 2, 0.5)
    assert (found.mem_limit, found.pids_limit) == (8388608, 10)
    assert (found.stop_grace_period, found.stop_signal) == (90.0, "SIGQUIT")


@pytest.mark.parametrize(
    ("written", "expected"), [("20ms", 20000), ("1400us", 1400), ("'25000'", 25000), ("1e4", 10000)]
)
def test_shares_of_processor_time(service: Callable[..., Any], written: str, expected: int) -> None:
    found = service(f"cpu_period: {written}\ncpu_quota: {written}\n")
    assert (found.cpu_period, found.cpu_quota) == (expected, expected)


def test_names_are_known_without_environment_files(project: Any) -> None:
    project.write("stack.yaml", "services: {a: {image: x, env_file: [no.env]}}")
    request = project.request()
    with pytest.raises(StackFileErrors, match="does not exist"):
        described(request, Wish())
    facts, _ = described(request, Wish.of({"names_only": True}))
    assert (facts["services"], facts["images"]) == (["a"], ["x"])


def test_what_an_environment_file_refers_to(project: Any) -> None:
    project.write("one.env", "URL=http://$HOST/$PROJECT\nQ=$NOBODY\n")
    project.write("two.env", "AGAIN=$NOBODY\nBEFORE=${URL}+${Q:-none}\n")
    loaded = project.load(
        "services:\n  a:\n    image: x\n    env_file: [one.env, two.env]\n"
        "    environment: {HOST: db, PROJECT: own}\n",
        environment={"PROJECT": "outer"},
    )
    found = loaded.stack.services["a"].environment
    assert (found["URL"], found["Q"], found["PROJECT"]) == ("http://db/outer", "", "own")
    assert found["BEFORE"] == "http://db/outer+none"
    (warning,) = loaded.warnings
    assert warning.text == 'the variable "NOBODY" is not set: an empty string takes its place'
    assert str(warning.place).endswith("one.env:2:1")


def test_a_key_without_value_is_absent(service: Callable[..., Any]) -> None:
    found = service("command:\nports:\ndepends_on:\nenvironment:\nhealthcheck:\n")
    assert (found.command, found.ports, found.depends_on, found.environment) == (None, [], {}, {})
    assert found.healthcheck is None


def test_the_version_is_accepted_with_a_warning(project: Any) -> None:
    loaded = project.load("version: '3.8'\n" + ONE % "x")
    assert [w.text for w in loaded.warnings] == ['"version" has no meaning any more']


# -- mistakes


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


@pytest.mark.parametrize(
    ("membership", "message"),
    [
        ("ipv4_address: 10.1.0.0", "ipv4_address 10.1.0.0 is the subnet 10.1.0.0/24 itself"),
        ("ipv4_address: 10.1.0.255", "is the broadcast address"),
        ("ipv4_address: 10.1.0.7", '3:46: services "a" and "b" both have the address 10.1.0.7'),
        ("interface_name: lo", '"lo" cannot be an interface\'s name'),
        ("interface_name: a/b", '"a/b" cannot be an interface\'s name'),
        ("interface_name: sixteen_letters_", "cannot be an interface's name"),
        ("interface_name: one", 'service "a" calls two interfaces "one"'),
        (
            "driver_opts: {com.docker.network.endpoint.ifname: one}",
            '2:108: service "a" calls two interfaces "one"',
        ),
        ("mac_address: '03:00:00:00:00:01'", "is a group's address"),
        ("link_local_ips: [10.0.0.1]", '"10.0.0.1" is not a link-local address'),
        ("link_local_ips: [here]", "does not appear to be an IPv4 or IPv6 address"),
        (
            "driver_opts: {com.docker.network.endpoint.sysctls: net.core.somaxconn=1}",
            '"net.core.somaxconn=1" is no setting such as',
        ),
        (
            "driver_opts: {com.docker.network.endpoint.sysctls: net.ipv4.conf./etc.IFNAME.x=1}",
            "is no setting such as",
        ),
        (
            "driver_opts: {com.docker.network.endpoint.ifname: two}, interface_name: three",
            'com.docker.network.endpoint.ifname "two" is not its interface_name "three"',
        ),
        ("mac_address: '00:00:00:00:00:00'", "is nobody's address"),
        ("aliases: [has space]", '2:68: services.a.networks.n.aliases[]: "has space" cannot'),
        ("aliases: ['']", '"" is no name: it is empty'),
        ("aliases: [x..y]", '"x..y" cannot be a name'),
        (f"aliases: [{'x' * 300}]", "DNS has at most 63 bytes between two dots"),
    ],
)
def test_mistakes_in_a_membership(project: Any, membership: str, message: str) -> None:
    found = project.mistakes(f"""services:
  a: {{image: x, networks: {{m: {{interface_name: one}}, n: {{{membership}}}}}}}
  b: {{image: x, networks: {{n: {{ipv4_address: 10.1.0.7}}}}}}
  d: {{image: x, networks: {{n: {{ipv4_address: 10.1.0.7}}}}, scale: 0}}
networks: {{m: , n: {{ipam: {{config: [{{subnet: 10.1.0.0/24}}]}}}}}}
""")
    assert len(found) == 1 and message in found[0], found


@pytest.mark.parametrize(
    ("address", "network", "message"),
    [
        (
            "ipv4_address: 10.1.0.1",
            "ipam: {config: [{subnet: 10.1.0.0/24}]}",
            'ipv4_address 10.1.0.1 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv4_address: 10.1.0.9",
            "ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.9}]}",
            'ipv4_address 10.1.0.9 is the gateway of network "n"',
        ),
        (
            "ipv4_address: 10.1.0.3",  # the first address is spoken for, and so is the second
            "ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {a: 10.1.0.1, b: 10.1.0.2}}]}",
            'ipv4_address 10.1.0.3 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv4_address: 10.1.0.2",
            "ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {a: 10.1.0.1, b: 10.1.0.2}}]}",
            'ipv4_address 10.1.0.2 is the auxiliary address "b" of network "n"',
        ),
        (
            "ipv4_address: 10.2.0.1",
            "ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.2.0.0/24}]}",
            'ipv4_address 10.2.0.1 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv4_address: 10.1.0.1",  # also where containers get theirs from another range
            "internal: true, ipam: {config: [{subnet: 10.1.0.0/24, ip_range: 10.1.0.128/25}]}",
            'ipv4_address 10.1.0.1 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv6_address: 'fd00:0::1'",
            "enable_ipv6: true, ipam: {config: [{subnet: 'fd00::/64'}]}",
            'ipv6_address fd00::1 is the gateway of network "n", which names no other one',
        ),
        ("ipv4_address: 10.1.0.2", "ipam: {config: [{subnet: 10.1.0.0/24}]}", ""),
        (
            "ipv4_address: 10.1.0.1",
            "ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.2}]}",
            "",
        ),
        (
            "ipv4_address: 10.1.0.128",
            "ipam: {config: [{subnet: 10.1.0.0/24, ip_range: 10.1.0.128/25}]}",
            "",
        ),
        (
            "ipv6_address: 'fd00::2'",
            "enable_ipv6: true, ipam: {config: [{subnet: 'fd00::/64'}]}",
            "",
        ),
        ("ipv4_address: 10.1.0.1", "external: true, ipam: {config: [{subnet: 10.1.0.0/24}]}", ""),
    ],
)
def test_a_fixed_address_is_none_of_the_networks_own(
    project: Any, address: str, network: str, message: str
) -> None:
    text = f"""services: {{a: {{image: x, networks: {{n: {{{address}}}}}}}}}
networks: {{n: {{{network}}}}}
"""
    if not message:
        project.load(text)
        return
    assert project.mistakes(text) == [f"1:55: {message} [choose another address]"]


MAC = "mac_address: '02:00:00:00:00:01'"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (MAC, MAC, 'both have the MAC address 02:00:00:00:00:01 in network "default"'),
        (f"networks: {{n: {{{MAC}}}}}", f"{MAC}, networks: [n, m]", 'in network "n"'),
        (f"{MAC}, networks: [m]", f"networks: {{m: {{{MAC}, priority: 5}}, n: }}", '"m"'),
        (f"{MAC}, network_mode: bridge", f"{MAC}, network_mode: default", "network_mode bridge"),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: [m]", ""),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: {{n: , m: {{priority: 5}}}}", ""),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: [n], scale: 0", ""),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: [n], profiles: [x]", ""),
        (f"{MAC}, network_mode: host", f"{MAC}, network_mode: host, scale: 2", ""),
        (f"{MAC}, networks: [h]", f"{MAC}, networks: [h]", ""),
        (f"{MAC}, network_mode: n", f"{MAC}, networks: [n]", ""),
        ("", f"{MAC}, scale: 2", "has 2 replicas, which cannot all have the MAC address 02:00:"),
        ("", f"networks: {{n: {{{MAC}}}}}, scale: 2", "has 2 replicas, which cannot all have"),
    ],
)
def test_a_mac_address_is_for_one_container_of_a_network(
    project: Any, a: str, b: str, message: str
) -> None:
    text = f"""services:
  a: {{image: x, {a}}}
  b: {{image: x, {b}}}
networks: {{n: , m: , h: {{external: true, name: host}}}}
"""
    if not message:
        project.load(text)
        return
    found = project.mistakes(text)
    assert len(found) == 1 and message in found[0] and found[0].startswith("3:"), found


def test_a_fixed_address_is_for_one_replica(project: Any) -> None:
    text = """services:
  a: {image: x, networks: {n: {ipv4_address: 10.1.0.8}}, scale: 2}
networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}
"""
    assert project.mistakes(text) == [
        '2:46: service "a" has 2 replicas, which cannot all have the address 10.1.0.8'
    ]


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


# -- what would become too large


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "has more than 5000 entries"),
        ("x-a: [" + "1, " * 20_000 + "]", "has more than 5000 entries"),
        ("".join(f"unknown{i}: 1\n" for i in range(4_000)), 'unknown key "unknown0"'),
        ("x" * 1_000 + ": 1\n", "unknown key"),
        (ONE % ("$A" * 20), "the interpolated text is too long"),
        ("x-a:\n" + "  - $A$A$A$A$A$A$A$A\n" * 1000, "what its variables hold is too long"),
        (
            "services:\n  web:\n    image: a\n    ports:\n" + "      - 1-65535:1-65535\n" * 1000,
            "its ranges are too long",
        ),
        ("services: {web: {image: a, ports: ['1-65535:1-65535']}}", "host has all ports"),
        (
            f"services: {{web: {{image: a, command: '{'a ' * 500_000}'}}}}",
            "too long for the kernel",
        ),
        (
            "services:\n"
            + "".join(f"  s{i}: {{image: a, depends_on: [t{i}]}}\n" for i in range(2000)),
            'depends on "t0"',
        ),
        (
            "services:\n"
            + "".join(f"  s{i}: {{image: a, depends_on: [s{i + 1}]}}\n" for i in range(3000))
            + "  s3000: {image: a, depends_on: [s0]}\n",
            "in a circle",
        ),
    ],
    ids=[
        "wide",
        "long list",
        "keys",
        "long key",
        "long text",
        "variables",
        "ranges",
        "all ports",
        "command",
        "references",
        "circle",
    ],
)
def test_what_would_become_too_large_is_refused(project: Any, text: str, message: str) -> None:
    found = project.mistakes(text, environment={"A": "y" * 100_000})
    assert any(message in one for one in found)
    assert len(found) <= 100
    assert all(len(one) < 2000 for one in found)


def test_a_pipe_is_read_but_not_waited_for(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.directory / "compose.yaml"
    os.mkfifo(path)
    monkeypatch.setattr(plain, "PATIENCE", 0)
    with pytest.raises(StackFileError, match="a pipe, whose writer did not end"):
        load(project.request(files=(str(path),)))
    # One line, and then nothing more.
    with open(path, "r+b", buffering=0) as pipe:
        pipe.write(b"services:\n")
        monkeypatch.setattr(plain, "PATIENCE", 0.01)
        with pytest.raises(StackFileError, match="a pipe, whose writer did not end"):
            load(project.request(files=(str(path),)))
    monkeypatch.undo()
    # Both ends in one hand: the writer need not be waited for.
    with open(path, "r+b", buffering=0) as pipe:
        pipe.write(b"services: {a: {image: b}}")
        assert files.DISK.read(str(path), 25) == b"services: {a: {image: b}}"
    assert files.DISK.read("/dev/null", 25) == b""


@pytest.mark.parametrize("key", ["file", "env_file", "label_file", "include", "extends"])
def test_devices_are_not_read(project: Any, key: str) -> None:
    """To open a device may do things, and to read one may never end."""
    path = "/dev/zero"
    texts = {
        "include": f"include: [{path}]",
        "extends": f"services: {{a: {{extends: {{file: {path}, service: a}}}}}}",
    }
    text = texts.get(key, f"services: {{a: {{image: i, {key}: {path}}}}}")
    project.write("stack.yaml", text)
    files = (path,) if key == "file" else ()
    with pytest.raises(StackctlError) as caught:
        load(project.request(files=files))
    assert "/dev/zero cannot be read: it is neither a file nor a pipe" in str(caught.value)


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


def test_files_that_are_none_are_told_where_they_are_named(project: Any) -> None:
    text = "services:\n  a: {image: i, env_file: .}\n  b: {image: i, label_file: [.]}\n"
    found = project.mistakes(text)
    places = [one.split(" ")[0] for one in found]
    assert places == ["2:27:", "3:30:"] and all("is a directory" in one for one in found), found


def test_nothing_is_no_image(project: Any) -> None:
    assert 'service "x" has no image' in project.mistakes("services: {x: {image: }}")[0]


def test_variables_that_double_end(project: Any) -> None:
    project.write("stack.yaml", ONE % "a")
    project.write(".env", "A=xxxxxxxx\n" + "A=$A$A\n" * 64)
    with pytest.raises(StackFileError, match="too long"):
        load(project.request())
    project.write(".env", "A=" + "x" * 2_000_000)
    with pytest.raises(StackFileError, match="larger than 1 MiB"):
        load(project.request())


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


def test_a_variable_brings_no_null_character(project: Any) -> None:
    found = project.mistakes(ONE % "$A", environment={"A": "a\0b"})
    assert len(found) == 1
    assert "a text cannot have a NUL character" in found[0]


def test_network_mode_names_no_network_of_the_stack(project: Any) -> None:
    text = "services: {a: {image: x, network_mode: n}}\nnetworks: {n: %s}\n"
    (notice,) = project.load(text % "{}").warnings
    assert "`networks: [n]` joins that one" in notice.text
    assert notice.place is not None and notice.place.column == 40
    assert not project.load(text % "{external: true, name: n}").warnings
    (mistake,) = project.mistakes((text % "{}").replace("mode: n", "mode: n/m"))
    assert 'network_mode cannot be "n/m"' in mistake


def test_words_with_nothing_in_them_are_absent(project: Any) -> None:
    """Of variables that are not set: what Docker takes for its default."""
    words = ("userns_mode", "cgroup", "pull_policy", "pid", "ipc", "restart", "platform")
    text = ", ".join(f"{word}: '${{NOPE:-}}'" for word in words)
    empty = project.load(f"services: {{web: {{image: a, isolation: '', {text}}}}}").stack
    service = empty.services["web"]
    assert not any(getattr(service, word) for word in words)
    assert not empty.refusals


def test_a_hook_needs_a_command(project: Any) -> None:
    text = "services:\n  a:\n    image: x\n    post_start: [{command: 'x'}, {command: ''}]\n"
    assert project.mistakes(text) == ['4:44: a post_start hook of service "a" has no command']


def test_names_that_no_file_can_have_are_mistakes(project: Any) -> None:
    """A key that was pasted where a file belongs is longer than any name."""
    long = "x" * 300
    project.write("f.yaml", "services: {b: {image: x}}")
    missing = "the (environment|label) file .*xxx"
    for text, mistake in (
        ("services: {a: {image: x, env_file: %s}}", missing),
        ("services: {a: {image: x, label_file: %s}}", missing),
        (
            "services: {a: {image: x, secrets: [{source: s, mode: 0400}]}}\n"
            "secrets: {s: {file: %s}}",
            "",
        ),
        ("include: [{path: f.yaml, project_directory: %s}]", ""),
    ):
        project.write("stack.yaml", text % long)
        with pytest.raises(StackFileErrors, match=mistake) if mistake else nullcontext():
            load(project.request())
