#!/usr/bin/env bash
# Builds labs by as few starts of ip, sysctl and nft as can be; prints the microseconds that took.
# shellcheck source=scripts/bench.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# append VARIABLE LINE...
append() {
  local -n to=$1
  local lines
  printf -v lines '%s\n' "${@:2}"
  to+=$lines
}

build() {
  local n=$1 node link lower upper lower_device upper_device network number lower_mac upper_mac wire address wanted
  local outside='' pairs='' near far
  local -A inside=([between]='') routes=()
  for node in "${nodes[@]}"; do append "inside[$node]" "link set lo up"; done
  for node in "${nodes[@]}" between; do append outside "netns add $n-$node"; done
  for link in "${links[@]}"; do
    read -r lower upper lower_device upper_device network number lower_mac upper_mac wire <<<"$link"
    near="$lower_device address $lower_mac netns $n-$lower $queue"
    far="$upper_device address $upper_mac netns $n-$upper $queue"
    if [ "$wire" = - ]; then
      append pairs "link add $near type veth peer name $far"
    else
      append pairs "link add $near type veth peer name w$wire-lower netns $n-between $queue" \
        "link add $far type veth peer name w$wire-upper netns $n-between $queue"
      append "inside[between]" "link set w$wire-lower up" "link set w$wire-upper up"
    fi
    append "inside[$lower]" "link set $lower_device up" "address add $network.$number/24 dev $lower_device" \
      "neighbour add $network.1 lladdr $upper_mac dev $lower_device"
    append "inside[$upper]" "link set $upper_device up" "address add $network.1/24 dev $upper_device" \
      "neighbour add $network.$number lladdr $lower_mac dev $upper_device"
    append "routes[$lower]" "route add default via $network.1"
  done
  for address in "${rendezvous[@]}"; do append "inside[core]" "address add $address/32 dev lo"; done
  ip -batch - <<<"$outside"
  for node in "${nodes[@]}" between; do
    wanted=$(settings "$node")
    # shellcheck disable=SC2086 # Each word is a setting.
    [ -z "$wanted" ] || nsenter --net="/run/netns/$n-$node" sysctl -qw $wanted
  done
  ip -batch - <<<"$pairs"
  for node in "${nodes[@]}" between; do ip -n "$n-$node" -batch - <<<"${inside[$node]}${routes[$node]:-}"; done
  for node in nat-a nat-b; do nsenter --net="/run/netns/$n-$node" nft -f - <<<"$rules"; done
}

start=$EPOCHREALTIME
for ((n = 0; n < labs; n++)); do build "$n"; done
end=$EPOCHREALTIME
echo $((${end/./} - ${start/./}))
