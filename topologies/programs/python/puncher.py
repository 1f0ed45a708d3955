#!/usr/bin/env python3
"""A plain pair in Python: each learns from a server how its local port looks from outside, and dials the other's from there.

usage: puncher.py LOCAL_IP LOCAL_PORT SERVER_IP SERVER_PORT

Exits 0 once a line has gone both ways over the direct connection, and 1 when there was none.
"""

import select
import socket
import sys
import time

PATIENCE_S = 2.0


def bound(local):
    """A socket on the local port, which may have several: Linux allows that if all of them say SO_REUSEADDR and none listens."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(local)
    return one


def meet(local, server):
    """Returns the connection to the server, to be kept open, and where the peer was seen."""
    stream = bound(local)
    stream.settimeout(PATIENCE_S)
    stream.connect(server)
    stream.sendall(b"here\n")
    text = b""
    while not text.endswith(b"\n"):
        more = stream.recv(4096)
        if not more:
            raise OSError("the server ended the connection")
        text += more
    ip, port = text.split()[1].decode().rsplit(":", 1)
    return stream, (ip, int(port))


def punch(local, remote):
    """Dials again whenever it is refused."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        dialler = bound(local)
        dialler.setblocking(False)
        dialler.connect_ex(remote)
        _, writable, _ = select.select([], [dialler], [], max(0, end - time.monotonic()))
        if writable and dialler.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            dialler.settimeout(PATIENCE_S)
            return dialler
        dialler.close()
    return None


def main():
    local_ip, local_port, server_ip, server_port = sys.argv[1:]
    local = (local_ip, int(local_port))
    server, remote = meet(local, (server_ip, int(server_port)))
    stream = punch(local, remote)
    if stream is None:
        return 1
    stream.sendall(b"hello\n")
    answer = stream.recv(6)
    stream.shutdown(socket.SHUT_WR)
    done = answer == b"hello\n" and stream.recv(1) == b""
    server.close()
    return 0 if done else 1


try:
    sys.exit(main())
except OSError as why:
    sys.exit(f"puncher.py: {why}")
