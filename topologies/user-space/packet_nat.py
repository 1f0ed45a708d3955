#!/usr/bin/env python3
"""A NAT past connection tracking: rewrites each TCP packet by itself. packet_nat.py [SYN-SECONDS ESTABLISHED-SECONDS]

Endpoint-independent mapping that keeps the source port, address-and-port-dependent filtering, silence to what nobody asked for. The
two times say how long an idle connection is remembered that only its SYN has begun, and one that was answered. ICMP errors are
translated as RFC 5508 asks. The kernel of the node is kept from forwarding the same packets by an nft chain at ingress.
"""
import os
import select
import socket
import struct
import subprocess
import sys
import time

WAN, WAN_DEVICE = os.environ["NAT_WAN_ADDRESS"], os.environ["NAT_WAN_DEVICE"]
LANS = os.environ["NAT_LAN_DEVICES"].split()
OUTER = socket.inet_aton(WAN)
ETH_P_ALL, ETH_P_IP = 3, 0x0800
SOL_PACKET, PACKET_VNET_HDR, OFFLOAD, ETHERNET = 263, 15, 10, 14
# How a packet is cut into segments later: not at all.
NO_SEGMENTS = (0, 0)
FIN, SYN, RST, ACK = 1, 2, 4, 16
UNREACHABLE, EXCEEDED = 3, 11
OPENING, STANDING = (float(word) for word in (sys.argv[1:] or ["120", "432000"]))
# How long a connection is remembered that was reset, or that both ends have closed.
CLOSED = 10.0


def inside_network(device):
    address, prefix = os.environ[f"NAT_{device.upper()}_NETWORK"].split("/")
    bits = int(prefix)
    return int.from_bytes(socket.inet_aton(address), "big") >> (32 - bits), 32 - bits


NETWORKS = [inside_network(device) for device in LANS]


def is_inside(address):
    number = int.from_bytes(address, "big")
    return any(number >> shift == network for network, shift in NETWORKS)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def default_gateway():
    """The address of the default route's gateway, as /proc/net/route has it."""
    with open("/proc/net/route", encoding="ascii") as routes:
        for line in routes:
            fields = line.split()
            if fields[1] == "00000000":
                return socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
    sys.exit("there is no default route")


def neighbours():
    """The MAC address of each neighbour that the node knows."""
    with open("/proc/net/arp", encoding="ascii") as entries:
        fields = [line.split() for line in entries][1:]
    return {entry[0]: bytes.fromhex(entry[3].replace(":", "")) for entry in fields}


class Connection:
    def __init__(self, inside, remote, port):
        self.inside, self.remote, self.port = inside, remote, port
        self.answered, self.closed = False, 0
        self.dies = time.monotonic() + OPENING

    def saw(self, flags, from_outside):
        self.answered |= from_outside
        if flags & RST and not self.answered_before(from_outside):
            self.dies = 0
            return
        if flags & FIN:
            self.closed |= 2 if from_outside else 1
        if flags & RST or self.closed == 3:
            self.dies = time.monotonic() + CLOSED
        elif flags & SYN:
            self.dies = max(self.dies, time.monotonic() + OPENING)
        else:
            self.dies = time.monotonic() + (STANDING if self.answered else OPENING)
        self.stands |= from_outside and not flags & RST

    stands = False

    def answered_before(self, from_outside):
        """Whether anything but a reset ever came back."""
        return self.stands


