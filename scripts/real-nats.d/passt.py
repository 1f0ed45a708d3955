#!/usr/bin/env python3
"""Asks passt, a NAT in user space, how it maps connections: passt.py SOCKET NEAR FAR.

SOCKET is passt's UNIX socket, on which this program stands in for the virtual machine. NEAR and FAR are the two ends of the
only way out of the namespace. Prints one line for each SYN from the machine, and one for each SYN from outside.
"""
import select
import socket
import struct
import subprocess
import sys
import time

GUEST = "192.0.2.2"
GUEST_MAC, FAR_MAC = b"\x02\0\0\0\0\x09", b"\x02\0\0\0\0\x01"
WAIT = 0.25
SYN, ACK = 2, 16
NAMES = {2: "SYN", 4: "RST", 16: "ACK", 18: "SYN/ACK", 20: "RST/ACK"}


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(source, destination, number):
    """An IPv4 packet with a SYN."""
    (src, sport), (dst, dport) = source, destination
    src, dst = socket.inet_aton(src), socket.inet_aton(dst)
    tcp = struct.pack("!HHIIBBHHH", sport, dport, number, 0, 6 << 4, SYN, 65535, 0, 0) + b"\x02\x04\x05\xb4"
    pseudo = src + dst + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, src, dst)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def segments(far, machine):
    """What comes out at the far end for a while: source, destination, sequence number and flags of each segment."""
    end = time.monotonic() + WAIT
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([far, machine], [], [], left)
        if machine in ready:
            machine.recv(65536)
        if far in ready:
            packet = far.recv(2000)
            if packet[12:14] == b"\x08\0" and packet[23] == 6:
                packet = packet[14:]
                sport, dport, number = struct.unpack("!HHI", packet[20:28])
                ends = (socket.inet_ntoa(packet[12:16]), sport), (socket.inet_ntoa(packet[16:20]), dport)
                yield *ends, number, packet[33]


def main():
    path, near_name, far_name = sys.argv[1:]
    far = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    far.bind((far_name, 0))
    machine = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 5
    while machine.connect_ex(path) != 0:
        if time.monotonic() > deadline:
            sys.exit("passt.py: cannot connect to " + path)
        time.sleep(0.05)
    one, two = "198.51.100.1", "198.51.100.2"
    flows = [(5000, (one, 7000)), (5000, (one, 7001)), (5000, (two, 7000)), (5000, (two, 7001))]
    flows += [(6000 + n, (one, 7000)) for n in range(8)]
    external = None
    for n, (port, remote) in enumerate(flows):
        number = 0x11110000 + n
        frame = b"\xff" * 6 + GUEST_MAC + b"\x08\0" + syn((GUEST, port), remote, number)
        machine.sendall(struct.pack("!I", len(frame)) + frame)
        out = [s for s in segments(far, machine) if s[1] == remote and s[3] & (SYN | ACK) == SYN]
        if not out:
            print(f"from {port} to {remote[0]}:{remote[1]}: nothing comes out")
            continue
        external = out[0][0]
        kept = "the same" if out[0][2] == number else "another"
        print(f"from {port} to {remote[0]}:{remote[1]}: port {external[1]}, {kept} sequence number")
    link = subprocess.check_output(["ip", "-o", "link", "show", near_name], text=True)
    near_mac = bytes.fromhex(link.split("link/ether ")[1].split()[0].replace(":", ""))
    strangers = [("the endpoint that was dialled", flows[-1][1]), ("another port of it", (one, 7009)), ("another address", (two, 7000))]
    for who, source in strangers if external else []:
        far.send(near_mac + FAR_MAC + b"\x08\0" + syn(source, external, 77))
        answers = [NAMES.get(s[3], hex(s[3])) for s in segments(far, machine) if s[0] == external and s[1] == source]
        print(f"a SYN from {who}: {', '.join(answers) or 'silence'}")


main()
