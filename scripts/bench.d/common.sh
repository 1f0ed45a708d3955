# shellcheck shell=bash disable=SC2034
# The lab of topologies/pair.toml by hand. Runs in a mount and network namespace of its own.
set -euo pipefail
mount -t tmpfs tmpfs /run
labs=${1:-1}
nodes=(peer-a nat-a core nat-b peer-b)
# link LOWER UPPER LOWER-DEVICE UPPER-DEVICE LOWER-ADDRESS UPPER-ADDRESS
links=(
  "peer-a nat-a eth0 lan0 10.0.1.2 10.0.1.1"
  "nat-a core wan d0 192.0.2.2 192.0.2.1"
  "nat-b core wan d1 198.51.100.2 198.51.100.1"
  "peer-b nat-b eth0 lan0 10.0.2.2 10.0.2.1"
)
routers=(nat-a core nat-b)
rules='table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "wan" masquerade
  }
}
table ip filter {
  chain forward {
    type filter hook forward priority filter
    ct state invalid drop
    iifname "wan" ct state new drop
  }
  chain input {
    type filter hook input priority filter
    iifname "wan" ct state new drop
  }
}'
