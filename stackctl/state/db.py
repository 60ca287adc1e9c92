"""The SQLite database: opening, the schema's versions, transactions, its errors in our words.

WAL and synchronous=FULL: a commit is on the disk when it returns, so that a
killed daemon or a power cut loses nothing that a user was told. One connection,
used by one thread: SQLite before 3.51 can lose a WAL that several connections
reset at once. Knows nothing of records.

A container may fill the disk that the records are on, and ending and removing
it takes writes: room for these is set aside while there is some. Free pages in the
database, blocks under the WAL (which is kept short), and a file that is given
up when the database cannot even be opened.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackctl.errors import Conflict, InternalError, MachineError, OutOfSpace, StackctlError

#: One script a version, never edited after a release: the next version is a new script.
_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE containers (key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
    CREATE TABLE networks   (key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
    CREATE TABLE volumes    (key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
    CREATE TABLE stacks     (key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
    """,
)

SCHEMA_VERSION = len(_MIGRATIONS)

#: Bytes set aside, for some dozens of changes each.
_ROOM = 512 * 1024
_PAGE = 4096
#: Pages after which the WAL is folded into the database: well within its room.
_FOLD = 64


class Database:
    """One connection. Not thread-safe: a call from another thread is an InternalError."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the database. Raises MachineError, OutOfSpace."""
        self.path = path
        self._depth = 0
        self._undo: list[Callable[[], None]] = []
        self._reserve = path.with_name(f"{path.name}.reserve")
        try:
            self._open()
        except OutOfSpace:
            if not self._reserve.exists():
                raise
            self._reserve.unlink()
            self._open()
        self._set_room_aside()

    def _open(self) -> None:
        with self._translated("open"):
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=2.0)
        try:
            with self._translated("open"):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _set_room_aside(self) -> None:
        """As far as there is some: without it the engine works as well, until the disk is full."""
        run = self._connection.execute
        try:
            with open(self._reserve, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, _ROOM)
            if run("PRAGMA freelist_count").fetchone()[0] * _PAGE < _ROOM // 2:
                self._connection.executescript(
                    "BEGIN;CREATE TABLE room (bytes BLOB);"
                    f"INSERT INTO room VALUES (zeroblob({_ROOM}));DROP TABLE room;COMMIT"
                )
            # What follows the last frame of a WAL is never read (sqlite.org/fileformat2.html).
            with open(f"{self.path}-wal", "ab") as file:
                os.posix_fallocate(file.fileno(), 0, _ROOM)
        except (sqlite3.Error, OSError):
            if self._connection.in_transaction:
                run("ROLLBACK")

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA wal_autocheckpoint={_FOLD}")
        self._synchronous("FULL")
        problem = run("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise _corrupt(self.path, problem)
        version = run("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise MachineError(
                f"{self.path} was written by a newer stackctl (schema {version})",
                hint="use that version, or another STACKCTL_ROOT",
            )
        for number in range(version, SCHEMA_VERSION):
            # The version changes in the same transaction as the tables.
            script = f"BEGIN;{_MIGRATIONS[number]};PRAGMA user_version={number + 1};COMMIT"
            self._connection.executescript(script)

    def close(self) -> None:
        """Closes; the WAL is folded into the database."""
        with self._translated("close"):
            self._connection.close()

    def rows(self, query: str) -> list[Any]:
        with self._translated("read"):
            return self._connection.execute(query).fetchall()

    def write(
        self,
        statement: str,
        values: Sequence[Any],
        undo: Callable[[], None],
        *,
        volatile: bool = False,
    ) -> None:
        """One change. `undo` runs if the transaction around it fails; a lone change commits now.

        A lone `volatile` change does not wait for the disk: a killed process loses nothing,
        a power cut may lose it together with what it tells of. The next other commit
        brings it to the disk.
        """
        if self._depth:
            with self._translated("write"):
                self._connection.execute(statement, values)
            self._undo.append(undo)
            return
        if volatile:
            self._synchronous("NORMAL")
        try:
            with self.transaction():
                self.write(statement, values, undo)
        finally:
            if volatile:
                self._synchronous("FULL")

    def _synchronous(self, level: str) -> None:
        with self._translated("write"):
            self._connection.execute(f"PRAGMA synchronous={level}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside, or none. Nests: the outermost one commits.

        There must be no await inside: another task's writes would join in.
        """
        if self._depth:
            yield
            return
        with self._translated("write"):
            self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            with self._translated("write"):
                self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._depth = 0
            self._undo.clear()

    def _roll_back(self) -> None:
        for undo in reversed(self._undo):
            undo()
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # A full disk has rolled back by itself; the first failure is the one to tell.
            pass

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translate(error, self.path, doing) from error


def _translate(error: sqlite3.Error, path: Path, doing: str) -> StackctlError:
    # The primary result code: the extended ones add upper bytes (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", -1) & 0xFF
    brief = f"cannot {doing} the engine's records in {path}: {error}"
    match code:
        case sqlite3.SQLITE_FULL:
            return OutOfSpace(
                f"no space left for the engine's records in {path}",
                hint=f"free some space on the file system of {path.parent}",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return MachineError(
                brief,
                hint=f"{path.parent} must be a directory that root can write to; "
                "STACKCTL_ROOT names another one",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return MachineError(
                brief, hint="another program has the database open; only one daemon may"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _corrupt(path, str(error))
        case sqlite3.SQLITE_IOERR:
            return MachineError(brief, hint="the disk reports an error or is full; see dmesg")
        case sqlite3.SQLITE_CONSTRAINT:
            return Conflict(brief)
        case _:
            return InternalError(brief)


def _corrupt(path: Path, problem: str) -> MachineError:
    return MachineError(
        f"the engine's records in {path} are damaged: {problem}",
        hint=f"stop what runs, move {path} and its -wal and -shm files away and start again; "
        "volumes stay where they are",
    )
