"""What `config` and `schema` show: resolved or as written, hashes, variables, coverage."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stackctl.errors import NotFound, StackFileErrors
from stackctl.spec import checks, loader, yaml
from stackctl.spec.loader import Steps
from stackctl.spec.nodes import plain
from stackctl.spec.schema import schema
from stackctl.spec.shape import Shape, stack_shape
from stackctl.spec.shown import Wish, described, shown


def facts(project: Any, text: str, /, environment: Any = None, **wish: Any) -> dict[str, Any]:
    project.write("stack.yaml", text)
    request = project.request(name="p", environment=environment or {})
    return described(request, Wish(hashes=True, **wish))[0]


FULL = """\
services:
  web:
    image: "img:${TAG:-1}"
    build: {context: ./ctx, args: {A: b}, secrets: [s], ulimits: {nofile: 5}}
    command: ["echo", "$$HOME"]
    secrets: [{source: s, uid: "5", mode: 0440}]
    configs: [c]
    ulimits: {nofile: {soft: 1, hard: 2}}
    devices: ["/dev/null:/dev/x:r"]
    extra_hosts: {a: 1.2.3.4}
    logging: {driver: json-file, options: {max-size: 10m}}
    deploy:
      restart_policy: {condition: on-failure, max_attempts: 3}
      update_config: {order: stop-first}
    develop: {watch: [{path: ./src, action: sync, target: /src, ignore: [x/]}]}
    post_start: [{command: "a b", environment: [X=1]}]
    blkio_config: {weight: 100, device_read_bps: [{path: /dev/x, rate: 1m}]}
    healthcheck: {test: curl x, interval: 1m30s}
    sysctls: [net.core.somaxconn=5]
    links: [db]
    networks: {default: {aliases: [y]}}
    pull_policy: every_12h
    tmpfs: /t:size=1m
  db: {image: db, profiles: [], volumes: [{type: tmpfs, target: /q, tmpfs: {mode: 01777}}]}
secrets: {s: {file: ./s.txt}}
configs: {c: {content: "a: $$b\\n"}}
volumes: {v: {driver_opts: {type: none, o: bind, device: ./d}}}
networks: {default: {driver_opts: {com.docker.network.driver.mtu: 1400}}}
models: {m: {model: x}}
x-top: {a: 1}
"""


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_the_output_loads_back_to_the_same_model(project: Any, format: str) -> None:
    first = facts(project, FULL, format=format)
    second = facts(project, first["text"], format=format)
    assert second["text"] == first["text"]
    assert second["hashes"] == first["hashes"]
    assert f"{project.directory}/ctx" in first["text"]


def test_what_json_cannot_say_is_nothing_in_it(project: Any) -> None:
    text = "services: {web: {image: a, x-it: [.inf]}}\nx-it: .nan"
    shown = json.loads(facts(project, text, format="json")["text"], parse_constant=pytest.fail)
    assert (shown["x-it"], shown["services"]["web"]["x-it"]) == (None, [None])
    assert "x-it: .nan" in facts(project, text)["text"]


def test_names_and_hashes(project: Any) -> None:
    found = facts(project, FULL)
    assert found["images"] == ["db", "img:1"]
    assert found["hashes"].keys() == {"web", "db"}
    assert facts(project, "services: {web: {build: .}}")["images"] == ["p-web"]
    other = facts(project, FULL, environment={"TAG": "2"})
    assert other["hashes"]["web"] != found["hashes"]["web"]
    assert other["hashes"]["db"] == found["hashes"]["db"]
    text = "services: {a: {image: x, profiles: [one]}, b: {image: x, depends_on: [a]}}"
    with pytest.raises(StackFileErrors, match="which is disabled"):
        facts(project, text)
    with pytest.raises(NotFound):
        facts(project, text, services=("c",))


def test_no_text_is_made_that_nobody_prints(project: Any) -> None:
    text = "services: {web: {image: a, volumes: ['data:/d']}}\nvolumes: {data: }"
    for interpolate in (True, False):
        full = facts(project, text, interpolate=interpolate)
        brief = facts(project, text, interpolate=interpolate, text=False)
        assert "image: a" in full.pop("text") and brief.pop("text") == ""
        assert brief == full


def test_what_no_service_uses_is_shown_only_when_it_is_asked_for(project: Any) -> None:
    text = (
        "services:\n"
        "  w: {image: i, networks: [n], build: {context: ., secrets: [b]}, configs: [c]}\n"
        "  q: {image: i, profiles: [p], volumes: ['pv:/x'], secrets: [s]}\n"
        "networks: {n: , unused: }\nvolumes: {pv: , unused: }\n"
        "secrets: {s: {environment: HOME}, b: {environment: HOME}}\n"
        "configs: {c: {content: x}, unused: {content: x}}\n"
    )
    found = facts(project, text)
    assert (found["networks"], found["volumes"]) == (["n"], [])
    assert "unused" not in found["text"] and "secrets:" in found["text"]
    other = project.load(text, profiles=("p",), environment={"HOME": "/root"}).stack
    assert shown(other, Wish())["volumes"] == ["pv"]
    every = shown(project.load(text, all_resources=True).stack, Wish())
    assert every["networks"] == ["default", "n", "unused"]
    assert every["volumes"] == ["pv", "unused"]


def test_lists_of_what_is_written(project: Any) -> None:
    text = """\
