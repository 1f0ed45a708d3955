#!/usr/bin/env python3
"""A NAT of sockets: passt (the program that is also called pasta) carries across what comes from each network below.

One passt for each network, as there is one for each container or virtual machine. passt takes frames from a UNIX socket, so this
program passes frames between that and the device. The kernel of the node is kept from forwarding the same packets by an nft chain
at ingress.
"""
import os
import select
import socket
import struct
import subprocess
import sys
import time

LANS = os.environ["NAT_LAN_DEVICES"].split()
ETH_P_ALL, ARP = 3, b"\x08\x06"
# Nothing is listened for, and nothing is answered that a network of a lab does not ask.
OPTIONS = "--foreground --quiet --tcp-ports none --udp-ports none --no-map-gw --no-dhcp --no-dhcpv6 --no-ndp --no-ra --ipv4-only"


def take_from_kernel():
    """The kernel of the node forwards nothing any more: frames are read before the hook. ARP stays its own."""
    chains = "".join(
        f'chain of_{device} {{ type filter hook ingress device "{device}" priority 0; ether type ip drop; }}\n' for device in LANS
    )
    subprocess.run(["nft", "-f", "-"], input=f"table netdev past {{\n{chains}}}\n", text=True, check=True)


class Network:
    """A network below, and the passt that carries its connections across."""

    def __init__(self, device):
        path = f"/tmp/passt-{device}"
        self.passt = subprocess.Popen(["passt", "--socket", path, *OPTIONS.split()], stdout=sys.stderr)
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.tap.bind((device, ETH_P_ALL))
        self.socket, self.rest = socket.socket(socket.AF_UNIX), b""
        deadline = time.monotonic() + 3
        while self.socket.connect_ex(path) != 0:
            if self.passt.poll() is not None or time.monotonic() > deadline:
                sys.exit("passt does not start")
            time.sleep(0.01)

    def from_host(self):
        frame, (_, _, kind, *_) = self.tap.recvfrom(65536)
        if kind == socket.PACKET_HOST and frame[12:14] != ARP:
            self.socket.sendall(struct.pack("!I", len(frame)) + frame)

    def from_passt(self):
        data = self.socket.recv(1 << 20)
        if not data:
            sys.exit("passt has ended")
        self.rest += data
        while len(self.rest) >= 4:
            end = 4 + struct.unpack("!I", self.rest[:4])[0]
            if len(self.rest) < end:
                break
            frame, self.rest = self.rest[4:end], self.rest[end:]
            if frame[12:14] != ARP:
                self.tap.send(frame)


def main():
    take_from_kernel()
    networks = [Network(device) for device in LANS]
    ready = {network.tap: network.from_host for network in networks}
    ready |= {network.socket: network.from_passt for network in networks}
    print("ready", flush=True)
    while True:
        for source in select.select(list(ready), [], [])[0]:
            ready[source]()


main()
