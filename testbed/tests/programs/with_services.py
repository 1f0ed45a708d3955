#!/usr/bin/env python3
"""Services that answer, and a peer that asks both of them.

usage: with_services.py udp IP | tcp IP | ask UDP_IP TCP_IP
"""

import socket
import sys


def echo(ip):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ip, 3478))
    while True:
        data, peer = server.recvfrom(1500)
        server.sendto(data, peer)


def greet(ip):
    server = socket.create_server((ip, 5349))
    print("ready", flush=True)
    while True:
        stream, _ = server.accept()
        stream.sendall(b"welcome\n")
        stream.close()


def ask(udp_ip, tcp_ip):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.sendto(b"who am I", (udp_ip, 3478))
    assert client.recv(1500) == b"who am I"
    with socket.create_connection((tcp_ip, 5349), timeout=5) as stream:
        assert stream.recv(100) == b"welcome\n"


{"udp": echo, "tcp": greet, "ask": ask}[sys.argv[1]](*sys.argv[2:])
