"""The flags that `container run` and `container create` share, declared once.

`with_flags` gives them to a command as typer sees it; the values arrive as keyword arguments
and stackctl.cli.commands.container.wish makes Docker's create request of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from stackctl.cli.commands.container.wish import REFUSED

Declared = tuple[Any, Any]


def _text(*names: str, metavar: str = "TEXT", help: str = "", hidden: bool = False) -> Declared:
    option = typer.Option(*names, metavar=metavar, help=help, hidden=hidden)
    return Annotated[str | None, option], None


def _many(*names: str, metavar: str = "TEXT", help: str = "") -> Declared:
    return Annotated[list[str] | None, typer.Option(*names, metavar=metavar, help=help)], None


def _switch(*names: str, help: str, default: bool = False) -> Declared:
    return Annotated[bool, typer.Option(*names, help=help)], default


def _number(*names: str, help: str) -> Declared:
    return Annotated[int | None, typer.Option(*names, metavar="N", help=help)], None


def _refused(name: str) -> Declared:
    """Known to docker and not to us: said clearly, not "no such option"."""
    return _text(name, hidden=True, help="Not supported.")


FLAGS: Mapping[str, Declared] = {
    "name": _text("--name", metavar="NAME", help="The container's name."),
    "interactive": _switch("-i", "--interactive", help="Keep standard input open."),
    "tty": _switch("-t", "--tty", help="Give it a terminal."),
    "remove": _switch("--rm", help="Remove it with its anonymous volumes when it ends."),
    "attach": _many("-a", "--attach", metavar="STREAM", help="Only stdin, stdout or stderr."),
    "env": _many("-e", "--env", metavar="KEY[=VAL]", help="Set a variable; repeatable."),
    "env_file": _many("--env-file", metavar="FILE", help="Variables, one a line."),
    "entrypoint": _text("--entrypoint", metavar="COMMAND", help="Instead of the image's."),
    "user": _text("-u", "--user", metavar="USER[:GROUP]", help="Who it runs as."),
    "group_add": _many("--group-add", metavar="GROUP", help="One more group."),
    "workdir": _text("-w", "--workdir", metavar="DIR", help="Working directory inside."),
    "hostname": _text("-h", "--hostname", metavar="NAME", help="Host name inside."),
    "domainname": _text("--domainname", metavar="NAME", help="Domain of the host name."),
    "annotation": _many("--annotation", metavar="KEY=VAL", help="Kept with it, for others."),
    "labels": _many("-l", "--label", metavar="KEY[=VAL]", help="Add a label."),
    "label_file": _many("--label-file", metavar="FILE", help="Labels, one a line."),
    "volumes": _many("-v", "--volume", metavar="[SRC:]DST[:OPTS]", help="Mount; repeatable."),
    "mounts": _many("--mount", metavar="KEY=VAL,...", help="type=bind|volume|tmpfs,src=,dst=."),
    "tmpfs": _many("--tmpfs", metavar="DIR[:OPTS]", help="A directory in memory."),
    "volumes_from": _many("--volumes-from", metavar="CONTAINER", help="Another's mounts."),
    "volume_driver": _text("--volume-driver", metavar="NAME", help="Of its volumes: local."),
    "read_only": _switch("--read-only", help="The root file system cannot be written."),
    "shm_size": _text("--shm-size", metavar="SIZE", help="Size of /dev/shm."),
    "publish": _many("-p", "--publish", metavar="[[IP:]HOST:]PORT", help="Publish a port."),
    "publish_all": _switch("-P", "--publish-all", help="Publish all exposed ports."),
    "expose": _many("--expose", metavar="PORT", help="Expose a port to -P."),
    "network": _many("--network", "--net", metavar="NAME", help="bridge, none, host or a name."),
    "network_alias": _many("--network-alias", "--net-alias", metavar="NAME", help="Other name."),
    "ip": _text("--ip", metavar="ADDRESS", help="IPv4 address in the network."),
    "ip6": _text("--ip6", metavar="ADDRESS", help="IPv6 address in the network."),
    "link_local_ip": _many("--link-local-ip", metavar="ADDRESS", help="A further address."),
    "mac_address": _text("--mac-address", metavar="ADDRESS", help="Hardware address."),
    "link": _many("--link", metavar="CONTAINER[:ALIAS]", help="Name another container."),
    "dns": _many("--dns", metavar="ADDRESS", help="Resolver instead of the machine's."),
    "dns_search": _many("--dns-search", metavar="DOMAIN", help="Search domain."),
    "dns_option": _many("--dns-option", "--dns-opt", metavar="OPTION", help="Resolver option."),
    "add_host": _many("--add-host", metavar="NAME:ADDRESS", help="A line for /etc/hosts."),
    "memory": _text("-m", "--memory", metavar="SIZE", help="Memory limit."),
    "memory_reservation": _text("--memory-reservation", metavar="SIZE", help="Soft limit."),
    "memory_swap": _text("--memory-swap", metavar="SIZE", help="Memory and swap; -1: no limit."),
    "memory_swappiness": _number("--memory-swappiness", help="0 to 100."),
    "cpus": _text("--cpus", metavar="NUMBER", help="Number of CPUs, such as 1.5."),
    "cpu_shares": _number("-c", "--cpu-shares", help="Relative weight."),
    "cpu_period": _number("--cpu-period", help="Microseconds."),
    "cpu_quota": _number("--cpu-quota", help="Microseconds of each period."),
    "cpuset_cpus": _text("--cpuset-cpus", metavar="LIST", help="CPUs, such as 0-2."),
    "cpuset_mems": _text("--cpuset-mems", metavar="LIST", help="Memory nodes."),
    "pids_limit": _number("--pids-limit", help="Number of processes; -1: no limit."),
    "blkio_weight": _number("--blkio-weight", help="10 to 1000."),
    "blkio_weight_device": _many("--blkio-weight-device", metavar="DEV:N", help="For a device."),
    "device_read_bps": _many("--device-read-bps", metavar="DEV:SIZE", help="Bytes a second."),
    "device_write_bps": _many("--device-write-bps", metavar="DEV:SIZE", help="Bytes a second."),
    "device_read_iops": _many("--device-read-iops", metavar="DEV:N", help="Reads a second."),
    "device_write_iops": _many("--device-write-iops", metavar="DEV:N", help="Writes a second."),
    "oom_kill_disable": _switch("--oom-kill-disable", help="Stand still when out of memory."),
    "oom_score_adj": _number("--oom-score-adj", help="-1000 to 1000."),
    "ulimits": _many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Such as nofile=1024."),
    "sysctls": _many("--sysctl", metavar="NAME=VALUE", help="A namespaced kernel setting."),
    "devices": _many("--device", metavar="HOST[:INSIDE[:rwm]]", help="A device of the host."),
    "device_cgroup_rules": _many("--device-cgroup-rule", metavar="RULE", help="'c 1:3 rwm'."),
    "restart": _text("--restart", metavar="POLICY", help="no, on-failure[:N], always, ..."),
    "health_cmd": _text("--health-cmd", metavar="COMMAND", help="Its success means healthy."),
    "health_interval": _text("--health-interval", metavar="TIME", help="Between two checks."),
    "health_timeout": _text("--health-timeout", metavar="TIME", help="How long one may take."),
    "health_retries": _number("--health-retries", help="Failures until it is unhealthy."),
    "health_start_period": _text("--health-start-period", metavar="TIME", help="To warm up."),
    "health_start_interval": _text("--health-start-interval", metavar="TIME", help="Meanwhile."),
    "no_healthcheck": _switch("--no-healthcheck", help="Without the image's check."),
    "init": _switch("--init", help="A small init as pid 1 that forwards signals and reaps."),
    "stop_signal": _text("--stop-signal", metavar="SIGNAL", help="What `stop` sends."),
    "stop_timeout": _number("--stop-timeout", help="Seconds until `stop` kills."),
    "privileged": _switch("--privileged", help="All rights; root inside is root outside."),
    "cap_add": _many("--cap-add", metavar="CAPABILITY", help="Give a capability."),
    "cap_drop": _many("--cap-drop", metavar="CAPABILITY", help="Take one away; ALL."),
    "security_opt": _many("--security-opt", metavar="OPTION", help="seccomp=FILE, ..."),
    "userns": _text("--userns", metavar="MODE", help="host: no user namespace of its own."),
    "ipc": _text("--ipc", metavar="MODE", help="IPC namespace."),
    "pid": _text("--pid", metavar="MODE", help="Process namespace."),
    "uts": _text("--uts", metavar="MODE", help="Host name namespace."),
    "cgroupns": _text("--cgroupns", metavar="MODE", help="private or host."),
    "log_driver": _text("--log-driver", metavar="NAME", help="json-file, local or none."),
    "log_opt": _many("--log-opt", metavar="KEY=VAL", help="max-size, max-file."),
    "pull": _text("--pull", metavar="WHEN", help="always, missing or never."),
    "platform": _text("--platform", metavar="OS/ARCH", help="Which of the image's platforms."),
    "quiet": _switch("-q", "--quiet", help="No words about pulling."),
    "cidfile": _text("--cidfile", metavar="FILE", help="Write the id to this new file."),
    "runtime": _text("--runtime", hidden=True, help="Only ours."),
    **{name: _refused(f"--{name.replace('_', '-')}") for name in REFUSED},
}

Command = Callable[..., int]


def with_flags(command: Command) -> Command:
    """The command, whose `**flags` are all of FLAGS as typer sees it."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (annotation, default) in FLAGS.items()
    ]
    whole = signature.replace(parameters=[*own, *added])

    @functools.wraps(command)
    def declared(**values: Any) -> int:
        return command(**values)

    declared.__signature__ = whole  # type: ignore[attr-defined]
    declared.__annotations__ = {
        **{p.name: p.annotation for p in whole.parameters.values()},
        "return": int,
    }
    return declared