services:
  w: {image: j, networks: [n]}
  q: {image: i, profiles: [p], volumes: ["pv:/x"]}
networks: {n: , unused: }
volumes: {pv: , unusedv: }
"""
    # As the files have it, nothing is left out.
    written = facts(project, text, interpolate=False)
    lists = {kind: written[kind] for kind in ("volumes", "networks", "images", "profiles")}
    assert lists == {
        "volumes": ["pv", "unusedv"],
        "networks": ["n", "unused"],
        "images": ["i", "j"],
        "profiles": ["p"],
    }
    built = "services: {a: {build: .}, b: {image: $X}}"
    assert facts(project, built, interpolate=False)["images"] == ["$X", "p-a"]


def test_images_by_their_digests(project: Any) -> None:
    text = "services: {a: {image: x, ports: ['1']}, b: {image: z}, c: {build: .}}"
    pins = {"x": "host/x:1@sha256:0"}
    found = facts(project, text, pins=pins)
    assert "image: host/x:1@sha256:0" in found["text"] and "image: z" in found["text"]
    assert "ports" in found["text"]
    alone = plain(yaml.compose(facts(project, text, pins=pins, only_images=True)["text"], "o")[0])
    assert alone == {"services": {"a": {"image": "host/x:1@sha256:0"}, "b": {"image": "z"}}}


def test_what_up_would_refuse_is_foretold(project: Any) -> None:
    project.write(
        "stack.yaml",
        "services:\n  a: {image: Nginx}\n  b: {image: x, scale: 2, ports: ['1', '5:5']}\n"
        "  c: {image: x, scale: 2, ports: ['5-6:5']}\n",
    )
    _, told = described(project.request(), Wish())
    assert [(n.place.line, n.place.column) for n in told if n.place] == [(2, 14), (3, 40)]
    assert "up will refuse it: 'Nginx' is not an image reference" in told[0].text
    assert "2 replicas" in told[1].text and "cannot share host port 5" in told[1].text


@pytest.mark.parametrize(
    ("attribute", "written"),
    [
        ("command", "echo ${X:-a b}"),
        ("command", "echo ${X:-${Y:-a b} c}"),
        ("extra_hosts", ["${EH:-a:1.1.1.1}"]),
        ("environment", ["${EK:-k=1}"]),
        ("environment", ["${A:-z}=b"]),
        ("depends_on", ["${DEP:-t}"]),
        ("post_start", [{"command": "a ${X:-b c}"}]),
        ("build", {"additional_contexts": ["${AC:-n=./d}"]}),
    ],
)
def test_variables_stay_whole_where_they_are_not_filled_in(
    project: Any, attribute: str, written: Any
) -> None:
    text = json.dumps({"services": {"a": {"image": "x", attribute: written}, "t": {"image": "x"}}})
    shown = facts(project, text, interpolate=False)
    raw = plain(yaml.compose(shown["text"], "o")[0])
    assert raw["services"]["a"][attribute] == written
    # What is shown is the same stack.
    assert facts(project, shown["text"])["text"] == facts(project, text)["text"]


def test_as_written(project: Any) -> None:
    text = (
        "services:\n  web:\n    image: x:${TAG}\n    ports: ['${P}:80', 81]\n    env_file: e.env\n"
        "    volumes: [./a:/a]\n    command: echo $$A\n"
    )
    raw = plain(yaml.compose(facts(project, text, interpolate=False)["text"], "o")[0])
    assert next(iter(raw.items())) == ("name", "p")
    web = raw["services"]["web"]
    # A list that a variable makes unreadable stays as it is.
    assert (web["image"], web["ports"]) == ("x:${TAG}", ["${P}:80", 81])
    assert web["command"] == ["echo", "$$A"]
    assert web["env_file"] == [{"path": "e.env", "required": True}]
    assert raw["name"] == "p"
    with pytest.raises(NotFound, match="no service is called"):
        facts(project, text, interpolate=False, services=("nosuch",))
    with pytest.raises(StackFileErrors, match='unknown key "bogus"'):
        facts(project, "services: {a: {image: x, bogus: $A}}", interpolate=False)
    needed = "services: {a: {image: x, depends_on: [b]}, b: {image: $B}, c: {image: z}}"
    assert facts(project, needed, interpolate=False, services=("a",))["services"] == ["a", "b"]


STEPS = """\
services:
  off: {image: "y:$NOPE", profiles: [off]}
  web: {image: x, env_file: e.env, environment: [HERE], volumes: [./a:/a], links: [c]}
  c: {image: z}
