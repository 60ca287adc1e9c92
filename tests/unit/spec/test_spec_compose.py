"""What users of compose expect: their files load unchanged, and come out in compose's shape.

Tables of (files, expected part of the resolved stack); the facts are those of
compose-go's behaviour, told in compose-facts.
"""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.spec import yaml
from stackctl.spec.loader import load
from stackctl.spec.nodes import plain
from stackctl.spec.shown import Wish, described, shown


def resolved(project: Any, *texts: str, **options: Any) -> dict[str, Any]:
    """`config` of these -f files as data."""
    loaded = project.load(*texts, all_resources=True, **options)
    wish = Wish(services=options.get("services", ()))
    text = shown(loaded.stack, wish)["text"]
    found: dict[str, Any] = plain(yaml.compose(text, "out")[0])
    return found


def warned(project: Any, text: str) -> list[str]:
    return [notice.text for notice in project.load(text).warnings]


IMAGE = "services:\n  web:\n    image: a\n    "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ports: [80]", [{"mode": "ingress", "target": 80, "protocol": "tcp"}]),
        (
            "ports: ['::1:7:8/udp']",
            [
                {
                    "mode": "ingress",
                    "host_ip": "::1",
                    "target": 8,
                    "published": "7",
                    "protocol": "udp",
                }
            ],
        ),
        (
            "volumes: ['v:/v', './b:/b:ro', '/anon']",
            [
                {"type": "volume", "source": "v", "target": "/v", "volume": {}},
                {
                    "type": "bind",
                    "source": "{dir}/b",
                    "target": "/b",
                    "read_only": True,
                    "bind": {"create_host_path": True},
                },
                {"type": "volume", "target": "/anon", "volume": {}},
            ],
        ),
        ("secrets: [s]", [{"source": "s", "target": "/run/secrets/s"}]),
        ("secrets: [{source: s, target: /x}]", [{"source": "s", "target": "/x"}]),
        ("build: ./x", {"context": "{dir}/x", "dockerfile": "Dockerfile"}),
        (
            "build: {dockerfile_inline: FROM x}",
            {"context": "{dir}", "dockerfile_inline": "FROM x"},
        ),
        (
            "build: {context: ., args: [HERE, GONE, 'A=1']}",
            {
                "context": "{dir}",
                "dockerfile": "Dockerfile",
                "args": {"HERE": "yes", "A": "1"},
            },
        ),
        # As they were given: files of search engines have -1 for both.
        (
            "ulimits: {nofile: 5, core: 0, memlock: {soft: -1, hard: -1}}",
            {"nofile": 5, "core": {"soft": 0, "hard": 0}, "memlock": {"soft": -1, "hard": -1}},
        ),
        (
            "build: {context: ., ulimits: {nofile: 5, nproc: {soft: 1, hard: 1}}}",
            {
                "context": "{dir}",
                "dockerfile": "Dockerfile",
                "ulimits": {"nofile": 5, "nproc": {"soft": 1, "hard": 1}},
            },
        ),
        ("environment: [B=2, A=1, HERE, GONE]", {"A": "1", "B": "2", "GONE": None, "HERE": "yes"}),
        ("labels: [a, b=c=d]", {"a": "", "b": "c=d"}),
        ("network_mode: bridge", "bridge"),
        ("expose: [80, 81/udp]", ["80", "81/udp"]),
        ("stop_grace_period: 90s", "1m30s"),
        ("mem_limit: 1g", "1073741824"),
        ("extra_hosts: {a: 1.2.3.4}", ["a=1.2.3.4"]),
        ("depends_on: [db]", {"db": {"condition": "service_started", "required": True}}),
    ],
)
def test_an_attribute_in_the_canonical_shape(project: Any, line: str, expected: Any) -> None:
    text = (
        f"{IMAGE}{line}\n  db: {{image: b}}\n"
        "secrets: {s: {environment: HERE}}\nvolumes: {v: }\n"
    )
    web = resolved(project, text, environment={"HERE": "yes"})["services"]["web"]
    found = web[line.partition(":")[0]]
    if isinstance(found, dict) and isinstance(expected, dict):
        # Printed over several lines elsewhere; here it only has to be there.
        expected = {k: found.get(k) if v is None else v for k, v in expected.items()}
    assert found == _in(expected, str(project.directory))


def _in(value: Any, directory: str) -> Any:
    if isinstance(value, str):
        return value.replace("{dir}", directory)
    if isinstance(value, list):
        return [_in(item, directory) for item in value]
    return {k: _in(v, directory) for k, v in value.items()} if isinstance(value, dict) else value


