#!/usr/bin/env python3
"""A peer that does what its script says: for tests that provoke one outcome.

usage: actor.py SCRIPT_A SCRIPT_B ROLE LOCAL_IP LOCAL_PORT PEER_IP PEER_PORT START_IN_MS

A script is steps between semicolons:

  at MS                  wait until so long after the agreed start
  dial [KEY=VALUE ...]   begin to connect to the peer's expected endpoint, and go on; from=N and port=N are added to the
                         own and the peer's port, count=N dials from as many ports, minttl=N has the host ignore what
                         has fewer hops left, server=PORT dials the core instead,
                         private=1 a host of a private network that is not there
  listen [backlog=N]     take connections on the own port, and let N + 1 wait that nobody takes
  fill                   let a connection of the own host wait there
  close                  close all sockets
  talk                   wait for a connection and exchange a line over it
  burn MS                keep all processors busy for so long
  pass, fail             exit with 0 or 1
  hang                   never exit
  crash                  end by a signal
"""

import os
import select
import signal
import socket
import sys
import time

IP_MINTTL = 21
SERVER = "203.0.113.1"
PATIENCE_S = 10.0
BURNING = 40


class Actor:
    def __init__(self, local, remote, start):
        self.local, self.remote, self.start = local, remote, start
        self.sockets, self.listeners = [], []

    def at(self, ms):
        time.sleep(max(0.0, self.start + int(ms) / 1000 - time.monotonic()))

    def bound(self, offset):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((self.local[0], self.local[1] + offset))
        sock.setblocking(False)
        return sock

    def dial(self, *words):
        options = {key: int(value) for key, value in (word.split("=") for word in words)}
        first = options.get("from", 0)
        for offset in range(first, first + options.get("count", 1)):
            sock = self.bound(offset)
            if "minttl" in options:
                sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, options["minttl"])
            remote = (self.remote[0], self.remote[1] + options.get("port", 0))
            if "server" in options:
                remote = (SERVER, options["server"])
            if "private" in options:
                remote = ("10.99.0.2", remote[1])
            sock.connect_ex(remote)
            self.sockets.append(sock)

    def listen(self, backlog="backlog=100"):
        sock = self.bound(0)
        sock.listen(int(backlog.partition("=")[2]))
        self.listeners.append(sock)

    def fill(self):
        self.sockets.append(socket.create_connection(self.local, PATIENCE_S))

    def close(self):
        for sock in self.sockets + self.listeners:
            sock.close()
        self.sockets, self.listeners = [], []

    def talk(self):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            left = max(0, deadline - time.monotonic())
            readable, writable, _ = select.select(self.listeners, self.sockets, [], left)
            for listener in readable:
                self.sockets.append(listener.accept()[0])
            for sock in writable:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return self.exchange(sock)
                self.sockets.remove(sock)
        sys.exit(1)

    @staticmethod
    def exchange(sock):
        sock.setblocking(True)
        sock.settimeout(PATIENCE_S)
        sock.sendall(b"hello\n")
        if sock.recv(6) != b"hello\n":
            sys.exit(1)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)

    @staticmethod
    def burn(ms):
        end = time.monotonic() + int(ms) / 1000
        children = []
        for _ in range(BURNING):
            pid = os.fork()
            if pid == 0:
                break
            children.append(pid)
        while time.monotonic() < end:
            pass
        if pid == 0:
            os._exit(0)
        for child in children:
            os.waitpid(child, 0)

    def act(self, step):
        verb, *words = step.split()
        match verb:
            case "pass":
                sys.exit(0)
            case "fail":
                sys.exit(1)
            case "hang":
                signal.pause()
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case _:
                getattr(self, verb)(*words)


def age_s():
    """How long ago this process was started: what it took to get here is no part of the wait for the start."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main():
    script_a, script_b, role, local_ip, local_port, peer_ip, peer_port, start_in_ms = sys.argv[1:]
    start = time.monotonic() - age_s() + int(start_in_ms) / 1000
    actor = Actor((local_ip, int(local_port)), (peer_ip, int(peer_port)), start)
    for step in (script_a if role == "a" else script_b).split(";"):
        if step.strip():
            actor.act(step)


main()