volumes: {unused: }
"""


def test_steps_that_are_left_out_leave_the_others(project: Any) -> None:
    """Each is `config` without one thing: profiles, services and mistakes are the same."""
    project.write("e.env", "A=1\n")
    environment = {"HERE": "here"}
    for step in ("normalize", "environment", "absolute_paths"):
        steps = Steps(**{step: False})
        found = facts(project, STEPS, environment=environment, steps=steps)
        assert found["name"] == "p"
        assert (found["services"], found["images"]) == (["web", "c"], ["x", "z"])
        web = plain(yaml.compose(found["text"], "o")[0])["services"]["web"]
        assert ("networks" in web) == (step != "normalize")
        assert ("depends_on" in web) == (step != "normalize")
        env_file = [{"path": f"{project.directory}/e.env", "required": True}]
        assert web.get("env_file") == (env_file if step == "environment" else None)
        values = {"HERE": None} if step == "environment" else {"A": "1", "HERE": "here"}
        assert web["environment"] == values
        where = "./a" if step == "absolute_paths" else f"{project.directory}/a"
        assert web["volumes"][0]["source"] == where
        # What is printed loads back.
        again = facts(project, found["text"], environment=environment)
        assert sorted(again["services"]) == ["c", "web"]
        with pytest.raises(NotFound, match="no service is called"):
            facts(project, STEPS, steps=steps, services=("nosuch",))
        with pytest.raises(StackFileErrors, match="bogus"):
            facts(project, "services: {a: {image: x, bogus: 1}}", steps=steps)
    missing = STEPS.replace("e.env", "not-there.env")
    assert facts(project, missing, steps=Steps(environment=False))["services"] == ["web", "c"]


def test_variables(project: Any) -> None:
    found = facts(
        project,
        "services: {web: {image: '${A:-x}${B?needed}$C', user: '$A ${D:+alt} ${E:-${F}} $$G',"
        " hostname: '${H-x${I:-y}z}'}}",
        variables=True,
    )["variables"]
    assert [tuple(row.values()) for row in found] == [
        ("A", "x", "", False),
        ("B", "", "", True),
        ("C", "", "", False),
        ("D", "", "alt", False),
        ("E", "${F}", "", False),
        ("F", "", "", False),
        ("H", "x${I:-y}z", "", False),
        ("I", "y", "", False),
    ]


def test_coverage_says_what_becomes_of_each_attribute(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = facts(
        project,
        "services:\n"
        "  web:\n"
        "    image: x\n"
        "    runtime: runc\n"
        "    gpus: all\n"
        "    mem_limit: 5q\n"
        "    deploy: {placement: {constraints: [a]}, replicas: 2}\n"
        "    imag: y\n",
        coverage=True,
    )["coverage"]
    states = {row["Attribute"]: (row["State"], row["Place"].split(":", 1)[1]) for row in rows}
    assert states["services.web.image"] == ("honoured", "3:5")
    assert states["services.web.runtime"] == ("approximated", "4:5")
    assert states["services.web.gpus"] == ("refused", "5:5")
    assert states["services.web.mem_limit"] == ("refused", "6:16")
    assert states["services.web.deploy.placement"] == ("no effect", "7:14")
    assert states["services.web.deploy.replicas"][0] == "honoured"
    assert [r["Reason"] for r in rows if r["Attribute"] == ""] == [
        'unknown key "imag" in services.web'
    ]
    assert all(r["Reason"] for r in rows if r["State"] != "honoured")
    # What a value, not an attribute, lacks is a warning and no less approximated.
    rows = facts(
        project,
        "services:\n"
        "  web:\n"
        "    image: x:${UNSET}\n"
        "    ulimits: {nofile: 5}\n"
        "    logging: {driver: json-file, options: {max-size: 1m, compress: 'true', tag: t}}\n",
        coverage=True,
    )["coverage"]
    found = {row["Attribute"]: (row["State"], row["Reason"]) for row in rows}
    assert found["services.web.image"] == ("honoured", "")
    assert found["services.web.ulimits.nofile"] == ("honoured", "")
    state, reason = found["services.web.logging.options"]
    assert state == "approximated" and "compress" in reason and "tag" in reason
    assert "max-size" not in reason
    # Docker's socket is the engine's where no Docker is.
    docker = project.directory / "docker.sock"
    monkeypatch.setattr(checks, "DOCKER_SOCKETS", (str(docker),))
    text = f"services: {{a: {{image: b, volumes: ['{docker}:/var/run/docker.sock:ro']}}}}"
    row = facts(project, text, coverage=True)["coverage"][-1]
    assert row["State"] == "approximated" and "this engine's socket" in row["Reason"]
    long = f"services: {{a: {{image: b, volumes: [{{type: bind, target: /x, source: {docker}}}]}}}}"
    rows = facts(project, long, coverage=True)["coverage"]
    found = {row["Attribute"].rpartition(".")[2]: row["State"] for row in rows}
    assert (found["source"], found["target"]) == ("approximated", "honoured")
    docker.touch()
    assert facts(project, text, coverage=True)["coverage"][-1]["State"] == "honoured"


# -- schema


def accepts(value: Any, rule: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """As much of JSON Schema as ours uses."""
    if "$ref" in rule:
        return accepts(value, definitions[rule["$ref"].rpartition("/")[2]], definitions)
    for word in ("anyOf", "oneOf"):
        if word in rule and not any(accepts(value, r, definitions) for r in rule[word]):
            return False
    if "const" in rule and value != rule["const"]:
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if "pattern" in rule and isinstance(value, str) and not re.search(rule["pattern"], value):
        return False
    kinds = rule.get("type", [])
    names = {str: "string", bool: "boolean", list: "array", dict: "object", type(None): "null"}
    kind = names.get(type(value), "number")
    wanted = [kinds] if isinstance(kinds, str) else kinds
    if wanted and kind not in wanted and not (type(value) is int and "integer" in wanted):
        return False
    if isinstance(value, list):
        return all(accepts(item, rule.get("items", {}), definitions) for item in value)
    if isinstance(value, dict) and "properties" in rule:
        if not set(rule.get("required", ())) <= value.keys():
            return False
        return all(
            key.startswith("x-")
            or (key in rule["properties"] and accepts(v, rule["properties"][key], definitions))
            for key, v in value.items()
        )
    if isinstance(value, dict) and isinstance(rule.get("additionalProperties"), dict):
        inner = rule["additionalProperties"]
        return all(accepts(v, inner, definitions) for v in value.values())
    return True


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (FULL, True),
        ("services: {web: {image: x, ports: ['80:80', 81, {target: 5}], volumes: [a:/b]}}", True),
        ("services: {web: {environment: [A=b], depends_on: [x], env_file: [a, {path: b}]}}", True),
        ("services: {web: {command: a b, networks: [x], healthcheck: {test: [CMD, a]}}}", True),
        ("include: [a.yaml, {path: [b]}]\nservices: {a: {extends: b, tty: '$T', build: .}}", True),
        ("networks: {a: , b: {external: true}}\nx-more: [1]\nservices: {a: {x-b: 1}}", True),
        ("services: {web: {imag: x}}", False),
        ("services: {web: {depends_on: {db: {conditions: x}}}}", False),
        ("servces: {}", False),
        ("services: [a]", False),
        ("services: {a: {image: 1}}", False),
        ("services: {a: {restart: false}}", False),
        ("services: {a: {user: 5}}", False),
        ("services: {a: {command: [1]}}", False),
        ("services: {a: {healthcheck: {interval: 5}}}", False),
        ("services: {a: {pull_policy: foo}}", False),
        ("services: {a: {pull_policy: '${P}'}}", True),
        ("services: {a: {depends_on: {b: {condition: foo}}}}", False),
        ("services: {a: {depends_on: {b: {condition: service_healthy}}}}", True),
        ("services: {a: {depends_on: {b: {condition: $C}}}}", True),
        ("services: {a: {extra_hosts: {a: [1.1.1.1]}}}", True),
        ("volumes: {a: {external: {name: b}}}", True),
    ],
)
def test_the_schema_knows_right_from_wrong(text: str, right: bool) -> None:
    rules = schema()
    value = plain(yaml.compose(text, "f")[0])
    assert accepts(value, rules, rules["$defs"]) is right


def test_the_schema_takes_what_the_loader_takes(project: Any) -> None:
    rules = schema()
    taken = 0
    for key in stack_shape().below("services").below("").fields or ():
        for value in (None, 0, 5, 1.5, True, "x", "5", "1s", "no", "/x", "host", ["x"], {"x": "y"}):
            text = json.dumps({"services": {"a": {"image": "i", key: value}, "x": {"image": "i"}}})
            project.write("stack.yaml", text)
            _, mistakes, *_ = loader.examined(project.request(name="p"))
            if not mistakes:
                taken += 1
                data = plain(yaml.compose(text, "f")[0])
                assert accepts(data, rules, rules["$defs"]), (key, value)
    assert taken > 200


def test_the_schema_describes_every_attribute() -> None:
    rules = json.loads(json.dumps(schema()))
    for definition in (rules, *rules["$defs"].values()):
        assert definition["description"]
        for key, rule in definition["properties"].items():
            assert rule["description"], key

    def models(shape: Shape) -> set[str]:
        inner = [*(shape.fields or {}).values(), shape.values, shape.items]
        found = {name for below in inner if below is not None for name in models(below)}
        return found | ({shape.model.__name__} if shape.model else set())

    everything = models(stack_shape())
    assert {"Service", "Network", "Volume", "Secret", "Config", "Build"} <= set(rules["$defs"])
    assert set(rules["$defs"]) < everything


def test_each_format_says_what_compose_says_in_it(project: Any) -> None:
    """JSON has a null command and an empty ipam, YAML leaves them out; an empty one stays."""
    text = "services: {a: {image: x, mem_swappiness: 60}, b: {image: x, command: [], ports: [80]}}"
    found = json.loads(facts(project, text, format="json")["text"])
    assert list(found) == ["name", "networks", "services"]
    assert found["networks"] == {"default": {"name": "p_default", "ipam": {}}}
    web = {"entrypoint": None, "image": "x", "networks": {"default": None}}
    assert found["services"]["a"] == {**web, "command": None, "mem_swappiness": "60"}
    port = {"mode": "ingress", "target": 80, "protocol": "tcp"}
    assert found["services"]["b"] == {**web, "command": [], "ports": [port]}
    assert list(found["services"]["b"]["ports"][0]) == list(port)
    assert facts(project, text)["text"] == (
        'name: p\nservices:\n  a:\n    image: x\n    mem_swappiness: "60"\n'
        "    networks:\n      default: null\n"
        "  b:\n    command: []\n    image: x\n    networks:\n      default: null\n"
        "    ports:\n      - mode: ingress\n        target: 80\n        protocol: tcp\n"
        "networks:\n  default:\n    name: p_default\n"
    )


def test_names_of_the_users_own_are_in_order(project: Any) -> None:
    """As compose prints mappings; attributes and lists stay as they are."""
    text = facts(
        project,
        "services: {a: {image: x, labels: {z: 1, b: 2}, depends_on: [z, b], command: [z, b],"
        " x-any: {z: {z: 1, b: 2}, b: [z, b]}}, z: {image: x}, b: {image: x}}",
    )["text"]
    service = plain(yaml.compose(text, "o")[0])["services"]["a"]
    for mapping in (service["labels"], service["depends_on"], service["x-any"]["z"]):
        assert list(mapping) == ["b", "z"]
    assert service["command"] == service["x-any"]["b"] == ["z", "b"]
    assert text.index("condition:") < text.index("required:")


@pytest.mark.parametrize("services", ["", " 1", " []"])
def test_services_that_are_none_are_shown_as_they_are_written(project: Any, services: str) -> None:
    project.write("stack.yaml", f"services:{services}\n")
    facts, _ = described(project.request(name="p"), Wish(interpolate=False))
    assert facts["services"] == []
    assert facts["text"].startswith("name: p\nservices:")