class Nat:
    def __init__(self):
        self.by_inside, self.by_port, self.ports = {}, {}, {}
        self.taps, self.hosts, self.gateway = {}, {}, neighbours().get(default_gateway())

    def send(self, packet, segments=NO_SEGMENTS, to_checksum=False):
        """Sends an IPv4 packet the way its destination asks for; the kernel completes the checksum of TCP, and cuts large segments."""
        device, there = self.hosts.get(bytes(packet[16:20]), (WAN_DEVICE, self.gateway))
        packet, header = bytearray(packet), (packet[0] & 15) * 4
        packet[10:12] = b"\0\0"
        packet[10:12] = struct.pack("!H", checksum(bytes(packet[:header])))
        tap, here = self.taps[device]
        start = ETHERNET + header if to_checksum else 0
        offload = struct.pack("=BBHHHH", to_checksum, segments[0], start and start + 20, segments[1], start, 16 if start else 0)
        try:
            tap.send(offload + there + here + b"\x08\x00" + packet)
        except OSError as error:
            print(f"cannot send: {error}", file=sys.stderr)

    def known(self, table, key):
        connection = table.get(key)
        if connection and connection.dies < time.monotonic():
            self.forget(connection)
            return None
        return connection

    def forget(self, connection):
        self.by_inside.pop((connection.inside, connection.remote), None)
        self.by_port.pop((connection.port, connection.remote), None)

    def port_for(self, inside, remote):
        """The port that the inside endpoint has, its own, or the next that is free towards the remote endpoint."""
        first = self.ports.get(inside, inside[1])
        for port in [first, inside[1], *range(1024, 65536)]:
            if not self.known(self.by_port, (port, remote)):
                return port
        return None

    def leaves(self, packet, segments):
        header = (packet[0] & 15) * 4
        if packet[9] != socket.IPPROTO_TCP or packet[16:20] == OUTER or is_inside(packet[16:20]):
            return
        if packet[8] <= 1:
            self.exceeded(packet)
            return
        ports = struct.unpack("!HH", packet[header:header + 4])
        flags = packet[header + 13]
        inside, remote = (packet[12:16], ports[0]), (packet[16:20], ports[1])
        connection = self.known(self.by_inside, (inside, remote))
        if not connection:
            port = self.port_for(inside, remote) if flags & (SYN | ACK | RST) == SYN else None
            if port is None:
                return
            connection = Connection(inside, remote, port)
            self.by_inside[(inside, remote)] = self.by_port[(port, remote)] = connection
            self.ports[inside] = port
        self.forward(packet, segments, source=(OUTER, connection.port))
        connection.saw(flags, False)

    def comes(self, packet, segments):
        header = (packet[0] & 15) * 4
        if packet[16:20] != OUTER or packet[8] <= 1:
            return
        if packet[9] == socket.IPPROTO_ICMP:
            self.error(packet, header)
        elif packet[9] == socket.IPPROTO_TCP:
            ports = struct.unpack("!HH", packet[header:header + 4])
            connection = self.known(self.by_port, (ports[1], (packet[12:16], ports[0])))
            if connection:
                self.forward(packet, segments, destination=connection.inside)
                connection.saw(packet[header + 13], True)

    def forward(self, packet, segments, source=None, destination=None):
        header = (packet[0] & 15) * 4
        length = struct.unpack("!H", packet[2:4])[0]
        packet = bytearray(packet[:length])
        packet[8] -= 1
        if source:
            packet[12:16], packet[header:header + 2] = source[0], struct.pack("!H", source[1])
        if destination:
            packet[16:20], packet[header + 2:header + 4] = destination[0], struct.pack("!H", destination[1])
        pseudo = bytes(packet[12:20]) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, length - header)
        packet[header + 16:header + 18] = struct.pack("!H", ~checksum(pseudo) & 0xFFFF)
        self.send(packet, segments, to_checksum=True)

    def error(self, packet, header):
        """An ICMP error about a packet of ours goes to the host that sent it (RFC 5508, REQ-4)."""
        quoted = bytearray(packet[header + 8:])
        if packet[header] not in (UNREACHABLE, EXCEEDED) or len(quoted) < 28 or quoted[9] != socket.IPPROTO_TCP:
            return
        start = (quoted[0] & 15) * 4
        ports = struct.unpack("!HH", quoted[start:start + 4])
        connection = self.known(self.by_port, (ports[0], (bytes(quoted[16:20]), ports[1])))
        if not connection or bytes(quoted[12:16]) != OUTER:
            return
        address, port = connection.inside
        quoted[12:16], quoted[start:start + 2] = address, struct.pack("!H", port)
        quoted[10:12] = b"\0\0"
        quoted[10:12] = struct.pack("!H", checksum(bytes(quoted[:start])))
        message = bytearray(packet[header:header + 8] + quoted)
        message[2:4] = b"\0\0"
        message[2:4] = struct.pack("!H", checksum(bytes(message)))
        outer = bytearray(packet[:header])
        outer[8] -= 1
        outer[16:20] = address
        self.send(bytes(outer + message))

    def exceeded(self, packet):
        header = (packet[0] & 15) * 4
        message = struct.pack("!BBHI", EXCEEDED, 0, 0, 0) + packet[:header + 8]
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        outer = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, socket.IPPROTO_ICMP, 0, OUTER, packet[12:16])
        self.send(outer + message)


def take_from_kernel():
    """The kernel of the node sees no TCP and no ICMP any more: packets are read before the hook."""
    chains = "".join(
        f'chain of_{device} {{ type filter hook ingress device "{device}" priority 0; ip protocol {{ tcp, icmp }} drop; }}\n'
        for device in [WAN_DEVICE, *LANS]
    )
    subprocess.run(["nft", "-f", "-"], input=f"table netdev past {{\n{chains}}}\n", text=True, check=True)


def main():
    nat = Nat()
    for device in [WAN_DEVICE, *LANS]:
        # What is read before the hook is read by those who ask for all protocols.
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        tap.bind((device, ETH_P_ALL))
        nat.taps[device] = (tap, tap.getsockname()[4])
    devices = {tap: device for device, (tap, _) in nat.taps.items()}
    take_from_kernel()
    print("ready", flush=True)
    while True:
        for tap in select.select(list(devices), [], [])[0]:
            data, (device, protocol, kind, *_) = tap.recvfrom(1 << 17)
            packet = data[OFFLOAD + ETHERNET:]
            if protocol != ETH_P_IP or kind != socket.PACKET_HOST or len(packet) < 40:
                continue
            _, cut, _, size, _, _ = struct.unpack("=BBHHHH", data[:OFFLOAD])
            if device == WAN_DEVICE:
                nat.comes(packet, (cut, size))
            else:
                nat.hosts[packet[12:16]] = (device, data[OFFLOAD + 6:OFFLOAD + 12])
                nat.leaves(packet, (cut, size))


main()
