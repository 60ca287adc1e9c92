"""The stock of books as JSON, for the back network only."""

import json
import signal
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stock(BaseHTTPRequestHandler):
    def do_GET(self):
        # immutable: the volume is mounted read-only here, SQLite can take no lock.
        connection = sqlite3.connect("file:/var/lib/stock/books.db?immutable=1", uri=True)
        rows = connection.execute("select title, year from books order by year").fetchall()
        connection.close()
        body = json.dumps([{"title": title, "year": year} for title, year in rows]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# Pid 1 of a container dies of no signal that it does not handle.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("stock: serving on port 8000")
ThreadingHTTPServer(("", 8000), Stock).serve_forever()
