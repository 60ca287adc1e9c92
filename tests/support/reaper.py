"""What testcontainers' reaper does, for a container that has the engine's socket.

It listens on 8080; every line that comes is a filter ("label=key=value&..."), answered with
ACK. Once who connected is gone, everything that a filter finds is removed: containers
with their volumes, networks, volumes, images. Run as a program, inside; needs nothing but
Python.
"""

import contextlib
import http.client
import json
import socket
import socketserver
import sys
import threading
from urllib.parse import quote, unquote

SOCKET = "/var/run/docker.sock"
PORT = 8080


class Engine(http.client.HTTPConnection):
    """One request each, as clients that pool connections do in the worst case."""

    def __init__(self) -> None:
        super().__init__("localhost", timeout=60)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def ask(method: str, path: str):
    engine = Engine()
    try:
        engine.request(method, path)
        answer = engine.getresponse()
        text = answer.read()
        if answer.status >= 400 and answer.status not in (404, 409):
            raise OSError(f"{method} {path}: {answer.status} {text!r}")
        return json.loads(text) if text else None
    finally:
        engine.close()


def filters(line: str) -> str:
    """`label=a=b&label=c` -> {"label": {"a=b": true, "c": true}}, as the reaper's client has it."""
    found: dict[str, dict[str, bool]] = {}
    for part in line.split("&"):
        name, _, value = part.partition("=")
        found.setdefault(unquote(name), {})[unquote(value)] = True
    return quote(json.dumps(found))


def reap(line: str) -> None:
    chosen = filters(line)
    for each in ask("GET", f"/v1.44/containers/json?all=1&filters={chosen}"):
        ask("DELETE", f"/v1.44/containers/{each['Id']}?force=1&v=1")
    for each in ask("GET", f"/v1.44/networks?filters={chosen}"):
        ask("DELETE", f"/v1.44/networks/{each['Id']}")
    for each in ask("GET", f"/v1.44/volumes?filters={chosen}")["Volumes"] or ():
        ask("DELETE", f"/v1.44/volumes/{each['Name']}?force=1")
    for each in ask("GET", f"/v1.44/images/json?filters={chosen}"):
        ask("DELETE", f"/v1.44/images/{quote(each['Id'])}?force=1")


class Client(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        lines = []
        # Who is killed resets the connection, with our last ACK unread.
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                lines.append(line.decode().strip())
                self.wfile.write(b"ACK\n")
        try:
            for each in lines:
                reap(each)
        finally:
            threading.Thread(target=self.server.shutdown, daemon=True).start()


def main() -> int:
    ask("HEAD", "/_ping")
    with socketserver.ThreadingTCPServer(("", PORT), Client) as server:
        print("Started!", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
