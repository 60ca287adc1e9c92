"""One repository of one registry: the distribution API (OCI distribution spec 1.1).

Content is only handed on with its digest checked, but for blobs that the caller
receives piece by piece: those it hashes itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, urlencode, urljoin, urlsplit

from stackctl.errors import ImageError, NotFound, NotPermitted, StackctlError
from stackctl.image.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_DOCUMENT,
    OCI_INDEX,
    OCI_MANIFEST,
)
from stackctl.image.registry.auth import Access
from stackctl.image.registry.credentials import Credentials
from stackctl.image.registry.http import Answer, Http, Unreachable
from stackctl.image.registry.settings import Endpoint

_ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
_RANGE = re.compile(r"bytes ([0-9]+)-")
_BUFFER = 1 << 20
#: The next page of a list (RFC 8288).
_NEXT = re.compile(r'\s*<([^>]+)>\s*;\s*rel="?next"?')
_PAGE = 1000
_MOST_TAGS = 100_000

Body = Callable[[], Iterable[bytes]]


class Repository:
    """`path` below `endpoint`. Raises NotFound, NotPermitted, ImageError, Unreachable."""

    def __init__(
        self, http: Http, endpoint: Endpoint, path: str, credentials: Credentials | None
    ) -> None:
        self.endpoint = endpoint
        self.path = path
        self._http = http
        self._access = Access(http, endpoint, credentials)
        self._pull = f"repository:{path}:pull"
        self._push = f"repository:{path}:pull,push"

    # -- manifests

    def manifest(self, reference: str) -> tuple[bytes, str, str]:
        """By tag or digest: its bytes, media type, digest; a digest asked for is verified."""
        url = self._url("manifests", reference)
        with self._ask("GET", url, {"Accept": _ACCEPT}, scope=self._pull) as answer:
            self._expect(answer, (200,), f"{self.path}:{reference}")
            raw = answer.read(MAX_DOCUMENT)
            media_type = answer.header("Content-Type").partition(";")[0].strip()
        found = "sha256:" + hashlib.sha256(raw).hexdigest()
        if reference.startswith("sha256:") and reference != found:
            raise ImageError(
                f"{self.endpoint.host} gives a manifest that is not {reference[:19]}",
                hint="the registry, or something on the way to it, changed the content",
            )
        return raw, media_type, found

    def manifest_digest(self, reference: str) -> str:
        """What a tag points at now, as the registry says; "" when it does not say."""
        url = self._url("manifests", reference)
        with self._ask("HEAD", url, {"Accept": _ACCEPT}, scope=self._pull) as answer:
            self._expect(answer, (200,), f"{self.path}:{reference}")
            return answer.header("Docker-Content-Digest")

    def tags(self) -> list[str]:
        """All tags that the registry lists, page after page."""
        found: list[str] = []
        url = f"{self.endpoint.url}/v2/{quote(self.path)}/tags/list?n={_PAGE}"
        while url and len(found) < _MOST_TAGS:
            with self._ask("GET", url, scope=self._pull) as answer:
                self._expect(answer, (200,), self.path)
                page = _tags(answer.read(MAX_DOCUMENT), self.endpoint.host)
                following = _NEXT.match(answer.header("Link"))
            found += page
            url = urljoin(url, following[1]) if following and page else ""
            if url and urlsplit(url).netloc != self.endpoint.host:
                raise ImageError(f"{self.endpoint.host} lists tags on another host")
        return found

    def put_manifest(self, reference: str, raw: bytes, media_type: str) -> None:
        headers = {"Content-Type": media_type}
        url = self._url("manifests", reference)
        with self._ask("PUT", url, headers, raw, scope=self._push, again=True) as answer:
            self._expect(answer, (200, 201, 202), f"the manifest of {self.path}")

    # -- blobs

    def blob(self, digest: str, offset: int = 0) -> tuple[Iterator[memoryview], int]:
        """Pieces of a blob and where they begin: at `offset`, or 0 if that cannot be had.

        A piece is good until the next one is asked for. OSError when the connection breaks.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._ask("GET", self._url("blobs", digest), headers, scope=self._pull)
        try:
            self._expect(answer, (200, 206), f"content {digest[:19]}")
            begin = 0
            if answer.status == 206:
                match = _RANGE.match(answer.header("Content-Range"))
                begin = int(match[1]) if match else -1
                if begin != offset:
                    raise ImageError(f"{self.endpoint.host} gives another range than was asked for")
        except BaseException:
            answer.close()
            raise
        return _pieces(answer), begin

    def has_blob(self, digest: str) -> bool:
        with self._ask("HEAD", self._url("blobs", digest), scope=self._push) as answer:
            if answer.status == 404:
                return False
            self._expect(answer, (200,), f"content {digest[:19]}")
            return True

    def mount(self, digest: str, source: str) -> str:
        """Have the registry take a blob from its repository `source`; "" when it did, else
        where to upload it to."""
        query = urlencode({"mount": digest, "from": source})
        url = self._url("blobs", "uploads/") + f"?{query}"
        scope = f"{self._push} repository:{source}:pull"
        with self._ask("POST", url, {"Content-Length": "0"}, scope=scope) as answer:
            if answer.status == 201:
                return ""
            if answer.status != 202:
                return self.begin_upload()
            return self._location(answer)

    def begin_upload(self) -> str:
        """Where to upload a blob to."""
        url = self._url("blobs", "uploads/")
        headers = {"Content-Length": "0"}
        with self._ask("POST", url, headers, scope=self._push, again=True) as answer:
            self._expect(answer, (202,), f"an upload to {self.path}")
            return self._location(answer)

    def upload(self, location: str, digest: str, size: int, body: Body) -> None:
        """All of a blob in one request. Raises OSError or Unreachable when it breaks."""
        joint = "&" if urlsplit(location).query else "?"
        url = f"{location}{joint}{urlencode({'digest': digest})}"
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with self._ask("PUT", url, headers, body, scope=self._push) as answer:
            self._expect(answer, (201, 204), f"content {digest[:19]}")

    def ping(self) -> None:
        """Whether it answers, and accepts the credentials."""
        with self._ask("GET", f"{self.endpoint.url}/v2/", scope="") as answer:
            self._expect(answer, (200,), "the registry")

    # -- one request

    def _url(self, kind: str, name: str) -> str:
        return f"{self.endpoint.url}/v2/{quote(self.path)}/{kind}/{quote(name, safe=':/')}"

    def _ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: Body | bytes | None = None,
        *,
        scope: str,
        again: bool | None = None,
    ) -> Answer:
        ours = urlsplit(url).netloc == self.endpoint.host
        verify = self.endpoint.verify
        secret = self._access.headers(scope) if ours else {}
        answer = self._http.request(
            method, url, headers, body, verify=verify, secret=secret, again=again
        )
        if answer.status == 401 and ours:
            answer.close()
            secret = self._access.answer(answer, scope)
            answer = self._http.request(
                method, url, headers, body, verify=verify, secret=secret, again=again
            )
        return answer

    def _location(self, answer: Answer) -> str:
        location = answer.header("Location")
        if not location:
            raise ImageError(f"{self.endpoint.host} does not say where to upload to")
        url = urljoin(answer.url, location)
        if url.startswith("http:") and self.endpoint.scheme == "https":
            raise ImageError(f"{self.endpoint.host} wants uploads without protection")
        return url

    def _expect(self, answer: Answer, statuses: tuple[int, ...], what: str) -> None:
        if answer.status in statuses:
            return
        status, text = answer.status, _complaint(answer)
        host = self.endpoint.host
        said = f": {text}" if text else ""
        if status == 401:
            raise self._access.refused()
        if status == 403:
            raise NotPermitted(f"{host} refuses {what}{said}", hint="`stackctl login` first?")
        if status == 404:
            raise NotFound(f"{host} does not have {what}{said}", hint="is the name right?")
        if status == 429:
            raise Unreachable(f"{host} has had too many requests{said}", hint="try again later")
        if status >= 500:
            raise Unreachable(f"{host} answers {status}{said}", hint="try again later")
        raise ImageError(f"{host} answers {status} for {what}{said}")


