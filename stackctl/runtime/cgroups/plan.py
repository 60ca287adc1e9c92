"""Limits -> what has to be written where: data that the container's child performs.

    child: mkdir dirs -> write writes -> write "0" to each of procs -> unshare(CLONE_NEWCGROUP)

Reads the tree to know what the kernel has, and changes nothing. What a user
asked for and the kernel cannot do is a MachineError that names it; what nobody
asked for is left out.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from stackctl.errors import MachineError, UsageError
from stackctl.model import cpu_lists
from stackctl.runtime.cgroups.devices import device_program
from stackctl.runtime.cgroups.tree import JOINED_V1, WANTED_V2, Tree, words
from stackctl.values import dataclass

#: cpu quotas are per this many microseconds, as everywhere in the field.
PERIOD = 100_000
#: The kernel takes no quota below 1 ms.
_LEAST_QUOTA = 1_000

#: Device nodes that a container may open: null, zero, full, random, urandom, tty, console,
#: ptmx, and all pseudo terminals.
DEVICES = tuple(
    f"c {numbers} rwm"
    for numbers in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2", "136:*")
)


class DeviceLimit(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def value(self) -> int: ...


class Limits(Protocol):
    """model.Limits, as far as control groups are concerned."""

    @property
    def memory(self) -> int | None: ...
    @property
    def memory_reservation(self) -> int | None: ...
    @property
    def memory_swap(self) -> int | None: ...
    @property
    def memory_swappiness(self) -> int | None: ...
    @property
    def cpus(self) -> float | None: ...
    @property
    def cpu_shares(self) -> int | None: ...
    @property
    def cpuset_cpus(self) -> str: ...
    @property
    def cpuset_mems(self) -> str: ...
    @property
    def pids(self) -> int | None: ...
    @property
    def cpu_period(self) -> int | None: ...
    @property
    def cpu_quota(self) -> int | None: ...
    @property
    def blkio_weight(self) -> int | None: ...
    @property
    def blkio_weight_device(self) -> Sequence[DeviceLimit]: ...
    @property
    def device_read_bps(self) -> Sequence[DeviceLimit]: ...
    @property
    def device_write_bps(self) -> Sequence[DeviceLimit]: ...
    @property
    def device_read_iops(self) -> Sequence[DeviceLimit]: ...
    @property
    def device_write_iops(self) -> Sequence[DeviceLimit]: ...
    @property
    def hugetlb(self) -> Mapping[str, int]: ...
    @property
    def oom_kill_disable(self) -> bool: ...


class Rights(Protocol):
    @property
    def privileged(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class CgroupPlan:
    """All paths are absolute on the host.

    dirs    the container's groups: mkdir, 0755, the engine's above them if it has gone
    writes  (file, text), in this order, each by one write(2)
    procs   files to write "0" into from a process with ONE thread, in this order
    into    "" or a v2 directory for clone3(CLONE_INTO_CGROUP). On v2 it is the
            group of `procs` (skip `procs` then); on a hybrid it comes in addition,
            and whoever has no clone3 leaves it: freezing and killing work without.

    devices a program for linux.bpf.restrict_devices(into, devices), after mkdir and
            before anybody joins; empty: nothing to do (v1 has rules in `writes`)
    version and hierarchies: what a container may mount to see its own group: on v1
            (name of the directory, its controllers), on v2 nothing beyond the one tree
    notices what was asked for and cannot be had, and does not keep the container from running

    On v1 the files are `tasks`, not `cgroup.procs`: a single thread that moves
    itself is spared the wait for an RCU grace period (some milliseconds; kernel/
    cgroup/cgroup.c, cgroup_procs_write_start).
    """

    dirs: tuple[str, ...]
    writes: tuple[tuple[str, str], ...]
    procs: tuple[str, ...]
    into: str = ""
    devices: bytes = b""
    version: int = 2
    hierarchies: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notices: tuple[str, ...] = ()


def plan(
    tree: Tree,
    engine_group: str,
    container_id: str,
    limits: Limits,
    security: Rights,
    devices: Sequence[str] = (),
) -> CgroupPlan:
    """For a container that is about to start. Raises MachineError, UsageError.

    `devices` are rules ("c 10:200 rwm") beside the usual ones.
    """
    check(tree, limits)
    rules = () if security.privileged else (*DEVICES, *devices)
    if tree.version == 2:
        return _plan_v2(tree, engine_group, container_id, limits, rules)
    return _plan_v1(tree, engine_group, container_id, limits, rules)


def check(tree: Tree, limits: Limits) -> None:
    """What cannot be done is said before anything is. Raises MachineError, UsageError."""
    _check_swap(limits)
    _check_cpu(limits)
    _check_missing(tree, limits)


def _plan_v1(
    tree: Tree, engine_group: str, container_id: str, limits: Limits, rules: Sequence[str]
) -> CgroupPlan:
    joined = [name for name in JOINED_V1 if name in tree.v1]
    if limits.cpuset_cpus or limits.cpuset_mems:
        joined.append("cpuset")
    if limits.hugetlb:
        joined.append("hugetlb")
    tops = list(dict.fromkeys(tree.v1[name] for name in joined))
    hybrid = [tree.v2] if tree.v2 else []
    group = f"{engine_group}/{container_id}"
    return CgroupPlan(
        tuple(f"{top}/{group}" for top in [*tops, *hybrid]),
        (*_limits_v1(tree, engine_group, group, limits), *_devices_v1(tree, group, rules)),
        tuple(f"{top}/{group}/tasks" for top in tops),
        f"{tree.v2}/{group}" if tree.v2 else "",
        version=1,
        hierarchies=tuple(
            (os.path.basename(top), tuple(name for name in tree.v1 if tree.v1[name] == top))
            for top in tops
        ),
        notices=_notices(tree, engine_group, limits),
    )


def limit_writes(
    tree: Tree, engine_group: str, container_id: str, limits: Limits
) -> tuple[tuple[str, str], ...]:
    """The files of the limits alone, for a container that runs (update)."""
    check(tree, limits)
    if notices := _notices(tree, engine_group, limits):
        raise MachineError(notices[0])
    group = f"{engine_group}/{container_id}"
    if tree.version == 1:
        return tuple(_limits_v1(tree, engine_group, group, limits))
    found = _limits_v2(limits, tree, engine_group)
    return tuple((f"{tree.v2}/{group}/{name}", text) for name, text in found)


def _devices_v1(tree: Tree, group: str, rules: Sequence[str]) -> Iterator[tuple[str, str]]:
    if rules and "devices" in tree.v1:
        devices = f"{tree.v1['devices']}/{group}/devices"
        yield f"{devices}.deny", "a"
        for rule in rules:
            yield f"{devices}.allow", rule


def _limits_v1(
    tree: Tree, engine_group: str, group: str, limits: Limits
) -> Iterator[tuple[str, str]]:
    if limits.cpuset_cpus or limits.cpuset_mems:
        top = tree.v1["cpuset"]
        for name, wanted in (("cpus", limits.cpuset_cpus), ("mems", limits.cpuset_mems)):
            # A new v1 cpuset is empty and takes no process until it is filled from above.
            everything = _line(f"{top}/cpuset.{name}")
            yield f"{top}/{engine_group}/cpuset.{name}", everything
            yield f"{top}/{group}/cpuset.{name}", wanted or everything
    memory = f"{tree.v1.get('memory')}/{group}/memory"
    if limits.memory is not None:
        yield f"{memory}.limit_in_bytes", str(limits.memory)
        swap = limits.memory_swap
        if swap is not None or _counts_swap(tree):
            yield f"{memory}.memsw.limit_in_bytes", str(2 * limits.memory if swap is None else swap)
    if limits.memory_reservation is not None:
        yield f"{memory}.soft_limit_in_bytes", str(limits.memory_reservation)
    if limits.memory_swappiness is not None:
        yield f"{memory}.swappiness", str(limits.memory_swappiness)
    if limits.oom_kill_disable:
        yield f"{memory}.oom_control", "1"
    cpu = f"{tree.v1.get('cpu')}/{group}/cpu"
    if bandwidth := cpu_bandwidth(limits):
        yield f"{cpu}.cfs_period_us", str(bandwidth[1])
        yield f"{cpu}.cfs_quota_us", str(bandwidth[0])
    if limits.cpu_shares:
        yield f"{cpu}.shares", str(limits.cpu_shares)
    if limits.pids is not None:
        yield f"{tree.v1['pids']}/{group}/pids.max", _at_most(limits.pids)
    yield from _blkio_v1(tree, engine_group, group, limits)
    for size, most in limits.hugetlb.items():
        yield f"{tree.v1['hugetlb']}/{group}/hugetlb.{size}.limit_in_bytes", str(most)


def _blkio_v1(
    tree: Tree, engine_group: str, group: str, limits: Limits
) -> Iterator[tuple[str, str]]:
    top = tree.v1.get("blkio")
    blkio = f"{top}/{group}/blkio"
    if weights := _weights(tree, engine_group, limits):
        if limits.blkio_weight:
            yield f"{top}/{group}/{weights}", str(limits.blkio_weight)
        for each in limits.blkio_weight_device:
            text = f"{device_numbers(each.path)} {each.value}"
            yield f"{top}/{group}/{weights}_device", text
    for name, rates in (
        ("read_bps", limits.device_read_bps),
        ("write_bps", limits.device_write_bps),
        ("read_iops", limits.device_read_iops),
        ("write_iops", limits.device_write_iops),
    ):
        for each in rates:
            text = f"{device_numbers(each.path)} {each.value}"
            yield f"{blkio}.throttle.{name}_device", text


def _plan_v2(
    tree: Tree, engine_group: str, container_id: str, limits: Limits, rules: Sequence[str]
) -> CgroupPlan:
    parent = f"{tree.v2}/{engine_group}"
    group = f"{parent}/{container_id}"
    enabled = sorted(usable_v2(tree))
    writes: list[tuple[str, str]] = []
    if enabled:
        writes.append((f"{parent}/cgroup.subtree_control", " ".join(f"+{c}" for c in enabled)))
    writes += [(f"{group}/{name}", text) for name, text in _limits_v2(limits, tree, engine_group)]
    return CgroupPlan(
        (group,),
        tuple(writes),
        (f"{group}/cgroup.procs",),
        group,
        device_program(rules) if rules else b"",
        notices=_notices(tree, engine_group, limits),
    )


def _limits_v2(limits: Limits, tree: Tree, engine_group: str) -> Iterator[tuple[str, str]]:
    if limits.cpuset_cpus:
        yield "cpuset.cpus", limits.cpuset_cpus
    if limits.cpuset_mems:
        yield "cpuset.mems", limits.cpuset_mems
    if limits.memory is not None:
        yield "memory.max", str(limits.memory)
        swap = limits.memory_swap
        if swap == -1:
            yield "memory.swap.max", "max"
        elif swap is not None:
            yield "memory.swap.max", str(swap - limits.memory)
        elif _counts_swap(tree):
            yield "memory.swap.max", str(limits.memory)
    if limits.memory_reservation is not None:
        yield "memory.low", str(limits.memory_reservation)
    if bandwidth := cpu_bandwidth(limits):
        yield "cpu.max", f"{bandwidth[0] if bandwidth[0] > 0 else 'max'} {bandwidth[1]}"
    if limits.cpu_shares:
        yield "cpu.weight", str(weight(limits.cpu_shares))
    if limits.pids is not None:
        yield "pids.max", _at_most(limits.pids)
    yield from _io_v2(limits, _weights(tree, engine_group, limits))
    for size, most in limits.hugetlb.items():
        yield f"hugetlb.{size}.max", str(most)


def _io_v2(limits: Limits, weights: str) -> Iterator[tuple[str, str]]:
    def scaled(value: int) -> int:
        # io.bfq.weight has v1's numbers; what wants io.weight (10..1000 -> 1..10000) is iocost.
        return value if "bfq" in weights else 1 + (value - 10) * 9999 // 990

    if weights:
        if limits.blkio_weight:
            yield weights, f"default {scaled(limits.blkio_weight)}"
        for each in limits.blkio_weight_device:
            yield weights, f"{device_numbers(each.path)} {scaled(each.value)}"
    for name, rates in (
        ("rbps", limits.device_read_bps),
        ("wbps", limits.device_write_bps),
        ("riops", limits.device_read_iops),
        ("wiops", limits.device_write_iops),
    ):
        for each in rates:
            yield "io.max", f"{device_numbers(each.path)} {name}={each.value}"


def _wants_weights(limits: Limits) -> bool:
    return bool(limits.blkio_weight or limits.blkio_weight_device)


def _weights(tree: Tree, engine_group: str, limits: Limits) -> str:
    """The file that takes the weight of block devices; "": none is asked for, or there is none.

    Its name depends on the scheduler, and the top of the tree has none (Linux,
    Documentation/block/bfq-iosched.rst).
    """
    if not _wants_weights(limits):
        return ""
    if tree.version == 2:
        place, names = f"{tree.v2}/{engine_group}", ("io.weight", "io.bfq.weight")
    else:
        place = f"{tree.v1.get('blkio')}/{engine_group}"
        names = ("blkio.bfq.weight", "blkio.weight")
    return next((name for name in names if os.path.exists(f"{place}/{name}")), "")


def _notices(tree: Tree, engine_group: str, limits: Limits) -> tuple[str, ...]:
    found = []
    if _wants_weights(limits) and not _weights(tree, engine_group, limits):
        found.append("this kernel gives block devices no weights: blkio weights have no effect")
    there = os.cpu_count() or 1
    if limits.cpus is not None and limits.cpus > there:
        found.append(f"cpus {limits.cpus:g} is no limit: this machine has {there}")
    return tuple(found)


def device_numbers(path: str) -> str:
    """ "8:0" of a block device. Raises UsageError for what is none."""
    hint = "correct it in blkio_config (--device-read-bps and the like); lsblk lists what is there"
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"a limit names {path}: {error.strerror}", hint=hint) from None
    if not stat.S_ISBLK(status.st_mode):
        raise UsageError(f"a limit names {path}, which is no block device", hint=hint)
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def cpu_bandwidth(limits: Limits) -> tuple[int, int] | None:
    """(quota, period) in microseconds; quota -1: all there is. None: nothing was asked.

    A quota of -1 lifts the limit that cpus is, as in Docker.
    """
    if limits.cpus is not None and (limits.cpu_quota or 0) >= 0:
        return quota(limits.cpus), PERIOD
    if limits.cpu_quota is None and limits.cpu_period is None:
        return None
    return limits.cpu_quota or -1, limits.cpu_period or PERIOD


def quota(cpus: float) -> int:
    """Microseconds of CPU time in a period; at least what the kernel takes."""
    return max(_LEAST_QUOTA, round(cpus * PERIOD))


def weight(shares: int) -> int:
    """v1's cpu.shares (2..262144, usual 1024) as v2's cpu.weight (1..10000, usual 100).

    A curve through (2, 1), (1024, 100) and (262144, 10000), the one that today's
    runtimes agree on, so that "the usual" stays the usual.
    """
    log = math.log2(min(max(shares, 2), 262144))
    return min(10000, max(1, math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))))


def usable_v2(tree: Tree) -> frozenset[str]:
    """Controllers that groups below the top have (see driver.prepare_engine_group)."""
    return words(f"{tree.v2}/cgroup.subtree_control") & frozenset(WANTED_V2)


def _at_most(count: int) -> str:
    return "max" if count <= 0 else str(count)


def _counts_swap(tree: Tree) -> bool:
    """Swap is accounted. v2's root has no memory.* files: swap.max comes with the controller."""
    if tree.version == 2:
        return os.path.exists("/proc/swaps")
    memory = tree.v1.get("memory", "")
    return bool(memory) and os.path.exists(f"{memory}/memory.memsw.limit_in_bytes")


