"""Passes each request to the first worker that the name gives just now.

`/` answers with one worker's name, `/workers` with all addresses, a line each.
"""

import signal
import socket
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def workers():
    """Addresses in the order of the answer: gethostbyname_ex sorts nothing."""
    return socket.gethostbyname_ex("worker")[2]


class Front(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            addresses = workers()
            if self.path == "/workers":
                body = "".join(f"{address}\n" for address in addresses).encode()
            else:
                with urllib.request.urlopen(f"http://{addresses[0]}:8000", timeout=5) as answer:
                    body = answer.read()
            self.send_response(200)
        except OSError as problem:
            body = f"no worker answers: {problem}\n".encode()
            self.send_response(502)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("front: serving on port 8080")
ThreadingHTTPServer(("", 8080), Front).serve_forever()
