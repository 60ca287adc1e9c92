"""Asks the engine at a socket to leave, and waits until it has closed the connection.

Usage: leave.py SOCKET. Nobody there is fine: an engine leaves by itself, too.
"""

import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(15)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(
            b"POST /stackctl/v1/shutdown HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        while connection.recv(4096):
            pass
    except OSError:
        pass
