"""HTTP to registries: connections kept, redirects followed with care, failures tried again.

Standard library only; one connection at a time a thread, several threads. What is
never done: a credential sent to another host than the one it is for, a step down from
https to http.
"""

from __future__ import annotations

import email.utils
import http.client
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from urllib.parse import urljoin, urlsplit

from stackctl.errors import ImageError, StackctlError
from stackctl.image.registry.settings import Endpoint, Settings
from stackctl.values import dataclass

_CONNECT_SECONDS = 15.0
_READ_SECONDS = 60.0
_ATTEMPTS = 6
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 60.0
_REDIRECTS = 5
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_IDEMPOTENT = frozenset({"GET", "HEAD", "DELETE"})
_USER_AGENT = "stackctl"

Headers = Mapping[str, str]


class Unreachable(StackctlError):
    """Nobody answers there, or no TLS is to be had with whom answers."""

    kind = "registry"
    status = 502


class Cancelled(StackctlError):
    kind = "cancelled"


@dataclass(slots=True)
class Pauses:
    """How long to wait between attempts; tests bring their own `sleep`."""

    sleep: Callable[[float], bool] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def wait(self, attempt: int, retry_after: str | None) -> None:
        """Raises Cancelled."""
        seconds = _FIRST_PAUSE * 2**attempt * random.uniform(0.7, 1.3)
        asked = _seconds(retry_after)
        if asked is not None:
            seconds = asked
        seconds = min(seconds, _LONGEST_PAUSE)
        stop = self.sleep(seconds) if self.sleep else self.cancelled.wait(seconds)
        if stop:
            raise Cancelled("the transfer was cancelled")


