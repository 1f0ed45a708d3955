#!/usr/bin/env bash
# Builds labs by one ip, sysctl or nft command after the other; prints the microseconds that took.
# shellcheck source=scripts/bench.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build() {
  local n=$1 node link lower upper lower_device upper_device network number lower_mac upper_mac wire address wanted
  for node in "${nodes[@]}" between; do
    ip netns add "$n-$node"
    wanted=$(settings "$node")
    # shellcheck disable=SC2086 # Each word is a setting.
    [ -z "$wanted" ] || ip netns exec "$n-$node" sysctl -qw $wanted
  done
  for node in "${nodes[@]}"; do ip -n "$n-$node" link set lo up; done
  for link in "${links[@]}"; do
    read -r lower upper lower_device upper_device network number lower_mac upper_mac wire <<<"$link"
    # shellcheck disable=SC2086 # The queues are several words.
    if [ "$wire" = - ]; then
      ip link add "$lower_device" address "$lower_mac" netns "$n-$lower" $queue type veth \
        peer name "$upper_device" address "$upper_mac" netns "$n-$upper" $queue
    else
      ip link add "$lower_device" address "$lower_mac" netns "$n-$lower" $queue type veth \
        peer name "w$wire-lower" netns "$n-between" $queue
      ip link add "$upper_device" address "$upper_mac" netns "$n-$upper" $queue type veth \
        peer name "w$wire-upper" netns "$n-between" $queue
      ip -n "$n-between" link set "w$wire-lower" up
      ip -n "$n-between" link set "w$wire-upper" up
    fi
    ip -n "$n-$lower" link set "$lower_device" up
    ip -n "$n-$upper" link set "$upper_device" up
    ip -n "$n-$lower" address add "$network.$number/24" dev "$lower_device"
    ip -n "$n-$upper" address add "$network.1/24" dev "$upper_device"
    ip -n "$n-$lower" neighbour add "$network.1" lladdr "$upper_mac" dev "$lower_device"
    ip -n "$n-$upper" neighbour add "$network.$number" lladdr "$lower_mac" dev "$upper_device"
    ip -n "$n-$lower" route add default via "$network.1"
  done
  for address in "${rendezvous[@]}"; do ip -n "$n-core" address add "$address/32" dev lo; done
  for node in nat-a nat-b; do
    ip netns exec "$n-$node" nft -f - <<<"$rules"
  done
}

start=$EPOCHREALTIME
for ((n = 0; n < labs; n++)); do build "$n"; done
end=$EPOCHREALTIME
echo $((${end/./} - ${start/./}))
