"""The table of commands: by what words a command is called, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PROGRAM = "stackctl"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is: its module below `commands` and, if it differs, its function."""

    module: str
    function: str = ""
    #: Everything after the first argument belongs to the container's command.
    passes_on: bool = False
    #: `-h` is an option of its own (docker's --hostname): only --help explains the command.
    long_help_only: bool = False
    #: Takes all flags that describe a container, see `commands.container.flags`.
    describes_container: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below a word of their own: `stackctl container ls`."""

    help: str
    commands: Mapping[str, Entry]
    #: Other names of a command, as docker has them (`ps` for `ls`).
    aliases: Mapping[str, str] = field(default_factory=dict)


_DESCRIBES = Entry("container.make", passes_on=True, long_help_only=True, describes_container=True)

GROUPS: Mapping[str, Group] = {
    "container": Group(
        "Single containers, as with docker.",
        {
            "run": _DESCRIBES,
            "create": _DESCRIBES,
            "start": Entry("container.life"),
            "stop": Entry("container.life"),
            "restart": Entry("container.life"),
            "kill": Entry("container.life"),
            "rm": Entry("container.life"),
            "ls": Entry("container.show"),
            "inspect": Entry("container.show"),
            "logs": Entry("container.show"),
            "exec": Entry("container.inside", "execute", passes_on=True),
            "attach": Entry("container.inside"),
            "cp": Entry("container.copy"),
            "top": Entry("container.show", passes_on=True),
            "stats": Entry("container.show"),
            "port": Entry("container.show"),
            "wait": Entry("container.life"),
            "pause": Entry("container.life"),
            "unpause": Entry("container.life"),
            "rename": Entry("container.life"),
            "update": Entry("container.life"),
            "prune": Entry("container.life"),
            "diff": Entry("container.became"),
            "commit": Entry("container.became"),
            "export": Entry("container.became"),
        },
        aliases={"ps": "ls", "list": "ls", "remove": "rm"},
    ),
    "image": Group(
        "Images.",
        {
            "build": Entry("image.build"),
            "pull": Entry("image.registries"),
            "push": Entry("image.registries"),
            "ls": Entry("image.store"),
            "inspect": Entry("image.store"),
            "history": Entry("image.store"),
            "tag": Entry("image.store"),
            "rm": Entry("image.store"),
            "prune": Entry("image.store"),
            "verify": Entry("image.store"),
            "save": Entry("image.archives"),
            "load": Entry("image.archives"),
            "import": Entry("image.archives", "import_"),
            "bootstrap": Entry("image.bootstrap"),
        },
        aliases={"list": "ls", "remove": "rm"},
    ),
    "builder": Group(
        "Builds, and what they leave for later ones.",
        {
            "build": Entry("image.build"),
            "prune": Entry("system", "prune_build_cache"),
        },
    ),
    "context": Group(
        "Engines on other machines, by name.",
        {
            name: Entry("context", "import_" if name == "import" else name)
            for name in (
                *("create", "ls", "use", "inspect", "show", "update", "rm", "export", "import"),
            )
        },
        aliases={"list": "ls", "remove": "rm"},
    ),
    "volume": Group(
        "Volumes.",
        {name: Entry("volume") for name in ("ls", "create", "inspect", "rm", "prune")},
        aliases={"list": "ls", "remove": "rm"},
    ),
    "system": Group(
        "The engine as a whole.",
        {
            "info": Entry("about"),
            "df": Entry("system"),
            "events": Entry("system"),
            "prune": Entry("system"),
        },
    ),
    "net": Group(
        "Networks: make, connect, and who reaches whom.",
        {
            name: Entry("net", name)
            for name in ("ls", "inspect", "create", "rm", "prune", "connect", "disconnect", "graph")
        },
        aliases={"list": "ls", "remove": "rm"},
    ),
}
GROUPS = {**GROUPS, "network": GROUPS["net"]}

COMMANDS: Mapping[str, Entry] = {
    "up": Entry("up"),
    "down": Entry("down"),
    "plan": Entry("plan"),
    "ps": Entry("ps"),
    "logs": Entry("logs"),
    "exec": Entry("exec", "execute", passes_on=True),
    "run": Entry("run", passes_on=True),
    "start": Entry("lifecycle"),
    "stop": Entry("lifecycle"),
    "restart": Entry("lifecycle"),
    "kill": Entry("lifecycle"),
    "rm": Entry("lifecycle"),
    "pause": Entry("lifecycle"),
    "unpause": Entry("lifecycle"),
    "wait": Entry("lifecycle"),
    "port": Entry("port"),
    "top": Entry("top"),
    "cp": Entry("cp"),
    "events": Entry("events"),
    "lock": Entry("lock"),
    "bundle": Entry("bundle"),
    "unbundle": Entry("bundle"),
    "config": Entry("config"),
    "schema": Entry("config"),
    "ls": Entry("ls"),
    "create": Entry("shape"),
    "scale": Entry("shape"),
    "watch": Entry("watch"),
    "attach": Entry("of_stack"),
    "commit": Entry("of_stack"),
    "export": Entry("of_stack"),
    "stats": Entry("of_stack"),
    "volumes": Entry("of_stack"),
    "completion": Entry("completion"),
    "publish": Entry("completion"),
    "build": Entry("build"),
    "version": Entry("about"),
    "info": Entry("about"),
    "doctor": Entry("doctor"),
    "pull": Entry("image.registries", "pull_stack"),
    "push": Entry("image.registries", "push_stack"),
    "images": Entry("image.registries", "images_of_stack"),
    "login": Entry("image.registries"),
    "logout": Entry("image.registries"),
    "daemon": Entry("daemon"),
}

#: Other names of commands: what compose's used to be called.
ALIASES: Mapping[str, str] = {"convert": "config"}

#: Commands of docker compose that will come; a clear word is better than "no such command".
NOT_YET = ("bridge",)
