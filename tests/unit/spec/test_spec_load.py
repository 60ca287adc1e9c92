"""Loading: which files, which variables, which name; the resolved stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import NotFound, StackctlError, StackFileError, StackFileErrors
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
