"""The gateway: on both networks, shows the stock as a page and as JSON."""

import html
import json
import os
import signal
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM = os.environ["UPSTREAM"]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>books</title>
<h1>{count} books</h1>
<ul>
{rows}
</ul>
</html>
"""


class Gateway(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with urllib.request.urlopen(UPSTREAM, timeout=5) as answer:
                raw = answer.read()
        except OSError as problem:
            self.reply(502, "text/plain", f"the stock does not answer: {problem}\n".encode())
            return
        if self.path == "/books.json":
            self.reply(200, "application/json", raw)
            return
        books = json.loads(raw)
        rows = "\n".join(f"<li>{html.escape(b['title'])}, {b['year']}</li>" for b in books)
        page = PAGE.format(count=len(books), rows=rows)
        self.reply(200, "text/html; charset=utf-8", page.encode())

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("gateway: serving on port 8080")
ThreadingHTTPServer(("", 8080), Gateway).serve_forever()
