"""What `config` shows of a stack: for the daemon, and for the CLI where no engine runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from stackctl.errors import ImageError, StackFileErrors
from stackctl.model.reference import HOST, parse
from stackctl.spec import loader, obstacles, profiles, project
from stackctl.spec.dump import as_text, escaped, yaml_or_json
from stackctl.spec.loader import EVERY_STEP, LoadRequest, Notice, Steps
from stackctl.spec.model import Service, Stack
from stackctl.spec.nodes import Node, plain
from stackctl.spec.ports import port_range
from stackctl.spec.shape import stack_shape
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for; see `stackctl config --help`."""

    format: str = "yaml"
    services: tuple[str, ...] = ()
    #: Variables are filled in. Without, the files are shown as they are merged.
    interpolate: bool = True
    steps: Steps = EVERY_STEP
    #: Names of what does not exist are mistakes.
    consistent: bool = True
    #: What stands in the way of containers is a mistake: files of variables that are not there,
    #: attributes that the engine cannot carry out.
    for_containers: bool = True
    #: The whole of what the files come to, as text of this format.
    text: bool = True
    #: Also which variables there are.
    variables: bool = False
    #: Also the services' configuration hashes.
    hashes: bool = False
    #: Only what the engine makes of each attribute; mistakes are no reason to stop.
    coverage: bool = False
    #: What images are called instead: NAME -> NAME@DIGEST.
    pins: Mapping[str, str] = field(default_factory=dict)
    #: Nothing but the services' images.
    only_images: bool = False

    @staticmethod
    def of(body: Mapping[str, Any]) -> Wish:
        """From a request's body."""
        return Wish(
            format=str(body.get("format") or "yaml"),
            services=tuple(body.get("services") or ()),
            interpolate=not body.get("no_interpolate"),
            steps=Steps(
                normalize=not body.get("no_normalize"),
                environment=not body.get("no_env_resolution"),
                absolute_paths=not body.get("no_path_resolution"),
            ),
            consistent=not body.get("no_consistency"),
            for_containers=not body.get("names_only"),
            text=not (body.get("no_text") or body.get("lock_image_digests")),
            variables=bool(body.get("variables")),
            hashes=bool(body.get("hashes")),
            coverage=bool(body.get("coverage")),
            only_images=bool(body.get("lock_image_digests")),
        )


def described(request: LoadRequest, wish: Wish) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """The facts that `config` prints, and the warnings of finding them.

    Raises NotFound, StackFileErrors.
    """
    if wish.coverage:
        from stackctl.spec import coverage

        found = coverage.examine(*loader.examined(request), stack_shape())
        return {"coverage": [finding.row() for finding in found]}, ()
    facts: dict[str, Any] = {}
    if wish.variables:
        from stackctl.spec import variables

        root = loader.as_written(request)
        facts["variables"] = [variable.row() for variable in variables.used(root)]
        return facts, ()
    if not wish.interpolate:
        root = loader.as_written(request)
        name = loader.project_name(request)
        return _as_written(root, wish, name, project.separator(request.environment)), ()
    loaded = loader.load(
        request,
        services=wish.services,
        consistent=wish.consistent,
        for_containers=wish.for_containers,
        steps=wish.steps,
    )
    stack = loaded.stack
    if wish.pins:
        stack = pinned(stack, wish.pins)
    facts = shown(stack, wish)
    if wish.only_images:
        facts["text"] = _images_alone(stack, facts["services"], wish.format)
    facts["environment"] = dict(sorted(loaded.variables.items()))
    return facts, (*loaded.warnings, *_foreseen(stack))


def _foreseen(stack: Stack) -> Iterator[Notice]:
    """What `up` would refuse, though the file can be read, printed and taken down."""
    for error in obstacles.foreseen(stack):
        hint = f" ({error.hint})" if error.hint else ""
        yield Notice(text=f"up will refuse it: {error.brief}{hint}", place=error.place)
    for name, service in stack.services.items():
        try:
            parse(service.image or HOST)
        except ImageError as error:
            yield Notice(
                text=f"up will refuse it: {error.brief}",
                place=stack.places("services", name, "image"),
            )
        for i, port in enumerate(service.ports):
            first, last = port_range(port.published or "0", lowest=0)
            if first and last - first + 1 < service.replicas:
                yield Notice(
                    text=f'up will refuse it: {service.replicas} replicas of service "{name}" '
                    f"cannot share host port {port.published}",
                    place=stack.places("services", name, "ports", i),
                )


