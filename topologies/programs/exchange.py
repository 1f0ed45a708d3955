#!/usr/bin/env python3
"""A rendezvous server for two peers: tells each what the other sent, and from which endpoint it came.

usage: exchange.py IP PORT

A client sends one line and half-closes nothing; once both have, each gets a line: its own observed endpoint, the other's, and
what the other sent. The connections stay open, so that the mappings that they made live on.
"""

import socket
import sys
import threading


def read_line(stream):
    text = b""
    while not text.endswith(b"\n"):
        more = stream.recv(65536)
        if not more:
            return None
        text += more
    return text.strip().decode()


def endpoint(address):
    return f"{address[0]}:{address[1]}"


def main():
    server = socket.create_server((sys.argv[1], int(sys.argv[2])))
    waiting, lock = [], threading.Lock()

    def serve(stream, address):
        line = read_line(stream)
        if line is None:
            return
        with lock:
            waiting.append((stream, address, line))
            if len(waiting) < 2:
                return
            one, other = waiting.pop(0), waiting.pop(0)
        for (mine, own, _), (_, remote, said) in ((one, other), (other, one)):
            mine.sendall(f"{endpoint(own)} {endpoint(remote)} {said}\n".encode())

    kept = []
    while True:
        stream, address = server.accept()
        kept.append(stream)
        threading.Thread(target=serve, args=(stream, address), daemon=True).start()


main()
