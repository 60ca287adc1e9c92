"""Contexts: engines on other machines by name, with what it takes to reach them.

    $STACKCTL_CONFIG, else $XDG_CONFIG_HOME/stackctl, else ~/.config/stackctl
      config.json                    {"currentContext": NAME}
      contexts/NAME/meta.json        in docker's form, so that exported files can be exchanged
      contexts/NAME/tls/docker/      ca.pem, cert.pem, key.pem, for their owner only

`default` is no file: it is the engine of this machine. A context is replaced as a whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from stackctl.errors import Conflict, MachineError, NotFound, UsageError
from stackctl.state.endpoints import TlsFiles
from stackctl.state.used import DEFAULT as DEFAULT
from stackctl.state.used import contexts_root, used_below

PEM = ("ca.pem", "cert.pem", "key.pem")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]*\Z")


class Context(NamedTuple):
    name: str
    host: str = ""
    description: str = ""
    #: Contents of PEM files, by name.
    pem: Mapping[str, bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Context({self.name!r}, {self.host!r})"  # not the key

    @property
    def metadata(self) -> dict[str, Any]:
        """As docker writes it."""
        described = {"Description": self.description} if self.description else {}
        return {
            "Name": self.name,
            "Metadata": described,
            "Endpoints": {"docker": {"Host": self.host, "SkipTLSVerify": False}},
        }


def parsed(metadata: bytes, pem: Mapping[str, bytes], name: str = "") -> Context:
    """A context of docker's form; `name` in place of its own. Raises UsageError."""
    try:
        raw = json.loads(metadata)
        endpoint = raw["Endpoints"]["docker"]
        described = raw.get("Metadata") or {}
        found = Context(
            name=name or str(raw["Name"]),
            host=str(endpoint["Host"]),
            description=str(described.get("Description") or ""),
            pem=dict(pem),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            "this is no context", hint="`stackctl context export NAME` and docker's write them"
        ) from None
    if endpoint.get("SkipTLSVerify"):
        raise UsageError(
            f'the context "{found.name}" does not check who the engine is (SkipTLSVerify)',
            hint="create it with the engine's authority: ca=FILE",
        )
    return found


class Contexts:
    """The store of one user."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Contexts:
        return cls(Path(contexts_root(environment)))

    def current(self) -> str:
        """The context that `use` chose. Raises MachineError for a damaged file."""
        return used_below(str(self._root))

    def use(self, name: str) -> None:
        """Raises NotFound."""
        if name != DEFAULT:
            self.get(name)
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            _replace(self._root / "config.json", json.dumps({"currentContext": name}).encode())
        except OSError as error:
            raise _unwritable(self._root, error) from error

    def names(self) -> list[str]:
        """Without `default`."""
        try:
            found = [p.parent.name for p in self._root.glob("contexts/*/meta.json")]
        except OSError:
            return []
        return sorted(name for name in found if _NAME.match(name))

    def get(self, name: str) -> Context:
        """Raises NotFound, UsageError for a damaged one."""
        directory = self.directory(name)
        try:
            metadata = (directory / "meta.json").read_bytes()
        except OSError:
            raise NotFound(
                f'there is no context "{name}"',
                hint=f"there are: {', '.join((DEFAULT, *self.names()))}",
            ) from None
        pem = {}
        for each in PEM:
            try:
                pem[each] = (directory / "tls" / "docker" / each).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MachineError(f"{directory}: {each}: {error.strerror}") from error
        return parsed(metadata, pem, name)

    def directory(self, name: str) -> Path:
        if not _NAME.match(name) or name == DEFAULT:
            raise UsageError(
                f'"{name}" is no name for a context',
                hint="letters, digits and _.+- make one, starting with a letter or a digit; "
                f'"{DEFAULT}" is the engine of this machine',
            )
        return self._root / "contexts" / name

    def files(self, name: str) -> TlsFiles | None:
        """Where its certificates are; None without any."""
        directory = self.directory(name) / "tls" / "docker"
        return TlsFiles.of(directory) if directory.is_dir() else None

    def put(self, context: Context, *, new: bool) -> None:
        """Raises Conflict when it is `new` and there already, MachineError."""
        directory = self.directory(context.name)
        if new and directory.exists():
            raise Conflict(
                f'there is a context "{context.name}" already',
                hint=f"stackctl context update {context.name}, or remove it first",
            )
        try:
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(context, directory)
        except OSError as error:
            raise _unwritable(directory, error) from error

    def _write(self, context: Context, directory: Path) -> None:
        # Here: every command looks at contexts, and few write one.
        import tempfile

        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".new-") as scratch:
            made = Path(scratch, "made")
            made.mkdir(mode=0o700)
            (made / "meta.json").write_text(json.dumps(context.metadata, indent=1))
            if context.pem:
                (made / "tls" / "docker").mkdir(parents=True, mode=0o700)
            for name, content in context.pem.items():
                path = made / "tls" / "docker" / name
                path.touch(mode=0o600)
                path.write_bytes(content)
            if directory.exists():
                directory.rename(Path(scratch, "before"))
            made.rename(directory)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Raises NotFound, Conflict for the one that is used."""
        self.get(name)
        if self.current() == name:
            if not force:
                raise Conflict(
                    f'the context "{name}" is in use', hint="stackctl context use default; or -f"
                )
            self.use(DEFAULT)
        from shutil import rmtree  # no other command needs it

        try:
            rmtree(self.directory(name))
        except OSError as error:
            raise _unwritable(self.directory(name), error) from error


def _replace(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def _unwritable(path: Path, error: OSError) -> MachineError:
    return MachineError(f"cannot write {path}: {error.strerror}", hint="see STACKCTL_CONFIG")