def _as_written(root: Node, wish: Wish, name: str, separator: str) -> dict[str, Any]:
    """What the files say, merged, without what the engine would add; names as they stand there.

    Services of all profiles. Raises NotFound for a service that does not exist.
    """
    written = plain(root)
    data = {"name": name, **(written if isinstance(written, dict) else {})}
    sections = {key: value for key, value in data.items() if isinstance(value, dict)}
    every = sections.get("services", {})
    profiles.check_names(wish.services, every)
    wanted = every
    if wish.services:
        needed = _with_needed(every, wish.services)
        wanted = data["services"] = {k: every[k] for k in every if k in needed}
    services = {k: v for k, v in every.items() if isinstance(v, dict)}
    prefix = name + separator
    return {
        "text": yaml_or_json(data, wish.format) if wish.text else "",
        "services": list(wanted),
        **{kind: list(sections.get(kind, {})) for kind in ("volumes", "networks", "models")},
        "images": sorted({str(s.get("image") or f"{prefix}{n}") for n, s in services.items()}),
        "profiles": sorted({p for s in services.values() for p in _texts(s.get("profiles"))}),
    }


def _with_needed(services: Mapping[str, Any], named: Sequence[str]) -> set[str]:
    """Services of a tree, with those that they say they depend on."""
    found: set[str] = set()
    ahead = list(named)
    while ahead:
        name = ahead.pop()
        if name in services and name not in found:
            found.add(name)
            service = services[name] if isinstance(services[name], dict) else {}
            needs = service.get("depends_on")
            ahead += needs if isinstance(needs, dict | list) else ()
    return found


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def shown(stack: Stack, wish: Wish) -> dict[str, Any]:
    """`text` (yaml or json) and the names of each kind, in the file's order.

    Of the services wished for with what they depend on, of all when none is named. Raises
    NotFound for a service that does not exist, StackFileErrors when one that is enabled needs
    one that is not.
    """
    stack = profiles.enable(stack, wish.services)
    if wish.services:
        stack = _only(stack, wish.services)
    if wish.consistent and (errors := obstacles.disabled(stack)):
        raise StackFileErrors(tuple(errors))
    every = {**stack.services, **stack.disabled}
    if not stack.all_resources:
        stack = _needed(stack)
    return {
        "name": stack.name,
        "text": as_text(stack, wish.format) if wish.text else "",
        "services": list(stack.services),
        "volumes": list(stack.volumes),
        "networks": sorted(stack.networks),
        "images": sorted({image_of(stack, name) for name in stack.services}),
        "models": list(stack.models),
        "profiles": sorted({p for s in every.values() for p in s.profiles}),
        "hashes": _hashes(stack) if wish.hashes else {},
    }


def _hashes(stack: Stack) -> dict[str, str]:
    from stackctl.spec.hashes import config_hash  # brings what is usual of every attribute

    return {name: config_hash(stack, service) for name, service in stack.services.items()}


def _needed(stack: Stack) -> Stack:
    """Without networks, volumes, secrets, configs and models that no service uses."""
    services = stack.services.values()
    secrets = {file.source for s in services for file in s.secrets}
    secrets |= {file.source for s in services if s.build for file in s.build.secrets}
    volumes = {m.source for s in services for m in s.volumes if m.type == "volume"}
    networks = {key for s in services for key in s.networks}
    configs = {file.source for s in services for file in s.configs}
    models = {key for s in services for key in s.models}
    return dataclasses.replace(
        stack,
        networks={k: v for k, v in stack.networks.items() if k in networks},
        volumes={k: v for k, v in stack.volumes.items() if k in volumes},
        secrets={k: v for k, v in stack.secrets.items() if k in secrets},
        configs={k: v for k, v in stack.configs.items() if k in configs},
        models={k: v for k, v in stack.models.items() if k in models},
    )


def _images_alone(stack: Stack, names: Sequence[str], format: str) -> str:
    """A file that goes over the stack's own ones and says which images are meant."""
    images = {name: stack.services[name].image for name in names}
    said = {name: {"image": image} for name, image in images.items() if image}
    return yaml_or_json(escaped({"services": said}), format)


def pinned(stack: Stack, pins: Mapping[str, str]) -> Stack:
    """The stack with images called by what `pins` says."""

    def named(service: Service) -> Service:
        image = service.image or ""
        return service.model_copy(update={"image": pins[image]}) if image in pins else service

    return dataclasses.replace(stack, services={k: named(s) for k, s in stack.services.items()})


def image_of(stack: Stack, name: str) -> str:
    """The image that a service runs; one that is only built is named after it."""
    return stack.services[name].image or stack.named(name)


def _only(stack: Stack, services: Sequence[str]) -> Stack:
    wanted: set[str] = set()
    found = list(services)
    while found:
        name = found.pop()
        if name not in wanted and name in stack.services:
            wanted.add(name)
            found.extend(stack.services[name].depends_on)
    chosen = {name: s for name, s in stack.services.items() if name in wanted}
    return dataclasses.replace(stack, services=chosen)
