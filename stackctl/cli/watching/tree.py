"""Changes below some directories, as the kernel tells them, in batches.

    first notice --> more come --> none for a moment --> one batch

A program that saves a file makes several notices, and a branch that is changed thousands:
a batch is what came without a pause. Nothing is looked at in between.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

from stackctl.errors import MachineError
from stackctl.linux import inotify

_EVENTS = (
    inotify.IN_CLOSE_WRITE
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_ATTRIB
)
#: A batch ends when nothing came for this time, or is as old as that (seconds).
_PAUSE, _OLDEST = 0.1, 2.0


class Tree:
    """Watches `roots` (absolute files or directories) with all below that `skip` does not name.

    `missing` are those that do not exist yet: they are watched from when they do.
    """

    def __init__(self, roots: list[str], skip: Callable[[str], bool]) -> None:
        """Raises MachineError at the kernel's limit."""
        self._roots = sorted(set(roots))
        self.missing = [root for root in self._roots if not os.path.lexists(root)]
        self._skip = skip
        self._directories: dict[int, str] = {}
        self._watch = inotify.Watch()
        self._stop, self._stopped = os.pipe2(os.O_CLOEXEC)
        try:
            for root in self._roots:
                self._add_root(root)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._watch.close()
        os.close(self._stop)
        os.close(self._stopped)

    def stop(self) -> None:
        """Ends `batches`, from any thread."""
        os.write(self._stopped, b".")

    def batches(self) -> Iterator[list[str]]:
        """Sorted absolute paths that were made, written, changed in mode, or removed."""
        while True:
            changed: set[str] = set()
            if not self._wait(None):
                return
            left = _OLDEST
            while True:
                changed |= self._changes()
                if left <= 0 or not self._wait(_PAUSE):
                    break
                left -= _PAUSE
            if changed:
                yield sorted(changed)

    def _wait(self, seconds: float | None) -> bool:
        """True when notices are there; False after `seconds`, or when it is to end."""
        ready, _, _ = select.select([self._watch.fd, self._stop], [], [], seconds)
        return self._watch.fd in ready and self._stop not in ready

    def _changes(self) -> set[str]:
        changed: set[str] = set()
        for watch, mask, name in self._watch.read():
            if mask & inotify.IN_Q_OVERFLOW:
                # Notices were lost: whatever there is may have changed.
                for root in self._roots:
                    changed.update(self._add_all(root))
                continue
            directory = self._directories.get(watch)
            if mask & inotify.IN_IGNORED:
                self._directories.pop(watch, None)
            elif directory is not None and name:
                changed |= self._change(f"{directory.rstrip('/')}/{name}", mask)
        return changed

    def _change(self, path: str, mask: int) -> set[str]:
        has_come = mask & (inotify.IN_CREATE | inotify.IN_MOVED_TO)
        if not self._concerns(path):
            # It may lead to a root that has not been there.
            below = [root for root in self._roots if root.startswith(f"{path}/")]
            return {p for root in below for p in self._add_root(root)} if has_come else set()
        if self._skip(path):
            return set()
        changed = {path}
        if mask & inotify.IN_ISDIR:
            if has_come:
                # What was put into it before we watched it has sent no notice.
                changed.update(self._add_all(path))
            elif mask & inotify.IN_MOVED_FROM:
                self._forget(path)
        return changed

    def _concerns(self, path: str) -> bool:
        return any(path == root or path.startswith(f"{root}/") for root in self._roots)

    def _add_root(self, root: str) -> list[str]:
        """Watch a root with all below, or what it will appear in; the paths that are there."""
        # What is above tells when the root itself is replaced, or made.
        parents = [str(parent) for parent in Path(root).parents]
        nearest = next((i for i, parent in enumerate(parents) if self._add(parent)), 0)
        # What has been made meanwhile has sent no notice.
        for parent in reversed(parents[:nearest]):
            if not self._add(parent):
                break
        return self._add_all(root)

    def _add_all(self, path: str) -> list[str]:
        """Watch a directory with all below; the paths that are there."""
        found: list[str] = []
        if not Path(path).is_dir() or Path(path).is_symlink():
            return [path] if os.path.lexists(path) else []
        waiting = [path]
        while waiting:
            directory = waiting.pop()
            found.append(directory)
            if not self._add(directory):
                continue
            try:
                entries = list(os.scandir(directory))
            except OSError:
                continue  # it went away, or is not ours to read
            for entry in entries:
                if self._skip(entry.path):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    found.append(entry.path)
        return found

    def _add(self, directory: str) -> bool:
        try:
            watch = self._watch.add(directory, _EVENTS | inotify.IN_ONLYDIR)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise MachineError(
                    f"{directory} cannot be watched: all of the user's watches are in use",
                    hint="raise the sysctl fs.inotify.max_user_watches, or ignore directories "
                    "such as node_modules (develop: watch: ignore:)",
                ) from None
            return False  # it went away in the meantime, or is not ours to read
        self._directories[watch] = directory
        return True

    def _forget(self, path: str) -> None:
        """A directory that is elsewhere now."""
        for watch, directory in list(self._directories.items()):
            if directory == path or directory.startswith(f"{path}/"):
                del self._directories[watch]
                try:
                    self._watch.remove(watch)
                except OSError:
                    continue  # removed meanwhile
