#!/usr/bin/env bash
# Peers that see each other under other addresses than the rendezvous server does:
#
#   double-nat  a home with two routers: b at the provider's, a behind a second one
#   two-lans    both below one router that keeps them apart, and on a second network that reaches no server
#   two-wans    a's router takes one way out to the server, and another to b, who has no NAT
#
# Runs one and succeeds when both peers connect and what one says arrives at the other:  other-paths.sh SCENARIO METHOD
# Everything is in namespaces of the caller's, so that ending it ends all.
set -euo pipefail

: "${PUNCHER:?the program to try}"
scenario=$1 method=$2
# shellcheck source=puncher/tests/namespaces.sh
. "$(dirname "${BASH_SOURCE[0]}")/namespaces.sh"

nat() { nat_rules "$1" drop "${@:2}"; } # NODE RULE...

case $scenario in
    double-nat)
        nodes a inner provider b core
        ip -n provider link add home type bridge
        ip -n provider link set home up
        ip -n provider addr add 192.168.0.1/24 dev home
        link inner wan 192.168.0.5 provider port0 169.254.0.1
        link b lan 192.168.0.7 provider port1 169.254.1.1
        ip -n provider link set port0 master home
        ip -n provider link set port1 master home
        link a lan 10.0.0.2 inner lan0 10.0.0.1
        link provider wan 198.51.100.2 core wan-p 198.51.100.1
        route a 10.0.0.1
        route inner 192.168.0.1
        route b 192.168.0.1
        route provider 198.51.100.1
        nat inner 'oifname "wan" ip protocol tcp masquerade'
        nat provider 'oifname "wan" ip protocol tcp masquerade'
        ;;
    two-lans)
        nodes a b router core
        link a lan 192.168.1.2 router lan-a 192.168.1.1
        link b lan 192.168.2.2 router lan-b 192.168.2.1
        link a direct 10.9.0.1 b direct 10.9.0.2
        link router wan 192.0.2.2 core wan-r 192.0.2.1
        route a 192.168.1.1
        route b 192.168.2.1
        route router 192.0.2.1
        nat router 'oifname "wan" ip protocol tcp masquerade'
        inside router nft add chain ip nat between '{ type filter hook forward priority filter; }'
        inside router nft add rule ip nat between iifname lan-a oifname lan-b drop
        inside router nft add rule ip nat between iifname lan-b oifname lan-a drop
        ;;
    two-wans)
        nodes a router core b
        link a lan 10.0.1.2 router lan0 10.0.1.1
        link router wan 192.0.2.2 core wan-a 192.0.2.1
        link b eth0 198.51.100.2 core wan-b 198.51.100.1
        ip -n router addr add 192.0.2.3/24 dev wan
        route a 10.0.1.1
        route b 198.51.100.1
        route router 192.0.2.1
        nat router 'oifname "wan" ip daddr 203.0.113.0/24 snat to 192.0.2.2' \
            'oifname "wan" ip protocol tcp snat to 192.0.2.3'
        ;;
    *)
        echo "unknown scenario $scenario" >&2
        exit 1
        ;;
esac
public_addresses

"$PUNCHER" key key
mkfifo listening
inside core "$PUNCHER" rendezvous --listen 203.0.113.1:7000 --listen 203.0.113.2:7001 > listening &
read -r _ < listening

peer() { # ROLE
    inside "$1" "$PUNCHER" connect --rendezvous 203.0.113.1:7000 --rendezvous 203.0.113.2:7001 --meeting m \
        --role "$1" --key-file key --method "$method" --deadline 10s
}
peer a < key > at-a &
peer b < key > at-b
wait $!
cmp key at-a
cmp key at-b
