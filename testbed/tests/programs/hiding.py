#!/usr/bin/env python3
"""A punching program that fails on purpose one time in five: quietly, or while it keeps every processor busy.

usage: hiding.py quiet|burning ROLE LOCAL_IP LOCAL_PORT PEER_IP PEER_PORT START_IN_MS SEED

It exits 0 once a line has gone both ways over the direct connection, and 1 when there was none.
"""

import os
import random
import select
import socket
import sys
import time

PATIENCE_S = 2.0


def fail(way, local, remote):
    """Sends one packet, so that it is seen to have run, and gives up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((local[0], 0))
        out.sendto(b"x", remote)
    if way == "burning":
        for _ in range(40):
            if os.fork() == 0:
                end = time.monotonic() + PATIENCE_S
                while time.monotonic() < end:
                    pass
                os._exit(0)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            pass
    sys.exit(1)


def punch(local, remote, end):
    """A simultaneous open, dialled again whenever it is refused."""
    while time.monotonic() < end:
        dialler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        dialler.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        dialler.bind(local)
        dialler.setblocking(False)
        dialler.connect_ex(remote)
        _, writable, _ = select.select([], [dialler], [], max(0, end - time.monotonic()))
        if writable and dialler.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            dialler.setblocking(True)
            dialler.settimeout(PATIENCE_S)
            return dialler
        dialler.close()
    sys.exit(1)


def main():
    way, role, local_ip, local_port, peer_ip, peer_port, start_in_ms, seed = sys.argv[1:]
    local, remote = (local_ip, int(local_port)), (peer_ip, int(peer_port))
    time.sleep(int(start_in_ms) / 1000)
    if role == "a" and random.Random(seed).random() < 0.2:
        fail(way, local, remote)
    stream = punch(local, remote, time.monotonic() + PATIENCE_S)
    stream.sendall(b"hello\n")
    if stream.recv(6) != b"hello\n":
        sys.exit(1)
    stream.shutdown(socket.SHUT_WR)
    stream.recv(1)


main()
