"""A client on the front network: reads through the gateway, cannot see the stock."""

import json
import signal
import socket
import urllib.request

with urllib.request.urlopen("http://gateway:8080/books.json", timeout=10) as answer:
    print(f"reader: {len(json.load(answer))} books through the gateway")
try:
    address = socket.gethostbyname("stock")
    print(f"reader: the stock is at {address}, which it should not be")
except OSError as problem:
    print(f"reader: no way to the stock ({problem.strerror or problem})")

signal.sigwait({signal.SIGTERM, signal.SIGINT})
