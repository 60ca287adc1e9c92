"""docker compose's commands and flags, one by one: known here, or refused with a reason.

The table holds facts about compose's command line: which flags each command has.
"""

from __future__ import annotations

import pytest
from typer.core import TyperOption

from stackctl.cli.application import application, load_command
from stackctl.cli.commands.container.wish import wish
from stackctl.cli.table import COMMANDS
from stackctl.errors import UsageError

FLAGS = {
    "attach": "--detach-keys --index --no-stdin --sig-proxy",
    "build": """--build-arg --builder --check --compress --force-rm -m --memory --no-cache --no-rm
        --parallel --print --progress --provenance --pull --push -q --quiet --sbom --ssh
        --with-dependencies""",
    "commit": "-a --author -c --change --index -m --message -p --pause",
    "config": """--environment --format --hash --images --lock-image-digests --models --networks
        --no-consistency --no-env-resolution --no-interpolate --no-normalize
        --no-path-resolution -o --output --profiles -q --quiet --resolve-image-digests
        --services --variables --volumes""",
    "cp": "--all -a --archive -L --follow-link --index",
    "create": """--build --force-recreate --no-build --no-recreate --pull --quiet-pull
        --remove-orphans --scale -y --yes""",
    "down": "--remove-orphans --rmi -t --timeout -v --volume --volumes",
    "events": "--json --since --until",
    "exec": """-d --detach -e --env --index -T --no-tty --no-TTY --privileged -u --user -w
        --workdir -i --interactive -t --tty""",
    "export": "--index -o --output",
    "images": "--format -q --quiet",
    "kill": "--remove-orphans -s --signal",
    "logs": """-f --follow --index --no-color --no-log-prefix --since -n --tail -t --timestamps
        --until""",
    "ls": "-a --all --filter --format -q --quiet",
    "pause": "",
    "port": "--index --protocol",
    "ps": "-a --all --filter --format --no-trunc --orphans -q --quiet --services --status",
    "publish": "--app --oci-version --resolve-image-digests --with-env -y --yes",
    "pull": """--ignore-buildable --ignore-pull-failures --include-deps --no-parallel --parallel
        --policy -q --quiet""",
    "push": "--ignore-push-failures --include-deps -q --quiet",
    "restart": "--no-deps -t --timeout",
    "rm": "-a --all -f --force -s --stop -v --volumes",
    "run": """--build --cap-add --cap-drop -d --detach --entrypoint -e --env --env-from-file -i
        --interactive -l --label --name -T --no-TTY --no-tty --no-deps -p --publish --pull -q
        --quiet --quiet-build --quiet-pull --remove-orphans --rm -P --service-ports
        --use-aliases -u --user -v --volume -w --workdir""",
    "scale": "--no-deps",
    "start": "--wait --wait-timeout",
    "stats": "-a --all --format --no-stream --no-trunc",
    "stop": "-t --timeout",
    "top": "",
    "unpause": "",
    "up": """--abort-on-container-exit --abort-on-container-failure --always-recreate-deps --attach
        --attach-dependencies --build -d --detach --exit-code-from --force-recreate --menu
        --no-attach --no-build --no-color --no-deps --no-log-prefix --no-recreate --no-start
        --pull --quiet-build --quiet-pull --remove-orphans -V --renew-anon-volumes --scale -t
        --timeout --timestamps --wait --wait-timeout -w --watch -y --yes""",
    "version": "-f --format --short",
    "volumes": "--format -q --quiet",
    "wait": "--down-project",
    "watch": "--no-up --prune --quiet",
}
GLOBAL = """--all-resources --ansi --compatibility --dry-run --env-file -f --file --no-ansi
    --parallel --profile --progress --project-directory -p --project-name --verbose --workdir"""


def flags_of(command: object) -> set[str]:
    return {
        flag
        for parameter in command.params  # type: ignore[attr-defined]
        if isinstance(parameter, TyperOption)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_of_a_command_is_known(name: str) -> None:
    found = flags_of(load_command(name, COMMANDS[name]))
    assert sorted(set(FLAGS[name].split()) - found) == []


@pytest.mark.parametrize("name", ["create", "down", "scale", "up"])
def test_help_says_what_can_be_tried(name: str) -> None:
    command = load_command(name, COMMANDS[name])
    context = command.make_context(name, [], resilient_parsing=True)
    assert "--dry-run" in command.get_help(context)


def test_every_global_flag_is_known() -> None:
    assert sorted(set(GLOBAL.split()) - flags_of(application())) == []


def test_a_range_of_exposed_ports_is_each_of_them() -> None:
    made = wish("box", (), {"expose": ["70-72", "53/udp"]}, {})
    assert list(made["ExposedPorts"]) == ["70/tcp", "71/tcp", "72/tcp", "53/udp"]
    with pytest.raises(UsageError, match="invalid range format for --expose: 70-80x"):
        wish("box", (), {"expose": ["70-80x"]}, {})