def test_resources_carry_their_names_and_paths(project: Any) -> None:
    text = (
        "name: My Shop\nservices:\n  web: {image: a}\n  all: {image: a, networks: [back, old],\n"
        "    volumes: ['data:/d', 'kept:/k'], secrets: [s], configs: [c, d]}\n"
        "networks: {back: , old: {external: {name: o}}}\n"
        "volumes: {data: , kept: {external: true}}\n"
        "secrets: {s: {file: ./s.txt}}\nconfigs: {c: {file: ~/c}, d: {content: x}}\n"
    )
    found = resolved(project, text, name=None, environment={"HOME": "/home/u"})
    assert found["name"] == "myshop"
    assert found["services"]["web"]["networks"] == {"default": None}
    assert found["networks"] == {
        "back": {"name": "myshop_back"},
        "default": {"name": "myshop_default"},
        "old": {"name": "o", "external": True},
    }
    assert found["volumes"] == {
        "data": {"name": "myshop_data"},
        "kept": {"name": "kept", "external": True},
    }
    assert found["secrets"]["s"] == {"name": "myshop_s", "file": f"{project.directory}/s.txt"}
    assert found["configs"]["c"]["file"] == "/home/u/c"
    (told,) = project.load("name: My Shop\nservices: {}", name=None).warnings
    assert 'called "myshop"' in told.text


def test_services_that_are_not_enabled_may_be_templates_and_variants(project: Any) -> None:
    text = (
        "services:\n"
        "  base: {profiles: [template], environment: {A: 1}, networks: [gone],\n"
        "    depends_on: [gone]}\n"
        "  web: {extends: base, image: a, profiles: !reset [], networks: !override [default],\n"
        "    depends_on: !reset []}\n"
        "  cpu: {image: a, container_name: ml, profiles: [cpu], ports: ['80:80']}\n"
        "  gpu: {image: b, container_name: ml, profiles: [gpu], ports: ['80:80']}\n"
    )
    assert resolved(project, text)["services"].keys() == {"web"}
    assert resolved(project, text, profiles=("gpu",))["services"].keys() == {"web", "gpu"}
    name, port = project.mistakes(text, profiles=("cpu", "gpu"))
    assert 'services "cpu" and "gpu" are both called "ml"' in name
    assert 'host port 80/tcp is published by "cpu" and "gpu"' in port
    wrong = project.mistakes(text, services=("base",))
    assert any('depends on "gone", which no service is called' in m for m in wrong)
    assert any('service "base" has no image' in m for m in wrong)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (f"{IMAGE}volumes: ['./a:/b:ro,U']", '"U" is not a mount option'),
        (f"{IMAGE}volumes: ['./a:/b:nocopy']", "nocopy is for named volumes"),
        (
            "services: {web: {image: a}}\nnetworks: {default: {driver_opts: {a.b: 1}}}",
            'driver option "a.b" of network "default" has no effect',
        ),
        (
            "services: {web: {image: a}}\nnetworks: {default: {ipam: {options: {a: b}}}}",
            "the engine's pools have no options",
        ),
        (
            "services: {web: {image: a}}\nvolumes: {m: {driver_opts: {type: tmpfs, o: size=1m}}}",
            'volume "m" is memory',
        ),
    ],
)
def test_what_other_engines_pass_over_is_told(project: Any, text: str, warning: str) -> None:
    (told,) = warned(project, text)
    assert warning in told


def test_a_file_from_standard_input(project: Any) -> None:
    project.write("sub/more.yaml", "services: {web: {environment: {B: 2}}}")
    found = project.request(
        files=("-", "sub/more.yaml"), stdin="services: {web: {image: a, volumes: ['./x:/x']}}"
    )
    # What lies beside a stack file (a lock file) has no place beside standard input.
    assert not load(found).stack.is_in_files
    facts = described(found, Wish(format="json"))[0]
    assert facts["services"] == ["web"]
    # As compose has it: the first file that is one says where paths begin.
    assert f'"source": "{project.directory}/sub/x"' in facts["text"]
    assert '"B": "2"' in facts["text"]
    wrong = project.request(files=("-",), stdin="services: {web: {imag: a}}")
    with pytest.raises(Exception, match=r'-:1:18: unknown key "imag"'):
        described(wrong, Wish())


def test_without_consistency_names_need_not_exist(project: Any) -> None:
    project.write("stack.yaml", "services: {web: {networks: [gone], depends_on: [nobody]}}")
    assert described(project.request(), Wish(consistent=False))[0]["services"] == ["web"]
    with pytest.raises(Exception, match="which is not defined"):
        described(project.request(), Wish())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services:\n\tw:\n", "2:1: not valid YAML: a tab cannot indent a line"),
        ("services:\n  w:\n    image: a\n\tuser: b\n", "4:1: not valid YAML: a tab cannot"),
        ("services:\n  w:\n    image: a\n   user: b\n", "4:4: not valid YAML: this line does not"),
        ('services:\n  w:\n    image: "a\n', "3:12: not valid YAML: a quote is never closed"),
        ("services:\n  w:\n    image: @a\n", "needs quotes"),
        ("services:\n  w:\n    image:a\n", '[a colon is followed by a space: "image: a"]'),
        ("services:\n  w:\n    image: a: b\n", "needs quotes"),
        (f"{IMAGE}environment:\n      - A: 1\n", "[items of a list are KEY=VALUE; without dashes"),
        (f"{IMAGE}volumes: ['C:\\x:/y']", "begins with a drive of Windows"),
    ],
)
def test_beginners_mistakes(project: Any, text: str, message: str) -> None:
    (mistake,) = project.mistakes(text)
    assert message in mistake