def reachable(
    make: Callable[[Endpoint], Repository],
    endpoints: Iterable[Endpoint],
    work: Callable[[Repository], object],
) -> Repository:
    """The first repository with which `work` succeeds; otherwise the last one's failure.

    A mirror that fails for whatever reason is passed over; a registry only when nobody
    speaks the scheme there (http on this machine, for example).
    """
    failure: StackctlError | None = None
    for endpoint in endpoints:
        repository = make(endpoint)
        try:
            work(repository)
        except Unreachable as error:
            failure = error
            continue
        except StackctlError as error:
            if not endpoint.mirror:
                raise
            failure = error
            continue
        return repository
    raise failure or ImageError("no registry is configured")


def _pieces(answer: Answer) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_BUFFER))
    with answer:
        while count := answer.readinto(buffer):
            yield buffer[:count]


def _tags(raw: bytes, host: str) -> list[str]:
    try:
        tags = json.loads(raw)["tags"] or []
        if all(isinstance(tag, str) for tag in tags):
            return list(tags)
    except (ValueError, RecursionError, TypeError, KeyError):
        pass
    raise ImageError(f"{host} lists tags in a form that is not known")


def _complaint(answer: Answer) -> str:
    """The registry's own words, if it has some."""
    try:
        errors = json.loads(answer.read(1 << 16))["errors"]
        return "; ".join(str(e.get("message") or e.get("code")) for e in errors)[:300]
    except (StackctlError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
