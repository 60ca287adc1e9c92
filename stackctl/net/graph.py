"""Who may reach whom, and through what. Pure: records in, a graph out, and its three forms.

Containers that share a network reach each other there (unless its icc is off); a
network that is not internal leads out; a published port leads in. Who shares a container's
network stands where that one does; `host` is the machine's own network, `none` is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from stackctl.model.network import Endpoint
from stackctl.model.port_runs import port_runs
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.net.options import has_icc
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A container in a network. `names`: what others of the network find it by."""

    container: str
    network: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    is_running: bool
    #: The container whose network it has.
    shares: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """A network. `way_out`: how it leads to the world; "" when it does not."""

    name: str
    driver: str
    subnets: tuple[str, ...]
    way_out: str
    #: Its containers reach each other.
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """A published port, or a run of them: `host` as "127.0.0.1:8080/tcp"."""

    host: str
    container: str
    port: str
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetGraph:
    networks: tuple[Web, ...]
    members: tuple[Member, ...]
    entrances: tuple[Entrance, ...]

    def reach(self) -> list[tuple[str, str, str]]:
        """(container, container, network): pairs that reach each other, each once."""
        found = []
        for network in self.networks:
            if network.is_open:
                inside = [m.container for m in self.members if m.network == network.name]
                found += [
                    (one, other, network.name)
                    for index, one in enumerate(inside)
                    for other in inside[index + 1 :]
                ]
        return found


def net_graph(
    networks: Iterable[NetworkRecord], containers: Iterable[ContainerRecord], project: str = ""
) -> NetGraph:
    """The graph of these records; with `project` what has to do with that one.

    A network of another project belongs to it when one of its containers is in it.
    """
    records = sorted(containers, key=lambda r: r.name)
    alone = [r for r in records if project in ("", r.config.project)]
    if project:
        mine = {e.network for r in records if r.config.project == project for e in r.endpoints}
        networks = [n for n in networks if n.config.project == project or n.config.name in mine]
    webs = tuple(_web(n) for n in sorted(networks, key=lambda n: n.config.name))
    shown = {web.name for web in webs}
    members = [
        _member(record, endpoint, owner)
        for record in records
        for owner in (_owner(record, records),)
        for endpoint in owner.endpoints
        if endpoint.network in shown
    ]
    for mode, web in _PLACES.items():
        there = [_placed(r, mode) for r in records if _mode(r, records) == mode and r in alone]
        webs += (web,) * bool(there)
        members += there
    entrances = [
        entrance
        for record in records
        for entrance in _entrances(record)
        if entrance.network in shown
    ]
    return NetGraph(networks=webs, members=tuple(members), entrances=tuple(entrances))


def _web(record: NetworkRecord) -> Web:
    config = record.config
    out = "" if config.internal else "as the host"
    if not config.internal and config.driver in ("macvlan", "ipvlan"):
        out = f"on {config.driver_opts.get('parent', '')}"
    return Web(
        name=config.name,
        driver=config.driver or "bridge",
        subnets=tuple(subnet for subnet, _ in record.subnets),
        way_out=out,
        is_open=has_icc(config),
    )


_PLACES = {
    "host": Web(name="host", driver="host", subnets=(), way_out="as the host", is_open=True),
    "none": Web(name="none", driver="none", subnets=(), way_out="", is_open=False),
}


def _owner(record: ContainerRecord, records: Sequence[ContainerRecord]) -> ContainerRecord:
    """Whose network it has: another container's or its own."""
    kind, _, name = record.config.network_mode.partition(":")
    for other in sorted(records, key=lambda r: r.config.number):
        mine = other.config.project == record.config.project and not other.config.oneoff
        is_it = kind == "container" and (name == other.name or other.id.startswith(name))
        if is_it or (kind == "service" and mine and other.config.service == name):
            return other
    return record


def _mode(record: ContainerRecord, records: Sequence[ContainerRecord]) -> str:
    return _owner(record, records).config.network_mode


def _placed(record: ContainerRecord, mode: str) -> Member:
    """Of who is in no network of ours."""
    return Member(
        container=record.name,
        network=mode,
        addresses=(),
        names=(),
        is_running=record.status.is_alive,
    )


def _member(record: ContainerRecord, endpoint: Endpoint, owner: ContainerRecord) -> Member:
    service = record.config.service if not record.config.oneoff else ""
    names = dict.fromkeys(n for n in (service, *endpoint.aliases) if n)
    is_own = owner is record
    return Member(
        container=record.name,
        network=endpoint.network,
        addresses=tuple(a.partition("/")[0] for a in (endpoint.ipv4, endpoint.ipv6) if a),
        names=tuple(names) if is_own else (),
        is_running=record.status.is_alive,
        shares="" if is_own else owner.name,
    )


def _entrances(record: ContainerRecord) -> list[Entrance]:
    by_address = {
        address.partition("/")[0]: endpoint.network
        for endpoint in record.endpoints
        for address in (endpoint.ipv4, endpoint.ipv6)
    }
    ports = (
        ((p.host_ip, p.protocol, by_address.get(p.address, "")), p.host_port, p.container_port)
        for p in record.ports
    )
    return [
        Entrance(
            host=f"{f'[{address}]' if ':' in address else address}:{outside}/{protocol}",
            container=record.name,
            port=inside,
            network=network,
        )
        for (address, protocol, network), outside, inside in port_runs(ports)
    ]


