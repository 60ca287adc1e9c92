"""What a user is told when something is wrong: a sentence, a place, what to do; no traceback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.engine import Engine, Result
from support.stack import Stack, free_port
from support.waiting import wait_until

needs_engine = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

SLEEPER = "image: stackctl/host, command: sleep infinity, init: true"


def assert_readable(result: Result) -> None:
    assert "Traceback" not in result.text, str(result)
    assert "error" in result.err.lower(), str(result)


def test_all_mistakes_are_told_at_once_each_with_its_place_and_a_hint(stack: Stack) -> None:
    stack.write(
        """\
        services:
          web:
            image: stackctl/host
            comand: sleep 1
            depends_on: [bd]
          db:
            image: stackctl/host
            mem_limit: plenty
        """
    )
    result = stack.run("up", "-d").expect(1)
    assert_readable(result)
    assert re.search(r"stack\.yaml:4:5: .*comand", result.err), result.err
    assert re.search(r"stack\.yaml:5:\d+: .*bd", result.err), result.err
    assert re.search(r"stack\.yaml:8:\d+: .*(mem_limit|plenty)", result.err), result.err
    assert "command" in result.err and "hint:" in result.err
    assert not stack.engine.container_processes()


def test_config_finds_the_same_mistakes_without_an_engine(stack: Stack) -> None:
    stack.write("services:\n  web:\n    image: stackctl/host\n    prots: ['80']\n")
    result = stack.run("config").expect(1)
    assert_readable(result)
    assert re.search(r"stack\.yaml:4:5: .*prots", result.err)


def test_a_cycle_names_its_services(stack: Stack) -> None:
    stack.write(
        """\
        services:
          a: {image: stackctl/host, depends_on: [b]}
          b: {image: stackctl/host, depends_on: [c]}
          c: {image: stackctl/host, depends_on: [a]}
        """
    )
    result = stack.run("up", "-d").expect(1)
    assert_readable(result)
    assert re.search(r"a\W+b\W+c\W+a|b\W+c\W+a\W+b|c\W+a\W+b\W+c", result.err), result.err


def test_no_stack_file_says_which_names_were_looked_for(stack: Stack) -> None:
    result = stack.run("up", "-d")
    assert result.code != 0
    assert_readable(result)
    assert "stack.yaml" in result.err


@needs_engine
def test_a_service_that_dies_shows_its_exit_code_and_last_lines(stack: Stack) -> None:
    stack.write(
        f"""\
        services:
          db:
            image: stackctl/host
            command: sh -c 'echo one; echo the disk caught fire >&2; exit 7'
            healthcheck: {{test: [CMD, "false"], start_period: 30s}}
          web: {{{SLEEPER}, depends_on: {{db: {{condition: service_healthy}}}}}}
          other: {{{SLEEPER}}}
        """
    )
    result = stack.run("up", "-d", "--wait").expect(1)
    assert_readable(result)
    assert re.search(r"\bdb\b", result.err) and re.search(r"\b7\b", result.err), result.err
    assert "the disk caught fire" in result.text
    states = stack.states()
    assert states["app-db-1"] == "exited"
    # Independent branches go on; what waited for db was not started.
    assert states["app-other-1"] == "running"
    assert states.get("app-web-1", "created") == "created"
    stack.down()


@needs_engine
def test_a_stack_that_is_not_ready_in_time_says_so(stack: Stack) -> None:
    stack.write(
        "services:\n  web: {image: stackctl/host, command: sleep 1000, init: true,"
        " healthcheck: {test: 'false', interval: 10s, retries: 100}}\n"
    )
    nothing = stack.run("start").expect(1)
    assert 'error: "app" has no container to start' in nothing.err
    # A service that has no container (yet, or any more) is there all the same; others are not.
    for command in ("ps -q", "logs", "images -q", "stop", "rm -f", "restart", "kill"):
        found = stack.run(*command.split(), "web")
        assert (found.code, found.out) == (0, ""), (command, found)
    assert 'no such service: "wbe"' in stack.run("ps", "wbe").expect(1).err
    assert 'no such service: "wbe"' in stack.run("stop", "wbe").expect(1).err
    stack.ok("up", "-d")
    for command in (("up", "-d"), ("start",)):
        result = stack.run(*command, "--wait", "--wait-timeout", "0.5").expect(1)
        assert "error: the services were not ready within 0.5 s" in result.err
    # Without --wait it is for what others wait for.
    stack.write(
        "services:\n  web: {image: stackctl/host, command: sleep 1000, init: true,"
        " healthcheck: {test: 'false', interval: 10s, retries: 100}}\n"
        "  user: {image: stackctl/host, depends_on: {web: {condition: service_healthy}}}\n"
    )
    result = stack.run("up", "--wait-timeout", "0.5", "user").expect(1)
    assert "error: the services were not ready within 0.5 s" in result.err
    assert stack.states() == {"app-web-1": "running", "app-user-1": "created"}
    # Nothing to build is nothing to fail.
    stack.ok("build")
    stack.down()


def test_a_command_that_does_not_exist_is_named(stack: Stack) -> None:
    stack.write("services:\n  web: {image: stackctl/host, command: no-such-program --at-all}\n")
    result = stack.run("up", "-d", "--wait").expect(1)
    assert_readable(result)
    assert "no-such-program" in result.err
    stack.down()


@needs_engine
def test_a_container_survives_the_update_that_could_not_start(stack: Stack) -> None:
    def write(change: str = "") -> None:
        stack.write(f"services:\n  web: {{{SLEEPER}, {change or 'labels: {}'}}}\n")

    write()
    stack.up()
    before = stack.ids()
    missing = stack.directory / "missing"
    for change, said in (
        ("cpus: 1, cpu_quota: 50000", r"stack\.yaml:2:\d+: .*both cpus and cpu_quota"),
        ("cpuset: 0-9999", r"cpuset '0-9999' asks for cpus that are not there"),
        ("devices: [/dev/nope]", "device /dev/nope: No such file"),
        (
            "blkio_config: {device_read_bps: [{path: /dev/null, rate: 1m}]}",
            "a limit names /dev/null, which is no block device",
        ),
        (
            "volumes: [{type: bind, source: ./missing, target: /m, bind: {create_host_path: "
            "false}}]",
            f"the bind source {missing} does not exist",
        ),
        (
            "network_mode: host, sysctls: {net.core.somaxconn: 5}",
            'sysctl "net.core.somaxconn" would change a namespace that is not',
        ),
    ):
        write(change)
        result = stack.run("up", "-d")
        assert_readable(result)
        assert result.code != 0 and re.search(said, result.err), result
        assert "hint:" in result.err or "sysctl" in change, result
        assert stack.ids() == before, change
        assert stack.states() == {"app-web-1": "running"}, change
    # Of the first container of its name nothing is lost: what starts before it may make them.
    stack.directory.chmod(0o777)
    stack.write(
        """\
        services:
          maker:
            image: stackctl/host
            command: mkdir /all/missing
            volumes: [".:/all"]
          user:
            image: stackctl/host
            command: sleep infinity
            init: true
            volumes:
              - {type: bind, source: ./missing, target: /m, bind: {create_host_path: false}}
            depends_on: {maker: {condition: service_completed_successfully}}
        """
    )
    stack.ok("up", "-d", "--remove-orphans")
    assert stack.states()["app-user-1"] == "running"
    stack.down()


@needs_engine
def test_an_unknown_image_is_told_before_anything_is_made(stack: Stack) -> None:
    stack.write("services:\n  web: {image: 'nobody.invalid/nothing:1'}\n")
    result = stack.run("up", "-d").expect(1)
    assert_readable(result)
    assert "nobody.invalid/nothing:1" in result.err
    # What was refused needs no shim any more.
    stack.write("services:\n  web: {image: 'nothing:1', pull_policy: never}\n")
    assert "pull_policy is never" in stack.run("up", "-d").expect(1).err
    assert stack.engine.shim_pids() == []
    assert not stack.engine.census().links
    # Nor is a file that never ends waited for.
    (stack.directory / "endless").symlink_to("/proc/kmsg")
    for source in ("/dev/zero", "endless"):
        stack.write(
            f"""\
            services: {{a: {{{SLEEPER}, secrets: [{{source: s, mode: 0o400}}]}}}}
            secrets: {{s: {{file: {source}}}}}
            """
        )
        assert "cannot be read" in stack.run("up", "-d").expect(1).err
    assert not stack.engine.container_processes()
    stack.down()


@needs_engine
def test_what_an_attached_up_waits_for_and_ends_with(stack: Stack) -> None:
    stack.write("""\
        services:
          web: {image: stackctl/host, command: echo hello, depends_on: [db]}
          db: {image: stackctl/host, command: sh -c 'echo stored; exec sleep 1000', init: true}
        """)
    # What it depends on is heard, and goes on.
    attached = stack.ok("up", "--attach-dependencies", "web")
    assert "web-1  | hello" in attached.out and "db-1   | stored" in attached.out
    assert stack.states() == {"app-web-1": "exited", "app-db-1": "running"}
    aborted = stack.ok("up", "--abort-on-container-exit", "--attach-dependencies", "web")
    assert "stopping web because web-1 ended" in aborted.err
    stack.down()
    stack.write("""\
        services:
          broken: {image: stackctl/host, command: sh -c "exit 3"}
          slow: {image: stackctl/host, command: sleep 100, init: true,
                 healthcheck: {test: sleep 4, interval: 10s, timeout: 20s}}
          tests: {image: stackctl/host, command: "true",
                  depends_on: {slow: {condition: service_healthy}}}
        """)
    # The one that was to decide never ran.
    assert stack.run("up", "--exit-code-from", "tests").code == 3
    stack.down()


@needs_engine
def test_what_cannot_be_mounted_or_probed_says_why(stack: Stack) -> None:
    (stack.directory / "file").touch()
    (stack.directory / "tree").mkdir()
    stack.write(f"""\
        services:
          a: {{{SLEEPER}, volumes: ['./file:/opt']}}
          b: {{{SLEEPER}, volumes: ['./tree:/etc/passwd']}}
          c: {{{SLEEPER}, healthcheck: {{test: [CMD, nowhere], interval: 50ms, retries: 1}}}}
          d: {{{SLEEPER}, secrets: [s]}}
        secrets: {{s: {{file: ./gone}}}}
        """)
    failed = stack.run("up", "-d", "--wait").expect(1)
    assert_readable(failed)
    where = "is to be mounted where a"
    assert f'service "a": cannot start the container: mount /opt: a file {where} dir' in failed.err
    assert f"mount /etc/passwd: a directory {where} file is" in failed.err
    assert "its probe exited with 127: cannot execute nowhere" in failed.err
    # What starts before it might have made it.
    first = failed.err.splitlines()[0]
    assert re.match(
        r"warning: .*stack.yaml:6:\d+: the file .*/gone of secret \"s\" does not", first
    )
    assert 'service "d": the bind source' in failed.err
    stack.down()


@needs_engine
def test_a_busy_port_names_the_process_that_holds_it(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        stack.write(f"services:\n  web: {{{SLEEPER}, ports: ['127.0.0.1:{port}:80']}}\n")
        result = stack.run("up", "-d").expect(1)
    assert_readable(result)
    assert f'error: service "web": host port {port}/tcp is held by' in result.err
    # This very test holds it: a Python process.
    assert re.search(r"py(thon|test)", result.err), result.err
    stack.down()


@needs_engine
def test_a_busy_port_names_the_container_that_holds_it(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    text = f"services:\n  web: {{{SLEEPER}, ports: ['{port}:80']}}\n"
    stack.write(text)
    stack.up()
    other = Stack(stack.engine, tmp_path / "other")
    other.directory.mkdir()
    other.write(text)
    result = other.run("up", "-d").expect(1)
    assert_readable(result)
    assert str(port) in result.err and "app-web-1" in result.err
    other.down()
    assert stack.states() == {"app-web-1": "running"}
    stack.down()


#: An ordinary user who may read everything: the installation may lie below /root.
ORDINARY_USER = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
    "--",
)


@pytest.mark.needs("root", "program:setpriv")
def test_an_ordinary_user_is_told_that_root_is_needed(stack: Stack) -> None:
    stack.write(f"services:\n  web: {{{SLEEPER}}}\n")
    result = stack.run("up", "-d", prefix=ORDINARY_USER)
    assert result.code == 1, str(result)
    assert_readable(result)
    assert "root" in result.err


@needs_engine
def test_images_that_are_none_have_their_places(stack: Stack) -> None:
    stack.write(
        """\
        services:
          a: {image: "UPPER CASE"}
          b:
            image: b:${UNSET}
        """
    )
    result = stack.run("up", "-d").expect(1)
    assert "stack.yaml:2:" in result.err and "stack.yaml:4:" in result.err, str(result)
    assert result.err.count("is not an image reference") == 2
    # It can be looked at, and taken down.
    assert "UPPER CASE" in stack.ok("config").out
    stack.down()


@needs_engine
def test_every_service_that_dies_shows_its_last_lines(stack: Stack) -> None:
    stack.write(
        """\
        services:
          a: {image: stackctl/host, command: sh -c 'echo boom; exit 4'}
          b: {image: stackctl/host, command: sh -c 'echo bang; exit 5'}
          after-a:
            image: stackctl/host
            command: "true"
            depends_on: {a: {condition: service_completed_successfully}}
          after-b:
            image: stackctl/host
            command: "true"
            depends_on: {b: {condition: service_completed_successfully}}
          none: {image: stackctl/host, command: no-such-program}
        """
    )
    result = stack.run("up", "-d").expect(1)
    _, _, told = result.err.partition("error:")
    for text in ("exited with code 4", "boom", "exited with code 5", "bang", "no-such-program"):
        assert text in told, str(result)
    stack.down()


@pytest.fixture
def small_disk(engines: Callable[[], Engine]) -> Iterator[Engine]:
    """An engine whose root is on a file system of 4 MB."""
    engine = engines()
    engine.paths.root.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "small", str(engine.paths.root)], check=True
    )
    try:
        yield engine
    finally:
        engine.leave()
        wait_until(
            lambda: subprocess.run(["umount", str(engine.paths.root)], check=False).returncode == 0,
            5,
            what="the small disk unmounted",
        )


@needs_engine
def test_a_full_disk_is_a_sentence_and_the_engine_goes_on(
    small_disk: Engine, tmp_path: Path
) -> None:
    stack = Stack(small_disk, tmp_path)
    stack.options = ("-p", "full")
    stack.write(f"services:\n  web: {{{SLEEPER}}}\n")
    stack.up()
    stack.down()
    filler = small_disk.paths.root / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    result = stack.run("up", "-d")
    assert result.code == 1, str(result)
    assert_readable(result)
    assert re.search(r"space|full", result.err), result.err
    filler.unlink()
    stack.up()
    stack.down()


@needs_engine
def test_a_container_that_fills_the_disk_can_be_taken_down(
    small_disk: Engine, tmp_path: Path
) -> None:
    stack = Stack(small_disk, tmp_path)
    stack.options = ("-p", "full")
    stack.write(
        """\
        services:
          fills: {image: stackctl/host, command: sh -c 'cat /dev/zero > /f; exec sleep 100'}
          talks: {image: stackctl/host, command: sh -c 'while sleep 0.02; do echo x; done'}
        """
    )

    def is_full() -> bool:
        return os.statvfs(small_disk.paths.root).f_bavail == 0

    stack.run("up", "-d")
    wait_until(is_full, 30, what="a full disk")
    # For the rest of the way the log goes on taking what comes free.
    stack.ok("kill", "talks")
    stack.ok("stop", "-t", "0")
    assert set(stack.states().values()) == {"exited"}
    # The next daemon finds the disk as full.
    small_disk.kill(small_disk.daemon_pids())
    assert is_full()
    stack.ok("down", "-t", "0")
    assert stack.states() == {} and not is_full()
    stack.up()
    stack.down()
