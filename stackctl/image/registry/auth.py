"""Access to a registry: what a 401 asks for is fetched once and then sent along.

Basic, and tokens (the distribution project's token authentication; OAuth 2 for
identity tokens). A realm that gets credentials must be https, or the registry itself.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from stackctl.errors import ImageError, NotPermitted
from stackctl.image.registry.credentials import Credentials
from stackctl.image.registry.http import Answer, Http, Unreachable
from stackctl.image.registry.settings import Endpoint

_LONGEST = 1 << 20
_DEFAULT_SECONDS = 60
_PARAMETER = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"|([a-zA-Z_]+)=([^\s,"]+)')


class Access:
    """The authorisation of one registry; thread-safe. `credentials` None: anonymous."""

    def __init__(self, http: Http, endpoint: Endpoint, credentials: Credentials | None) -> None:
        self._http = http
        self._endpoint = endpoint
        self._credentials = credentials
        self._guard = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._basic = False

    def headers(self, scope: str) -> dict[str, str]:
        """What to send along without being asked: what was asked for before."""
        with self._guard:
            if self._basic:
                return _basic(self._credentials)
            token, until = self._tokens.get(scope, ("", 0.0))
        return {"Authorization": f"Bearer {token}"} if time.monotonic() < until else {}

    def answer(self, refusal: Answer, scope: str) -> dict[str, str]:
        """The headers that a 401 asks for. Raises NotPermitted, ImageError, Unreachable."""
        for challenge in refusal.headers_all("WWW-Authenticate"):
            kind, _, rest = challenge.partition(" ")
            if kind.lower() == "bearer":
                return self._token(_parameters(rest), scope)
        for challenge in refusal.headers_all("WWW-Authenticate"):
            if challenge.partition(" ")[0].lower() == "basic":
                if self._credentials is None or not self._credentials.username:
                    raise self._refused()
                with self._guard:
                    self._basic = True
                return _basic(self._credentials)
        raise self._refused()

    def refused(self) -> NotPermitted:
        return self._refused()

    def _token(self, challenge: Mapping[str, str], scope: str) -> dict[str, str]:
        realm = challenge.get("realm", "")
        self._check_realm(realm)
        wanted = scope or challenge.get("scope", "")
        service = challenge.get("service", "")
        credentials = self._credentials
        if credentials is not None and credentials.identity_token:
            raw = self._exchange(realm, service, wanted, credentials.identity_token)
        else:
            raw = self._fetch(realm, service, wanted, credentials)
        token = raw.get("token") or raw.get("access_token")
        if not isinstance(token, str) or not token or "\n" in token or "\r" in token:
            raise ImageError(f"{urlsplit(realm).netloc} gives no token")
        lifetime = raw.get("expires_in")
        seconds = lifetime if isinstance(lifetime, int | float) else _DEFAULT_SECONDS
        until = time.monotonic() + max(float(seconds) * 0.9, 5.0)
        with self._guard:
            self._tokens[scope] = (token, until)
        return {"Authorization": f"Bearer {token}"}

    def _fetch(
        self, realm: str, service: str, scope: str, credentials: Credentials | None
    ) -> dict[str, object]:
        query: list[tuple[str, str]] = [("service", service)] if service else []
        query += [("scope", part) for part in scope.split(" ") if part]
        if credentials is not None:
            query.append(("account", credentials.username))
        joint = "&" if urlsplit(realm).query else "?"
        url = realm + joint + urlencode(query)
        return self._read(
            self._http.request("GET", url, verify=self._verify(realm), secret=_basic(credentials))
        )

    def _exchange(self, realm: str, service: str, scope: str, token: str) -> dict[str, object]:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "service": service,
            "scope": scope,
            "client_id": "stackctl",
        }
        return self._read(
            self._http.request(
                "POST",
                realm,
                {"Content-Type": "application/x-www-form-urlencoded"},
                urlencode(form).encode(),
                verify=self._verify(realm),
                again=True,
                redirects=False,
            )
        )

    def _read(self, answer: Answer) -> dict[str, object]:
        with answer:
            if answer.status in (400, 401, 403):
                raise self._refused()
            if answer.status != 200:
                raise Unreachable(f"{answer.url.partition('?')[0]} answers {answer.status}")
            try:
                raw = json.loads(answer.read(_LONGEST))
            except ValueError:
                raw = None
        if not isinstance(raw, dict):
            raise ImageError(f"{answer.url.partition('?')[0]} gives no token")
        return raw

    def _check_realm(self, realm: str) -> None:
        """Credentials go where they are protected, or back to the registry itself."""
        parts = urlsplit(realm)
        if parts.scheme == "https" and parts.netloc:
            return
        same = (parts.hostname or "") == (urlsplit(self._endpoint.url).hostname or "")
        if parts.scheme == "http" and self._endpoint.scheme == "http" and same:
            return
        if parts.scheme == "http" and self._http.settings.is_insecure(parts.netloc):
            return
        raise ImageError(
            f"{self._endpoint.host} wants its credentials sent to {realm[:100]!r}",
            hint="only https is trusted with them; STACKCTL_INSECURE_REGISTRIES makes exceptions",
        )

    def _verify(self, realm: str) -> bool:
        return not self._http.settings.is_insecure(urlsplit(realm).netloc)

    def _refused(self) -> NotPermitted:
        host = self._endpoint.host
        if self._credentials is None:
            return NotPermitted(
                f"{host} wants to know who asks, or does not have it",
                hint="is the name right? `stackctl login` for what is private",
            )
        return NotPermitted(
            f"{host} does not let {self._credentials.username or 'this token'} do that",
            hint="is the password still right? `stackctl login` again",
        )


def _basic(credentials: Credentials | None) -> dict[str, str]:
    if credentials is None:
        return {}
    raw = f"{credentials.username}:{credentials.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(raw).decode()}"}


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(text):
        key = (match[1] or match[3]).lower()
        value = match[2] if match[1] else match[4]
        found[key] = re.sub(r"\\(.)", r"\1", value)
    return found
