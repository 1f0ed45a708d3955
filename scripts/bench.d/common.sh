# shellcheck shell=bash disable=SC2034
# The lab of topologies/pair.toml by hand: the same namespaces, devices (with one queue), addresses, neighbours, routes, settings
# and rules as testbed's, the devices of its two wires among them; only that nobody carries frames over those, waits for carriers
# or listens to NATs. Runs in a mount and network namespace of its own.
set -euo pipefail
mount -t tmpfs tmpfs /run
labs=${1:-1}
nodes=(peer-a nat-a core nat-b peer-b)
# link LOWER UPPER LOWER-DEVICE UPPER-DEVICE NETWORK LOWER-NUMBER LOWER-MAC UPPER-MAC WIRE
links=(
  "nat-a core wan to-nat-a 192.0.2 2 02:54:42:00:00:01 02:54:42:00:00:02 0"
  "nat-b core wan to-nat-b 198.51.100 2 02:54:42:00:01:01 02:54:42:00:01:02 1"
  "peer-a nat-a eth0 lan0 10.0.0 2 02:54:42:00:02:01 02:54:42:00:02:02 -"
  "peer-b nat-b eth0 lan0 10.0.1 2 02:54:42:00:03:01 02:54:42:00:03:02 -"
)
rendezvous=(203.0.113.1 203.0.113.2)
queue='numtxqueues 1 numrxqueues 1'
quiet=()
[ ! -d /proc/sys/net/ipv6 ] || quiet=(net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1)
pinned=("${quiet[@]}" net.ipv4.tcp_orphan_retries=1 net.ipv4.icmp_ratemask=0 net.ipv4.tcp_no_metrics_save=1
  net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0)
forwarding=(net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1)
tcp=net.netfilter.nf_conntrack_tcp
translating=("${tcp}_be_liberal=0" "${tcp}_loose=1" "${tcp}_timeout_syn_sent=120" "${tcp}_timeout_syn_recv=60"
  "${tcp}_timeout_established=432000" "${tcp}_timeout_fin_wait=120" "${tcp}_timeout_close_wait=60"
  "${tcp}_timeout_last_ack=30" "${tcp}_timeout_time_wait=120" "${tcp}_timeout_close=10"
  "${tcp}_timeout_unacknowledged=300" "${tcp}_timeout_max_retrans=300")
rules='table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "wan" meta l4proto tcp masquerade
    oifname "wan" masquerade
  }
}
table ip filter {
  chain input {
    type filter hook input priority filter
    iifname "wan" meta l4proto tcp ct state new,invalid drop
  }
  chain forward {
    type filter hook forward priority filter
    ct state invalid drop
  }
}'

# settings NODE: what sysctl writes there.
settings() {
  case $1 in
    between) echo "${quiet[@]}" ;;
    peer-*) echo "${pinned[@]}" ;;
    core) echo "${pinned[@]}" "${forwarding[@]}" ;;
    nat-*) echo "${pinned[@]}" "${forwarding[@]}" "${translating[@]}" ;;
  esac
}
