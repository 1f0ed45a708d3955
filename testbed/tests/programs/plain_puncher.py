#!/usr/bin/env python3
"""A punching program that knows nothing of testbed's own puncher: it binds, waits for the agreed start, and connects.

usage: plain_puncher.py LOCAL_IP LOCAL_PORT PEER_IP PEER_PORT START_IN_MS

It exits 0 once a line has gone both ways over the direct connection, and 1 when there was none.
"""

import select
import socket
import sys
import time

PATIENCE_S = 2.0


def punch(local, remote, start):
    """A simultaneous open: one socket to the peer's expected endpoint, dialled again whenever it is refused."""
    while time.monotonic() < start + PATIENCE_S:
        dialler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        dialler.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        dialler.bind(local)
        dialler.setblocking(False)
        dialler.connect_ex(remote)
        _, writable, _ = select.select([], [dialler], [], start + PATIENCE_S - time.monotonic())
        if writable and dialler.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            dialler.setblocking(True)
            dialler.settimeout(PATIENCE_S)
            return dialler
        dialler.close()
    return None


def main():
    local_ip, local_port, peer_ip, peer_port, start_in_ms = sys.argv[1:]
    start = time.monotonic() + int(start_in_ms) / 1000
    time.sleep(max(0.0, start - time.monotonic()))
    stream = punch((local_ip, int(local_port)), (peer_ip, int(peer_port)), start)
    if stream is None:
        return 1
    stream.sendall(b"hello\n")
    answer = stream.recv(6)
    stream.shutdown(socket.SHUT_WR)
    return 0 if answer == b"hello\n" and stream.recv(1) == b"" else 1


sys.exit(main())