class Answer:
    """A response; `close` (or reading all of it) gives its connection back."""

    def __init__(self, response: http.client.HTTPResponse, url: str, done: Callable[[bool], None]):
        self._response = response
        self._done: Callable[[bool], None] | None = done
        self.status = response.status
        self.url = url

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def headers_all(self, name: str) -> list[str]:
        return self._response.headers.get_all(name) or []

    def readinto(self, buffer: memoryview) -> int:
        """0 at the end. Raises OSError, also when the connection breaks before that."""
        wanted = self._response.length
        try:
            count = self._response.readinto(buffer)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from None
        if count == 0 and wanted:
            raise ConnectionError("the connection ended early")
        return count

    def read(self, limit: int) -> bytes:
        """All of a small body. Raises ImageError beyond `limit`, OSError."""
        data = bytearray()
        buffer = memoryview(bytearray(65536))
        while count := self.readinto(buffer):
            data += buffer[:count]
            if len(data) > limit:
                self.close()
                raise ImageError(f"{self.url} answers with more than {limit} bytes")
        self.close()
        return bytes(data)

    def close(self) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(self._response.isclosed() and not self._response.will_close)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Http:
    """Thread-safe."""

    def __init__(self, settings: Settings, pauses: Pauses | None = None) -> None:
        self.settings = settings
        self.pauses = pauses or Pauses()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._guard = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        headers: Headers | None = None,
        body: Callable[[], Iterable[bytes]] | bytes | None = None,
        *,
        verify: bool = True,
        secret: Headers | None = None,
        redirects: bool = True,
        again: bool | None = None,
    ) -> Answer:
        """One request with its redirects and repetitions. Raises Unreachable, Cancelled.

        `secret` headers (authorisation) go to the host of `url` alone. `body` is called for
        each attempt. `again`: whether it may be sent twice (default: by method).
        """
        repeat = method in _IDEMPOTENT if again is None else again
        attempt = 0
        while True:
            try:
                answer = self._follow(method, url, headers, body, verify, secret, redirects)
            except (OSError, http.client.HTTPException) as error:
                attempt += 1
                if not repeat or attempt >= _ATTEMPTS or not _may_pass(error):
                    raise Unreachable(
                        f"{_host(url)} cannot be reached: {_reason(error)}",
                        hint="is the name right, and the network up?",
                    ) from error
                self.pauses.wait(attempt, None)
                continue
            attempt += 1
            if answer.status in _AGAIN and repeat and attempt < _ATTEMPTS:
                pause = answer.header("Retry-After") or None
                answer.close()
                self.pauses.wait(attempt, pause)
                continue
            return answer

    def close(self) -> None:
        with self._guard:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    # -- one attempt

    def _follow(
        self,
        method: str,
        url: str,
        headers: Headers | None,
        body: Callable[[], Iterable[bytes]] | bytes | None,
        verify: bool,
        secret: Headers | None,
        redirects: bool,
    ) -> Answer:
        origin = _origin(url)
        for _ in range(_REDIRECTS + 1):
            given = dict(headers or {})
            if secret and _origin(url) == origin:
                given |= secret
            answer = self._once(method, url, given, body, verify)
            if answer.status not in (301, 302, 303, 307, 308) or not redirects:
                return answer
            target = urljoin(url, answer.header("Location"))
            answer.close()
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise Unreachable(f"{_host(url)} redirects to {target[:100]!r}")
            if parts.scheme == "http" and url.startswith("https:"):
                raise Unreachable(
                    f"{_host(url)} redirects from https to http, which is refused",
                    hint="the content would arrive unprotected",
                )
            if method not in ("GET", "HEAD"):
                raise Unreachable(f"{_host(url)} redirects a {method}")
            if _origin(target) != origin:
                verify = not self.settings.is_insecure(parts.netloc)
            url = target
        raise Unreachable(f"{_host(url)} redirects in circles")

    def _once(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Callable[[], Iterable[bytes]] | bytes | None,
        verify: bool,
    ) -> Answer:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        path = parts.path or "/"
        if parts.query:
            path += f"?{parts.query}"
        headers.setdefault("User-Agent", _USER_AGENT)
        headers.setdefault("Accept-Encoding", "identity")
        while True:
            with self._guard:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            fresh = connection is None
            if connection is None:
                connection = self._connect(parts.scheme, parts.netloc, verify)
            try:
                content = body() if callable(body) else body
                connection.request(method, path, content, headers)
                if connection.sock is not None:
                    connection.sock.settimeout(_READ_SECONDS)
                response = connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                connection.close()
                if not fresh and not callable(body):
                    continue  # it was closed while it was idle
                raise
            except BaseException:
                connection.close()
                raise
            return Answer(response, url, self._giver(key, connection))

    def _giver(
        self, key: tuple[str, str], connection: http.client.HTTPConnection
    ) -> Callable[[bool], None]:
        def give(reusable: bool) -> None:
            if not reusable:
                connection.close()
                return
            with self._guard:
                self._idle.setdefault(key, []).append(connection)

        return give

    def _connect(self, scheme: str, host: str, verify: bool) -> http.client.HTTPConnection:
        proxy = _proxy(self.settings.environment, scheme, host)
        if proxy:
            through = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
            connection = self._plain(scheme, through.netloc, verify, host)
            connection.set_tunnel(host)
            return connection
        return self._plain(scheme, host, verify, host)

    def _plain(self, scheme: str, host: str, verify: bool, name: str) -> http.client.HTTPConnection:
        if scheme == "http":
            connection = http.client.HTTPConnection(host, timeout=_CONNECT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(
                host, timeout=_CONNECT_SECONDS, context=self._context(name, verify)
            )
        return connection

    def _context(self, host: str, verify: bool) -> ssl.SSLContext:
        with self._guard:
            found = self._contexts.get(f"{verify}{host}")
            if found is None:
                try:
                    found = self.settings.context(Endpoint("https", host, verify))
                except (OSError, ssl.SSLError) as error:
                    raise Unreachable(
                        f"the certificates for {host} cannot be used: {error}"
                    ) from None
                self._contexts[f"{verify}{host}"] = found
            return found


def _proxy(environment: Mapping[str, str], scheme: str, host: str) -> str:
    """The caller's proxy for a host; "" for none. Plain HTTP is never sent through one: it is
    spoken only to registries on this machine or network."""
    if scheme != "https":
        return ""
    name = urlsplit(f"//{host}").hostname or ""
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    for entry in exempt.split(","):
        suffix = entry.strip().lstrip(".").lower()
        if suffix and (suffix == "*" or name == suffix or name.endswith(f".{suffix}")):
            return ""
    return environment.get("https_proxy") or environment.get("HTTPS_PROXY") or ""


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may fare better."""
    if isinstance(error, ssl.SSLError):
        return False
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return not isinstance(error, ConnectionRefusedError)


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _seconds(text: str | None) -> float | None:
    """Retry-After: seconds, or a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
