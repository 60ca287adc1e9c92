"""Credentials as Docker keeps them: config.json and its helpers.

    $DOCKER_AUTH_CONFIG, the same as text; else
    $DOCKER_CONFIG/config.json or $HOME/.docker/config.json
      {"auths": {"<registry>": {"auth": "<base64 of user:password>"}},
       "credsStore": "pass", "credHelpers": {"<registry>": "ecr-login"}}

A helper is a program docker-credential-<name> on the caller's PATH that is told what to
do by an argument and speaks JSON. Nothing is ever written to the log.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stackctl.errors import MachineError, NotFound, UsageError
from stackctl.image.registry.settings import credential_key
from stackctl.values import dataclass

_SECONDS = 30
_TOKEN_USER = "<token>"
_MISSING = "credentials not found"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """User and password, or an identity token that is exchanged for access tokens."""

    username: str = ""
    password: str = ""
    identity_token: str = ""


class Keyring:
    """One user's credentials. Raises MachineError, UsageError; blocking."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        home = environment.get("HOME") or "/root"
        self._file = Path(environment.get("DOCKER_CONFIG") or f"{home}/.docker") / "config.json"

    @property
    def file(self) -> Path:
        return self._file

    def get(self, domain: str) -> Credentials | None:
        """Those for a registry; None: it is asked anonymously."""
        config = self._read()
        key = credential_key(domain)
        if found := self._given(key, domain):
            return found
        helper = self._helper(config, key, domain)
        if helper:
            for name in (key, domain):
                found = self._ask(helper, name)
                if found is not None:
                    return found
        auths = config.get("auths")
        return _among(auths, key, domain, self._file)

    def _given(self, key: str, domain: str) -> Credentials | None:
        """Those of $DOCKER_AUTH_CONFIG, {"auths": ...} as text."""
        text = self._environment.get("DOCKER_AUTH_CONFIG")
        if not text:
            return None
        try:
            auths = json.loads(text).get("auths")
        except (ValueError, AttributeError):
            raise UsageError("DOCKER_AUTH_CONFIG is not of the form of config.json") from None
        return _among(auths, key, domain, Path("DOCKER_AUTH_CONFIG"))

    def put(self, domain: str, credentials: Credentials) -> str:
        """Keep them; where: the file's path or the helper's name."""
        config = self._read()
        key = credential_key(domain)
        helper = self._helper(config, key, domain)
        auths = config.setdefault("auths", {})
        if helper:
            secret = credentials.identity_token or credentials.password
            name = _TOKEN_USER if credentials.identity_token else credentials.username
            self._run(helper, "store", {"ServerURL": key, "Username": name, "Secret": secret})
            auths[key] = {}
            where = f"docker-credential-{helper}"
        else:
            raw = f"{credentials.username}:{credentials.password}".encode()
            entry = {"auth": base64.b64encode(raw).decode()}
            if credentials.identity_token:
                entry = {
                    "auth": base64.b64encode(f"{credentials.username}:".encode()).decode(),
                    "identitytoken": credentials.identity_token,
                }
            auths[key] = entry
            where = str(self._file)
        self._write(config)
        return where

    def drop(self, domain: str) -> bool:
        """Whether there were any."""
        config = self._read()
        key = credential_key(domain)
        helper = self._helper(config, key, domain)
        found = False
        if helper and self._ask(helper, key) is not None:
            self._run(helper, "erase", key)
            found = True
        auths = config.get("auths") or {}
        for name in _spellings(key, domain):
            found = auths.pop(name, None) is not None or found
        if found:
            self._write(config)
        return found

    # -- helpers

    def _helper(self, config: Mapping[str, Any], key: str, domain: str) -> str:
        helpers = config.get("credHelpers")
        if isinstance(helpers, dict):
            for name in (key, domain):
                if helpers.get(name):
                    return str(helpers[name])
        return str(config.get("credsStore") or "")

    def _ask(self, helper: str, server: str) -> Credentials | None:
        try:
            raw = self._run(helper, "get", server)
        except NotFound:
            return None
        name, secret = str(raw.get("Username") or ""), str(raw.get("Secret") or "")
        if name == _TOKEN_USER:
            return Credentials(identity_token=secret)
        return Credentials(username=name, password=secret)

    def _run(self, helper: str, action: str, message: str | dict[str, str]) -> dict[str, Any]:
        if "/" in helper:
            raise UsageError(f"{self._file}: {helper!r} is not the name of a credential helper")
        search = self._environment.get("PATH") or os.defpath
        program = shutil.which(f"docker-credential-{helper}", path=search)
        if program is None:
            raise MachineError(
                f"docker-credential-{helper} is not installed",
                hint=f"{self._file} says that it keeps the credentials",
            )
        text = message if isinstance(message, str) else json.dumps(message)
        try:
            done = subprocess.run(
                [program, action],
                input=text.encode(),
                capture_output=True,
                timeout=_SECONDS,
                env=dict(self._environment),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MachineError(f"docker-credential-{helper} failed: {error}") from None
        out = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0:
            if _MISSING in out.lower():
                raise NotFound(out)
            raise MachineError(f"docker-credential-{helper} {action} failed: {out[:200]}")
        try:
            found = json.loads(out) if action == "get" else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise MachineError(f"docker-credential-{helper} answered with something else than JSON")
        return found

    # -- the file

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UsageError(f"{self._file} cannot be read: {error}") from None
        return found if isinstance(found, dict) else {}

    def _write(self, config: dict[str, Any]) -> None:
        directory = self._file.parent
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # mkstemp: nobody but the owner may read it, from its first byte on.
            fd, name = tempfile.mkstemp(prefix=".config-", dir=directory)
            with open(fd, "w") as file:
                json.dump(config, file, indent="\t")
                file.write("\n")
                file.flush()
                os.fsync(fd)
            os.rename(name, self._file)
        except OSError as error:
            raise MachineError(f"{self._file} cannot be written: {error.strerror}") from None


def _spellings(key: str, domain: str) -> tuple[str, ...]:
    """The same registry as different tools have written it."""
    return (key, domain, f"https://{domain}", f"http://{domain}", f"https://{domain}/v1/")


def _among(auths: object, key: str, domain: str, where: Path) -> Credentials | None:
    for name in _spellings(key, domain):
        entry = auths.get(name) if isinstance(auths, dict) else None
        if isinstance(entry, dict) and (found := _decoded(entry, where)):
            return found
    return None


def _decoded(entry: Mapping[str, Any], file: Path) -> Credentials | None:
    name, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if text := entry.get("auth"):
        try:
            name, _, password = base64.b64decode(str(text)).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise UsageError(f'{file}: an "auth" is not base64 of user:password') from None
    token = str(entry.get("identitytoken") or "")
    if not (name or token):
        return None
    return Credentials(username=name, password=password.rstrip("\0"), identity_token=token)
