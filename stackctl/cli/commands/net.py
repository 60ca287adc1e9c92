"""stackctl net ls, inspect, create, rm, prune, connect, disconnect, graph."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.show import inspect_all
from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.outcomes import act, filters
from stackctl.cli.output.format import print_rows
from stackctl.cli.output.table import Column
from stackctl.cli.output.text import short_id
from stackctl.cli.rows import rows, warned
from stackctl.cli.values import one_of
from stackctl.errors import UsageError

#: Flags of docker's `network create` that make nothing here, and why.
_REFUSED = {
    "--config-only": "a network is made with its configuration",
    "--config-from": "say what the network shall be; a shell's variable can hold it",
    "--ingress": "it is for a swarm",
    "--ipam-opt": "addresses are given out by the engine, which has no options",
}

_COLUMNS = (
    (Column("NETWORK ID"), "ID"),
    (Column("NAME"), "Name"),
    (Column("DRIVER"), "Driver"),
    (Column("SUBNETS", yields=1), "Subnets"),
    (Column("CONTAINERS"), "Containers"),
)


def ls(
    ctx: typer.Context,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--filter", metavar="KEY=VALUE", help="name, id, label, driver, type..."
        ),
    ] = None,
    format: options.RowsFormat = "",
    no_trunc: options.NoTrunc = False,
) -> int:
    """List the networks of this engine."""
    run = invocation(ctx)
    listed = rows(run, "net-ls", {"filters": filters(filter)})
    found = [
        {
            **{name: str(row[name]) for name in ("Name", "Driver", "Project", "Subnets")},
            "ID": row["ID"] if no_trunc else short_id(row["ID"]),
            "Scope": "local",
            **{name: str(row[name]).lower() for name in ("Internal", "IPv4", "IPv6")},
            "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(row["Created"])),
            "Labels": ",".join(f"{key}={value}" for key, value in row["Labels"].items()),
            "Containers": str(row["Containers"]),
        }
        for row in listed
    ]
    if quiet:
        for row in found:
            run.console.out(row["ID"])
        return 0
    labels = [row["Labels"] for row in listed]
    print_rows(run.console, found, _COLUMNS, format, labels=labels)
    return 0


def inspect(
    ctx: typer.Context,
    networks: options.Networks,
    format: options.InspectFormat = "",
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Accepted; adds something in a swarm only.")
    ] = False,
) -> int:
    """Everything about networks, as JSON."""
    return inspect_all(invocation(ctx), "net-inspect", {"networks": networks}, format)


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)],
    driver: Annotated[
        str, typer.Option("-d", "--driver", metavar="DRIVER", help="bridge, macvlan or ipvlan.")
    ] = "bridge",
    opt: Annotated[
        list[str] | None,
        typer.Option("-o", "--opt", metavar="KEY=VALUE", help="Option of the driver."),
    ] = None,
    internal: Annotated[bool, typer.Option("--internal", help="No way out.")] = False,
    attachable: Annotated[
        bool, typer.Option("--attachable", help="Any container may join (they may anyway).")
    ] = False,
    ipv4: Annotated[bool, typer.Option("--ipv4/--no-ipv4", help="Give IPv4 addresses.")] = True,
    ipv6: Annotated[bool, typer.Option("--ipv6", help="Give IPv6 addresses, too.")] = False,
    subnet: Annotated[
        list[str] | None, typer.Option("--subnet", metavar="CIDR", help="Repeatable.")
    ] = None,
    ip_range: Annotated[
        list[str] | None,
        typer.Option("--ip-range", metavar="CIDR", help="The part that containers get."),
    ] = None,
    gateway: Annotated[
        list[str] | None, typer.Option("--gateway", metavar="ADDRESS", help="The host's address.")
    ] = None,
    aux_address: Annotated[
        list[str] | None,
        typer.Option("--aux-address", metavar="NAME=ADDRESS", help="Never given to a container."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label.")
    ] = None,
    ipam_driver: Annotated[
        str, typer.Option("--ipam-driver", metavar="default", help="Who gives out addresses.")
    ] = "default",
    ipam_opt: Annotated[
        list[str] | None, typer.Option("--ipam-opt", hidden=True, help="Refused.")
    ] = None,
    scope: Annotated[
        str, typer.Option("--scope", metavar="local", help="Where it can be used.")
    ] = "local",
    config_only: Annotated[
        bool, typer.Option("--config-only", hidden=True, help="Refused.")
    ] = False,
    config_from: Annotated[str, typer.Option("--config-from", hidden=True, help="Refused.")] = "",
    ingress: Annotated[bool, typer.Option("--ingress", hidden=True, help="Refused.")] = False,
) -> int:
    """Make a network that stacks can share (`external: true`)."""
    run = invocation(ctx)
    one_of("--ipam-driver", ipam_driver, ("default",))
    one_of("--scope", scope, ("local",))
    given = {
        "--config-only": config_only,
        "--config-from": config_from,
        "--ingress": ingress,
        "--ipam-opt": ipam_opt,
    }
    for flag, value in given.items():
        if value:
            raise UsageError(f"{flag} is not supported: {_REFUSED[flag]}")
    pools = _pools(
        subnet or [], ip_range or [], gateway or [], _pairs("--aux-address", aux_address)
    )
    body = {
        "name": name,
        "driver": driver,
        "options": _pairs("--opt", opt),
        "internal": internal,
        "attachable": attachable,
        "ipv4": ipv4,
        "ipv6": ipv6,
        "pools": pools,
        "labels": dict(text.partition("=")[::2] for text in label or ()),
    }
    run.console.out(str(_result(run, "net-create", body)["ID"]))
    return 0


def rm(
    ctx: typer.Context,
    networks: options.Networks,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="One that is not there is no error.")
    ] = False,
) -> int:
    """Remove networks that no container is in."""
    return act(invocation(ctx), "net-rm", {"networks": networks, "force": force})


def prune(
    ctx: typer.Context,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Do not ask (it never does).")
    ] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="until, label, label!."),
    ] = None,
) -> int:
    """Remove the networks that no container is in."""
    run = invocation(ctx)
    for row in rows(run, "net-prune", {"filters": filters(filter)}):
        run.console.out(str(row["Name"]))
    return 0


def connect(
    ctx: typer.Context,
    network: options.Network,
    container: options.Container,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", metavar="NAME", help="Found by it there.")
    ] = None,
    ip: Annotated[str, typer.Option("--ip", metavar="ADDRESS", help="A fixed IPv4 address.")] = "",
    ip6: Annotated[
        str, typer.Option("--ip6", metavar="ADDRESS", help="A fixed IPv6 address.")
    ] = "",
    gw_priority: Annotated[
        int, typer.Option("--gw-priority", help="The highest has the default route.")
    ] = 0,
    link_local_ip: Annotated[
        list[str] | None,
        typer.Option("--link-local-ip", metavar="ADDRESS", help="A further address."),
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="CONTAINER[:ALIAS]", help="Known to it by that name."),
    ] = None,
    driver_opt: Annotated[
        list[str] | None,
        typer.Option("--driver-opt", metavar="KEY=VALUE", help="For this interface."),
    ] = None,
) -> int:
    """Connect a container, running or not, to a network."""
    body = {
        "network": network,
        "container": container,
        "settings": {
            "Aliases": alias or [],
            "Links": link or [],
            "IPAMConfig": {
                "IPv4Address": ip,
                "IPv6Address": ip6,
                "LinkLocalIPs": link_local_ip or [],
            },
            "DriverOpts": _pairs("--driver-opt", driver_opt),
            "GwPriority": gw_priority,
        },
    }
    _result(invocation(ctx), "net-connect", body)
    return 0


def disconnect(
    ctx: typer.Context,
    network: options.Network,
    container: options.Container,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Accepted; changes nothing.")
    ] = False,
) -> int:
    """Take a container out of a network."""
    _result(invocation(ctx), "net-disconnect", {"network": network, "container": container})
    return 0


def graph(
    ctx: typer.Context,
    project: Annotated[
        str, typer.Argument(metavar="[PROJECT]", help="Only this stack's.", show_default=False)
    ] = "",
    format: Annotated[
        str, typer.Option("--format", metavar="text|dot|svg", help="dot is for Graphviz.")
    ] = "text",
) -> int:
    """Who may reach whom, and through what."""
    run = invocation(ctx)
    one_of("--format", format, ("text", "dot", "svg"))
    name = project or run.project_name
    body = {"name": name, "format": format, "must_exist": bool(project)}
    text = str(_result(run, "net-graph", body)["text"])
    for line in text.splitlines():
        run.console.out(line)
    return 0


def _result(run: Invocation, verb: str, body: Message) -> Message:
    result: Message = {}
    for message in run.client.stream(verb, body):
        if not warned(run, message) and message["type"] == "result":
            result = message
    return result


def _pairs(flag: str, items: list[str] | None) -> dict[str, str]:
    pairs = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise UsageError(f'{flag} "{item}" is not KEY=VALUE')
        pairs[key] = value
    return pairs


def _pools(
    subnets: list[str], ranges: list[str], gateways: list[str], aux: dict[str, str]
) -> list[dict[str, Any]]:
    """Each range, gateway and auxiliary address goes to the subnet it is in (docker's rule)."""
    import ipaddress

    try:
        pools: list[dict[str, Any]] = [{"subnet": s, "aux_addresses": {}} for s in subnets]
        networks = [ipaddress.ip_network(s) for s in subnets]

        def pool_of(address: str) -> dict[str, Any]:
            first = ipaddress.ip_address(address.partition("/")[0])
            for network, pool in zip(networks, pools, strict=True):
                if first in network:
                    return pool
            raise UsageError(f"{address} is in none of the subnets", hint="give its --subnet")

        for text in ranges:
            pool_of(text)["ip_range"] = text
        for text in gateways:
            pool_of(text)["gateway"] = text
        for key, text in aux.items():
            pool_of(text)["aux_addresses"][key] = text
    except ValueError as error:
        raise UsageError(str(error)) from None
    return pools
