"""Whether files on the host have changed since a container ended that mounts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stackctl.daemon.apart import apart
from stackctl.model.container import BindMount
from stackctl.model.record import ContainerRecord

#: Files and directories that are looked at for one container. A tree of a larger project takes
#: longer to look through than its job is likely to run.
_MOST = 10_000


async def since_end(records: Iterable[ContainerRecord]) -> Mapping[str, str]:
    """By id of those that ended and whose bind mounts are not as they were: what has changed.

    One that mounts too much to be looked through counts as changed.
    """
    known = list(records)
    found = await apart(lambda: [_changed(record) for record in known])
    return {record.id: what for record, what in zip(known, found, strict=True) if what}


def _changed(record: ContainerRecord) -> str:
    sources = [m.source for m in record.config.mounts if isinstance(m, BindMount)]
    left = _MOST
    for source in sources:
        for path, changed_at in _entries(source):
            if changed_at > record.finished_at:
                return f"{path} has changed since"
            left -= 1
            if not left:
                return f"{source} has too many files to tell whether they have changed"
    return ""


def _entries(source: str) -> Iterator[tuple[str, float]]:
    """The path and all below it, with the time of the last change (of content, names, owner,
    mode) in seconds since the epoch. What cannot be read is left out."""
    try:
        yield source, Path(source).stat().st_ctime
    except OSError:
        return
    ahead = [source]
    while ahead:
        try:
            with os.scandir(ahead.pop()) as entries:
                for entry in entries:
                    yield entry.path, entry.stat(follow_symlinks=False).st_ctime
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
        except OSError:
            continue
