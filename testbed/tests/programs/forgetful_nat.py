#!/usr/bin/env python3
"""A NAT that keeps ports, and has connection tracking forget everything every three seconds."""

import os
import socket
import struct
import subprocess
import time

PERIOD_S = 3
RULES = """
table ip nat {{
    chain translate {{
        type nat hook postrouting priority srcnat
        oifname {wan} snat to {address}
    }}
}}
table ip filter {{
    chain input {{
        type filter hook input priority filter
        iifname {wan} ct state new,invalid drop
    }}
    chain forward {{
        type filter hook forward priority filter
        ct state invalid drop
    }}
}}
"""

NETLINK_NETFILTER = 12
CTNETLINK = 1
DELETE = 2
NLM_F_REQUEST = 1


def flush(netlink):
    netfilter = struct.pack("=BBH", socket.AF_INET, 0, 0)
    header = struct.pack("=IHHII", 16 + len(netfilter), CTNETLINK << 8 | DELETE, NLM_F_REQUEST, 0, 0)
    netlink.send(header + netfilter)


def main():
    rules = RULES.format(wan=os.environ["NAT_WAN_DEVICE"], address=os.environ["NAT_WAN_ADDRESS"])
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    netlink.bind((0, 0))
    print("ready", flush=True)
    while True:
        time.sleep(PERIOD_S)
        flush(netlink)


main()
