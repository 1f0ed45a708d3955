#!/usr/bin/env python3
"""server_loads.py PUNCHER LOAD: one rendezvous server under a load, while honest pairs meet. Prints the figures as one line of JSON.

Runs in a network namespace of its own. Attackers and honest peers have different addresses, in different networks (/24).
"""

import json
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

PUNCHER, LOAD = sys.argv[1:]
# How long each load lasts once all of it is there.
SECONDS = 8
SERVER = ("127.0.0.1", 7000)
ENDPOINTS = ["127.0.0.1:7000", "127.0.0.2:7001"]
FILLER = {"type": "relay", "body": {"text": "x" * 3900, "seal": "0" * 64}}
PROBE = {"type": "knock", "wait_ms": 8000}

stop = threading.Event()
held = []  # sockets of the attackers


def frame(message):
    body = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">H", len(body)) + body


def join(name, role="a"):
    return frame({"type": "join", "version": 1, "meeting": name, "role": role})


def attacker(network, receive=None):
    """A connection from one of the attackers' networks."""
    stream = socket.socket()
    if receive:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    stream.bind((f"127.{100 + network // 250}.{network % 250}.1", 0))
    stream.settimeout(5)
    stream.connect(SERVER)
    return stream


def send(stream, data):
    """Whether the server still takes it. What does not fit is dropped."""
    stream.setblocking(False)
    try:
        stream.send(data)
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True


def drain(stream):
    stream.setblocking(False)
    try:
        while not stop.is_set() and stream.recv(65536):
            pass
    except OSError:
        pass


def joined():
    """10,000 clients that have joined and wait, of 40 networks."""
    for number in range(10_000):
        stream = attacker(number // 250)
        stream.sendall(join(f"idle {number}"))
        held.append(stream)
        if number % 250 == 249:
            time.sleep(0.05)


# The server's SYNs to attackers vanish.
NO_ANSWER = """table ip silent {
  chain in {
    type filter hook input priority 0
    ip daddr 127.100.0.0/16 tcp flags & (syn | ack) == syn drop
  }
}"""


def knocks():
    """400 clients that ask for probes which nobody answers."""
    subprocess.run(["nft", "-f", "-"], input=NO_ANSWER, text=True, check=True)
    held.extend(attacker(number // 100) for number in range(400))


def knocking():
    for stream in held:
        send(stream, frame(PROBE))
        drain(stream)


def unread():
    """100 pairs, of which one side sends and the other never reads."""
    for number in range(100):
        sender, deaf = attacker(number // 20), attacker(number // 20, receive=2304)
        sender.sendall(join(f"deaf {number}"))
        deaf.sendall(join(f"deaf {number}", "b"))
        held.extend((sender, deaf))
    for sender in held[::2]:
        for _ in range(40):
            send(sender, frame(FILLER))


def halves():
    """3,000 clients that send one byte of a frame at a time."""
    held.extend(attacker(number // 250) for number in range(3000))


def halving():
    for stream in held:
        send(stream, b"\x0f")


def churning():
    """One client after the other connects, joins and leaves."""
    for network in range(100):
        try:
            stream = attacker(network % 20)
            stream.sendall(join(f"churn {network} {time.monotonic()}"))
            stream.recv(4096)
            stream.close()
        except OSError:
            pass


def flood():
    """50 pairs that send each other all they can."""
    for number in range(50):
        for role in "ab":
            stream = attacker(number // 10)
            stream.sendall(join(f"flood {number}", role))
            held.append(stream)


def flooding():
    for stream in held:
        send(stream, frame(FILLER))
        drain(stream)


def babbling():
    """Clients that say what is no request."""
    for number, words in enumerate([b"\xff\xff", b'\x00\x05{"ty', b"GET / HTTP/1.1\r\n\r\n", b"\x0f\xa0" + b"[" * 4000] * 25):
        try:
            stream = attacker(number % 20)
            stream.sendall(words)
            stream.close()
        except OSError:
            pass


# What happens once, and what is repeated until the end.
LOADS = {
    "joined": (joined, None),
    "full": (joined, None),
    "knocks": (knocks, knocking),
    "unread": (unread, None),
    "halves": (halves, halving),
    "churn": (None, churning),
    "flood": (flood, flooding),
    "babble": (None, babbling),
}
# Fewer places than clients; and as many descriptors as most hosts give.
OPTIONS = {"full": ["--max-connections=4000"]}
DESCRIPTORS = {"knocks": 1024}


class Server:
    def __init__(self, load):
        limit = DESCRIPTORS.get(load, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        listen = [word for endpoint in ENDPOINTS for word in ("--listen", endpoint)]
        command = ["prlimit", f"--nofile={limit}:{limit}", PUNCHER, "rendezvous", *listen, *OPTIONS.get(load, [])]
        self.limit = limit
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.process.stdout.readline()

    def metrics(self):
        self.process.send_signal(10)  # SIGUSR1
        return json.loads(self.process.stdout.readline())

    def memory(self):
        """The largest resident size so far, in KiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s*(\d+)", status.read())[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def queues():
    """Bytes in the kernel's send queues of the server."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(":1B58"))


def honest(name, key):
    """Whether a pair meets, and how long it takes with both programs' start."""
    began = time.monotonic()
    peers = []
    for role, address in (("a", "127.0.10.1"), ("b", "127.0.20.1")):
        where = [word for endpoint in ENDPOINTS for word in ("--rendezvous", endpoint)]
        who = ["--json", "--meeting", name, "--role", role, "--key-file", key, "--bind", f"{address}:0", "--patience", "5s"]
        peers.append(subprocess.Popen([PUNCHER, "connect", *where, *who], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    met = [peer.wait() == 0 for peer in peers]
    return all(met), time.monotonic() - began


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    key = os.path.join(tempfile.mkdtemp(), "key")
    subprocess.run([PUNCHER, "key", key], check=True)
    once, again = LOADS[LOAD]
    server = Server(LOAD)
    if once:
        once()

    def repeat():
        while not stop.is_set():
            again()
            stop.wait(0.01)

    repeating = threading.Thread(target=repeat)
    if again:
        repeating.start()
    pairs, queued, descriptors = [], queues(), 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pairs.append(honest(f"honest {len(pairs)}", key))
        queued, descriptors = max(queued, queues()), max(descriptors, server.descriptors())
        time.sleep(0.1)
    metrics, memory = server.metrics(), server.memory()
    stop.set()
    if again:
        repeating.join()
    # Whoever does not read is given up meanwhile, whatever else it does.
    deadline = time.monotonic() + 20
    while LOAD == "unread" and queues() > 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    figures = {
        "met": sum(met for met, _ in pairs),
        "of": len(pairs),
        "slowest_ms": int(max(took for _, took in pairs) * 1000),
        "connections": metrics["connections"],
        "memory_kib": memory,
        "queued": queued,
        "queued_later": queues(),
        "descriptors": descriptors,
        "limit": server.limit,
    }
    print(json.dumps(figures))
    server.process.kill()


main()
