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

# Blocked, or the kernel would drop them: this is pid 1, and it has no handler.
END = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, END)
signal.sigwait(END)
