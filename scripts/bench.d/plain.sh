#!/usr/bin/env bash
# Builds labs by one ip or nft command after the other; prints the microseconds that took.
# shellcheck source=scripts/bench.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build() {
  local n=$1 node link lower upper lower_device upper_device lower_address upper_address
  for node in "${nodes[@]}"; do
    ip netns add "$n-$node"
    ip -n "$n-$node" link set lo up
  done
  for link in "${links[@]}"; do
    read -r lower upper lower_device upper_device lower_address upper_address <<<"$link"
    ip link add "$lower_device" netns "$n-$lower" type veth peer name "$upper_device" netns "$n-$upper"
    ip -n "$n-$lower" address add "$lower_address/24" dev "$lower_device"
    ip -n "$n-$upper" address add "$upper_address/24" dev "$upper_device"
    ip -n "$n-$lower" link set "$lower_device" up
    ip -n "$n-$upper" link set "$upper_device" up
    ip -n "$n-$lower" route add default via "$upper_address"
  done
  for node in "${routers[@]}"; do
    ip netns exec "$n-$node" sysctl -qw net.ipv4.ip_forward=1
  done
  for node in nat-a nat-b; do
    ip netns exec "$n-$node" nft -f - <<<"$rules"
  done
}

start=$EPOCHREALTIME
for ((n = 0; n < labs; n++)); do build "$n"; done
end=$EPOCHREALTIME
echo $((${end/./} - ${start/./}))
