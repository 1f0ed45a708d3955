#!/usr/bin/env bash
# Builds labs by as few starts of ip and nft as can be; prints the microseconds that took.
# shellcheck source=scripts/bench.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build() {
  local n=$1 node link lower upper lower_device upper_device lower_address upper_address
  local -A inside=()
  for node in "${nodes[@]}"; do
    echo "netns add $n-$node"
    inside[$node]='link set lo up'
  done >"/run/outside"
  for link in "${links[@]}"; do
    read -r lower upper lower_device upper_device lower_address upper_address <<<"$link"
    echo "link add $lower_device netns $n-$lower type veth peer name $upper_device netns $n-$upper" >>/run/links
    inside[$lower]+=$'\n'"address add $lower_address/24 dev $lower_device
link set $lower_device up"
    inside[$upper]+=$'\n'"address add $upper_address/24 dev $upper_device
link set $upper_device up"
    last[$lower]="route add default via $upper_address"
  done
  ip -batch /run/outside
  ip -batch /run/links
  rm /run/links
  for node in "${nodes[@]}"; do ip -n "$n-$node" -batch - <<<"${inside[$node]}"; done
  for node in "${!last[@]}"; do ip -n "$n-$node" -batch - <<<"${last[$node]}"; done
  for node in "${routers[@]}"; do ip netns exec "$n-$node" sysctl -qw net.ipv4.ip_forward=1; done
  for node in nat-a nat-b; do ip netns exec "$n-$node" nft -f - <<<"$rules"; done
}

declare -A last
start=$EPOCHREALTIME
for ((n = 0; n < labs; n++)); do build "$n"; done
end=$EPOCHREALTIME
echo $((${end/./} - ${start/./}))