def _check_swap(limits: Limits) -> None:
    swap, memory = limits.memory_swap, limits.memory
    if swap is None or swap == -1:
        return
    if memory is None:
        raise UsageError(
            "a limit of memory and swap together needs a memory limit",
            hint="set mem_limit as well (memory + swap = memswap_limit)",
        )
    if swap < memory:
        raise UsageError(
            f"memory and swap together ({swap} bytes) is less than memory alone ({memory} bytes)",
            hint="memswap_limit counts both: the same value as mem_limit means no swap",
        )


def _check_cpu(limits: Limits) -> None:
    if limits.cpus is None:
        return
    for name, value in (("cpu_period", limits.cpu_period), ("cpu_quota", limits.cpu_quota)):
        if value is not None and value > 0:
            raise UsageError(
                f"cpus and {name} say the same in two ways",
                hint="keep one of them: cpus is simpler",
            )


def _check_missing(tree: Tree, limits: Limits) -> None:
    available = frozenset(tree.v1) if tree.version == 1 else usable_v2(tree)
    asked = {
        "memory": limits.memory
        or limits.memory_reservation
        or limits.memory_swappiness is not None
        or limits.oom_kill_disable,
        "cpu": cpu_bandwidth(limits) or limits.cpu_shares,
        "cpuset": limits.cpuset_cpus or limits.cpuset_mems,
        "pids": limits.pids is not None and limits.pids > 0,
        "blkio" if tree.version == 1 else "io": limits.blkio_weight
        or limits.blkio_weight_device
        or limits.device_read_bps
        or limits.device_write_bps
        or limits.device_read_iops
        or limits.device_write_iops,
        "hugetlb": limits.hugetlb,
    }
    for controller, wanted in asked.items():
        if wanted and controller not in available:
            raise MachineError(
                f"a {controller} limit was asked for, and this machine has no"
                f" {controller} controller (cgroup v{tree.version})",
                hint=f"drop the limit, or enable the controller: see {tree.root}",
            )
    if limits.memory_swap and limits.memory_swap > 0 and not _counts_swap(tree):
        raise MachineError(
            "a swap limit was asked for, and this kernel does not account swap",
            hint="drop memswap_limit, or boot with swapaccount=1",
        )
    if limits.memory_swappiness is not None and tree.version == 2:
        raise MachineError(
            "mem_swappiness was asked for, and cgroup v2 has none per container",
            hint="drop mem_swappiness; memswap_limit equal to mem_limit keeps a container off swap",
        )
    if limits.oom_kill_disable and tree.version == 2:
        raise MachineError(
            "oom_kill_disable was asked for, and cgroup v2 has no such thing",
            hint="drop it; memory_reservation protects a container's memory",
        )
    for kind, wanted in (("cpus", limits.cpuset_cpus), ("mems", limits.cpuset_mems)):
        if wanted:
            _check_set(tree, kind, wanted)


def _check_set(tree: Tree, kind: str, wanted: str) -> None:
    if tree.version == 1:
        here = _line(f"{tree.v1['cpuset']}/cpuset.{kind}")
    else:
        here = _line(f"{tree.v2}/cpuset.{kind}.effective")
    try:
        there = cpu_lists.covers(cpu_lists.ranges(here), cpu_lists.ranges(wanted))
    except ValueError as error:
        raise UsageError(
            f"{wanted[:60]!r} is not a list of numbers and ranges: {error}",
            hint='for example "0-2,5"',
        ) from None
    if not there:
        raise UsageError(
            f"cpuset {wanted[:60]!r} asks for {kind} that are not there: this machine has {here}",
            hint="choose among those that are there",
        )


def _line(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
