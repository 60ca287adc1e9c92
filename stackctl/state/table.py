"""One kind of record: an SQLite table with all its records in memory beside it.

Reads never touch the database; a write changes both or neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from stackctl.errors import Conflict, MachineError
from stackctl.state.codec import Codec, CodecError
from stackctl.state.db import Database

R = TypeVar("R")


class Table(Generic[R]):
    """Records of type R by key; names are unique among them."""

    def __init__(
        self,
        database: Database,
        table: str,
        noun: str,
        kind: type[R],
        key_of: Callable[[R], str],
        name_of: Callable[[R], str],
    ) -> None:
        """Reads all records. Raises MachineError when one cannot be read."""
        self._database = database
        self._noun = noun
        self._codec = Codec(kind)
        self._key_of = key_of
        self._name_of = name_of
        self._records: dict[str, R] = {}
        self._keys: dict[str, str] = {}
        self._put_sql = (
            f"INSERT INTO {table} (key, name, record) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET name = excluded.name, record = excluded.record"
        )
        self._delete_sql = f"DELETE FROM {table} WHERE key = ?"
        # rowid order is the order of making; an update keeps it.
        for key, text in database.rows(f"SELECT key, record FROM {table} ORDER BY rowid"):
            try:
                self._remember(self._codec.loads(text))
            except CodecError as error:
                raise MachineError(
                    f"the record of {noun} {key} in {database.path} cannot be read: {error}",
                    hint="a newer stackctl may have written it: use that version, "
                    "or another STACKCTL_ROOT",
                ) from error

    def get(self, key: str) -> R | None:
        return self._records.get(key)

    def named(self, name: str) -> R | None:
        key = self._keys.get(name)
        return None if key is None else self._records[key]

    def all(self) -> tuple[R, ...]:
        """In the order of making."""
        return tuple(self._records.values())

    def put(self, record: R, *, volatile: bool = False) -> None:
        """Makes or replaces it. Raises Conflict when another one has its name.

        `volatile`: the change may be lost in a power cut (see Database.write).
        """
        key, name = self._key_of(record), self._name_of(record)
        old = self._records.get(key)
        if old is record or old == record:
            return
        holder = self._keys.get(name, key)
        if holder != key:
            raise Conflict(
                f'the name "{name}" is in use by {self._noun} {holder[:12]}',
                hint=f"remove or rename that {self._noun}, or choose another name",
            )
        text = self._codec.dumps(record)
        values = (key, name, text)
        self._database.write(self._put_sql, values, lambda: self._set(key, old), volatile=volatile)
        self._set(key, record)

    def delete(self, key: str) -> None:
        """Removes it; nothing happens when it is gone already."""
        old = self._records.get(key)
        if old is None:
            return
        order = tuple(self._records)
        self._database.write(self._delete_sql, (key,), lambda: self._restore(old, order))
        self._set(key, None)

    def _set(self, key: str, record: R | None) -> None:
        old = self._records.get(key)
        if old is not None:
            self._keys.pop(self._name_of(old), None)
        if record is None:
            self._records.pop(key, None)
        else:
            self._remember(record)

    def _remember(self, record: R) -> None:
        key = self._key_of(record)
        self._records[key] = record
        self._keys[self._name_of(record)] = key

    def _restore(self, record: R, order: tuple[str, ...]) -> None:
        self._remember(record)
        self._records = {key: self._records[key] for key in order if key in self._records}
