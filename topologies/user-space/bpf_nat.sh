#!/bin/sh
# A NAT past connection tracking, in BPF: compiles bpf_nat.c for this node's addresses, and puts it on the ingress of each device.
set -eu

# 198.18.0.1 becomes ADDRESS(198,18,0,1).
address() { printf 'ADDRESS(%s)' "$1" | tr . ,; }

# is_inside NETWORK..: a C expression for whether `address` is in one of them.
is_inside() {
  for network; do
    printf '!((address ^ %s) & NETMASK(%s)) || ' "$(address "${network%/*}")" "${network#*/}"
  done
  printf 0
}

networks=$(for device in $NAT_LAN_DEVICES; do printenv "NAT_$(printf %s "$device" | tr '[:lower:]' '[:upper:]')_NETWORK"; done)
compiled=$(mktemp -d)/bpf_nat.o
# The headers of the kernel are the host's.
bpf-gcc -O2 -gbtf -c bpf_nat.c -o "$compiled" -idirafter /usr/include -idirafter "/usr/include/$(uname -m)-linux-gnu" \
  "-DWAN=$(ip -o link show dev "$NAT_WAN_DEVICE" | cut -d: -f1)" "-DOUTER=$(address "$NAT_WAN_ADDRESS")" \
  "-DIS_INSIDE(address)=($(is_inside $networks))"

# One block for all devices is one program with one set of maps.
for device in $NAT_WAN_DEVICE $NAT_LAN_DEVICES; do
  tc qdisc add dev "$device" ingress_block 1 clsact
done
tc filter add block 1 bpf direct-action object-file "$compiled" section translation

echo ready
# What it remembers is forgotten when it is started again.
exec sleep infinity
