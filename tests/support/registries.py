"""A registry of the tests' own: small, in this process, and as faulty as a test wants it."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.tars import gz

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FakeRegistry:
    """What it has by path, what it was asked, and how it misbehaves."""

    address: str = ""
    content: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    #: Called with each request first: True when it has answered itself.
    meddle: Callable[[BaseHTTPRequestHandler, Request], bool] = lambda handler, request: False

    def add_blob(self, raw: bytes) -> dict[str, Any]:
        found = digest(raw)
        self.content[f"/v2/app/blobs/{found}"] = (raw, "application/octet-stream")
        return {"digest": found, "size": len(raw)}

    def add_manifest(self, document: dict[str, Any], tag: str, kind: str = MANIFEST) -> str:
        raw = json.dumps(document).encode()
        for name in (tag, digest(raw)):
            self.content[f"/v2/app/manifests/{name}"] = (raw, kind)
        return digest(raw)

    def add_image(self, *tars: bytes, tag: str = "1", **config: Any) -> str:
        """An image of gzip layers; the manifest's digest."""
        layers = []
        for raw in tars:
            kind = "application/vnd.oci.image.layer.v1.tar+gzip"
            layers.append({**self.add_blob(gz(raw)), "mediaType": kind})
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(raw) for raw in tars]},
        }
        described = self.add_blob(json.dumps(document).encode())
        described["mediaType"] = "application/vnd.oci.image.config.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described}
        return self.add_manifest({**manifest, "layers": layers}, tag)

    def name(self, tag: str = "1") -> str:
        return f"{self.address}/app:{tag}"

    def asked(self, method: str, part: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and part in r.path]


@contextmanager
def fake_registry(tls: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
    """On 127.0.0.1, a port of its own; with `tls` it speaks https."""
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request = Request(
                self.command, self.path, {k.lower(): v for k, v in self.headers.items()}
            )
            registry.requests.append(request)
            if registry.meddle(self, request):
                return
            found = registry.content.get(self.path)
            if found is None:
                answer(self, 404, b'{"errors":[{"message":"unknown"}]}')
                return
            raw, kind = found
            headers = {"Content-Type": kind, "Docker-Content-Digest": digest(raw)}
            begin = request.headers.get("range", "")
            if begin:
                at = int(begin.removeprefix("bytes=").rstrip("-"))
                headers["Content-Range"] = f"bytes {at}-{len(raw) - 1}/{len(raw)}"
                answer(self, 206, raw[at:], headers)
            else:
                answer(self, 200, raw, headers)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    registry.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(
    handler: BaseHTTPRequestHandler,
    status: int,
    raw: bytes = b"",
    headers: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for key, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
        handler.send_header(key, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(raw)


def break_off(handler: BaseHTTPRequestHandler, raw: bytes, sent: int) -> None:
    """Promise all of it, send a part, hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw[:sent])
    handler.wfile.flush()
    handler.connection.close()
    handler.close_connection = True
