"""A small shop: products and orders in PostgreSQL, a counter of visits in Redis.

GET  /           products, orders and visits as JSON
POST /orders     body: a product's name; places an order
GET  /healthz    200 when database and cache answer
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import redis

cache = redis.Redis(host=os.environ["REDIS_HOST"], socket_timeout=5)


def query(text, values=()):
    """Runs one statement in a transaction of its own; gives the rows, if there are any."""
    connection = psycopg2.connect("")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def overview():
    products = query("select name, cents from products order by name")
    orders = query("select count(*) from orders")[0][0]
    return {
        "products": [{"name": name, "cents": cents} for name, cents in products],
        "orders": orders,
        "visits": cache.incr("visits"),
    }


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            query("select 1")
            cache.ping()
            self.reply(200, {"healthy": True})
        elif self.path == "/":
            self.reply(200, overview())
        else:
            self.reply(404, {"error": "no such page"})

    def do_POST(self):
        name = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        rows = query(
            "insert into orders (product) select id from products where name = %s returning id",
            [name],
        )
        if rows:
            print(f"app: order {rows[0][0]} for {name}")
            self.reply(201, {"order": rows[0][0]})
        else:
            self.reply(404, {"error": f"no product is called {name}"})

    def reply(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Health probes would fill the log."""


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("app: serving on port 8000")
ThreadingHTTPServer(("", 8000), Shop).serve_forever()
