"""What is written for a start, and what the shim is told: before anything of it exists."""

from __future__ import annotations

import os
from typing import Any

from stackctl.errors import MachineError
from stackctl.model.record import ContainerRecord
from stackctl.runtime import bundle as bundles
from stackctl.runtime import capabilities, labels, seccomp, settings
from stackctl.runtime.bundle import StartRequest
from stackctl.runtime.cgroups.driver import CgroupDriver
from stackctl.runtime.cgroups.plan import CgroupPlan
from stackctl.runtime.shim import protocol
from stackctl.state.paths import Paths

#: Of a log that nobody said anything about: bytes a file, number of files.
LOG_SIZE = 20 * 1024 * 1024
LOG_FILES = 5


def prepare(request: StartRequest, paths: Paths, cgroups: CgroupDriver) -> tuple[str, ...]:
    """Write the bundle; a few small files on the run-time file system. Raises StackctlError.

    Returns what is to be said about what was asked for.
    """
    record = request.record
    security = record.config.security
    names = capabilities.effective(security)
    program = seccomp.program(seccomp.profile_of(security), names)
    plan = _group(record, paths, cgroups)
    lowered = bundles.bundle(
        request, paths, plan, capabilities.mask(names), program, processors=os.cpu_count() or 1
    )
    directory = paths.container_run(record.id)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = directory / bundles.STAGING
        staging.mkdir(exist_ok=True)
        # The container's root stands in it, and is nobody on the host.
        staging.chmod(0o755)
        (directory / protocol.EXIT).unlink(missing_ok=True)
        (directory / protocol.BUNDLE).write_bytes(protocol.encode(lowered))
        paths.container(record.id).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        place = error.filename or directory
        raise MachineError(f"cannot write {place}: {error.strerror}") from error
    return plan.notices


def check(record: ContainerRecord, paths: Paths, cgroups: CgroupDriver) -> None:
    """What a start would refuse on this machine as it is now, whatever else is there by then.

    Makes nothing. Raises StackctlError.
    """
    config, security = record.config, record.config.security
    bundles.check_command(config)
    labels.checked(config)
    seccomp.program(seccomp.profile_of(security), capabilities.effective(security))
    settings.rlimits(config)
    settings.sysctls(config)
    _group(record, paths, cgroups)


def _group(record: ContainerRecord, paths: Paths, cgroups: CgroupDriver) -> CgroupPlan:
    config = record.config
    rules = settings.device_rules(config)
    return cgroups.plan(paths.cgroup, record.id, config.limits, config.security, rules)


def start_message(record: ContainerRecord, paths: Paths) -> dict[str, Any]:
    logging = record.config.logging
    return {
        "op": "start",
        "id": record.id,
        "run": str(paths.container_run(record.id)),
        "log": str(paths.container_log(record.id)) if logging.keeps else "",
        "log_size": logging.max_size or LOG_SIZE,
        "log_files": logging.max_file or LOG_FILES,
        "tty": record.config.tty,
        "stdin": record.config.stdin_open,
    }