# --- forms ------------------------------------------------------------------------


def as_text(graph: NetGraph) -> str:
    lines: list[str] = []
    for network in graph.networks:
        out = f"leads out {network.way_out}" if network.way_out else "internal: no way out"
        apart = "" if network.is_open else ", its containers do not reach each other"
        subnets = " ".join(network.subnets)
        lines.append(f"{network.name}  {network.driver} {subnets}  {out}{apart}".rstrip())
        inside = [m for m in graph.members if m.network == network.name]
        width = max((len(m.container) for m in inside), default=0)
        for member in inside:
            called = f"  as {', '.join(member.names)}" if member.names else ""
            called += f"  has the network of {member.shares}" if member.shares else ""
            state = "" if member.is_running else "  (not running)"
            addresses = " ".join(member.addresses)
            line = f"  {member.container.ljust(width)}  {addresses}{called}{state}"
            lines.append(line.rstrip())
        for entrance in graph.entrances:
            if entrance.network == network.name:
                lines.append(f"  {entrance.host} -> {entrance.container}:{entrance.port}")
    return "\n".join(lines)


def as_dot(graph: NetGraph) -> str:
    """For Graphviz."""
    lines = ["graph networks {", "  rankdir=LR;", '  outside [shape=plaintext, label="outside"];']
    for network in graph.networks:
        label = _quoted(network.name, *network.subnets)
        style = "solid" if network.is_open else "dashed"
        lines.append(f"  {_dot('n', network.name)} [shape=box, style={style}, label={label}];")
        if network.way_out:
            lines.append(
                f"  {_dot('n', network.name)} -- outside [label={_quoted(network.way_out)}];"
            )
    for container in dict.fromkeys(m.container for m in graph.members):
        lines.append(f"  {_dot('c', container)} [shape=ellipse, label={_quoted(container)}];")
    for member in graph.members:
        label = _quoted(*member.addresses)
        ends = f"{_dot('c', member.container)} -- {_dot('n', member.network)}"
        lines.append(f"  {ends} [label={label}];")
    for entrance in graph.entrances:
        label = f"{entrance.host} to {entrance.port}"
        ends = f"outside -- {_dot('c', entrance.container)}"
        lines.append(f"  {ends} [dir=forward, label={_quoted(label)}];")
    return "\n".join([*lines, "}"])


def _quoted(*lines: str) -> str:
    safe = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(safe) + '"'


def _dot(kind: str, name: str) -> str:
    return _quoted(f"{kind}:{name}")


_ROW, _WIDTH, _HEIGHT, _GAP = 64, 220, 40, 130
_LEFT = 20


def as_svg(graph: NetGraph) -> str:
    """Three columns: what leads in, containers, networks (and from there out)."""
    containers = list(dict.fromkeys(m.container for m in graph.members))
    rows = max(len(containers), len(graph.networks), len(graph.entrances), 1)
    columns = [_LEFT + n * (_WIDTH + _GAP) for n in range(4)]
    places = {("c", name): index for index, name in enumerate(containers)}
    places |= {("n", network.name): index for index, network in enumerate(graph.networks)}
    width, height = columns[3] + 100, rows * _ROW + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">'
    ]
    for index, entrance in enumerate(graph.entrances):
        parts.append(
            _box(columns[0], index, (entrance.host, f"to port {entrance.port}"), "#fff3d6")
        )
        row = places.get(("c", entrance.container))
        if row is not None:
            parts.append(_line(columns[0] + _WIDTH, index, columns[1], row))
    for member in graph.members:
        ends = places["c", member.container], places["n", member.network]
        text = " ".join(member.addresses)
        parts.append(_line(columns[1] + _WIDTH, ends[0], columns[2], ends[1], text))
    for index, container in enumerate(containers):
        parts.append(_box(columns[1], index, (container,), "#e4efff"))
    for index, network in enumerate(graph.networks):
        parts.append(_box(columns[2], index, (network.name, " ".join(network.subnets)), "#e6f6e6"))
        if network.way_out:
            parts.append(_line(columns[2] + _WIDTH, index, columns[3], index, network.way_out))
            parts.append(f'<text x="{columns[3] + 5}" y="{_middle(index) + 4}">outside</text>')
    return "\n".join([*parts, "</svg>"])


def _middle(row: int) -> int:
    return 10 + row * _ROW + _HEIGHT // 2


def _box(x: int, row: int, texts: Sequence[str], colour: str) -> str:
    top = _middle(row) - _HEIGHT // 2
    lines = "".join(
        f'<text x="{x + 8}" y="{top + 16 + 16 * n}">{escape(text)}</text>'
        for n, text in enumerate(texts)
    )
    return (
        f'<rect x="{x}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="{colour}"'
        f' stroke="#666"/>{lines}'
    )


def _line(x1: int, row1: int, x2: int, row2: int, text: str = "") -> str:
    y1, y2 = _middle(row1), _middle(row2)
    line = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#888"/>'
    if not text:
        return line
    place = f'x="{(x1 + x2) // 2}" y="{(y1 + y2) // 2 - 3}" text-anchor="middle"'
    return f'{line}<text {place} fill="#555">{escape(text)}</text>'
