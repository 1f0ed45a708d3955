# shellcheck shell=bash
# Nodes, links and routes of a test lab, in namespaces of the caller's, so that ending it ends all. Sourced; it makes a folder for
# files and goes there.
mount -t tmpfs none /run
mkdir -p /run/netns /run/files
cd /run/files || exit 1

inside() { ip netns exec "$@"; }

nodes() {
    local node
    for node in "$@"; do
        ip netns add "$node"
        ip -n "$node" link set lo up
    done
}

link() { # NODE DEVICE ADDRESS NODE DEVICE ADDRESS
    ip -n "$1" link add "$2" type veth peer name "$5" netns "$4"
    ip -n "$1" addr add "$3/24" dev "$2"
    ip -n "$4" addr add "$6/24" dev "$5"
    ip -n "$1" link set "$2" up
    ip -n "$4" link set "$5" up
}

route() { ip -n "$1" route add default via "$2"; } # NODE GATEWAY

# The rendezvous server's two addresses, on the router in the middle.
public_addresses() {
    ip -n core addr add 203.0.113.1/32 dev lo
    ip -n core addr add 203.0.113.2/32 dev lo
    inside core sysctl -qw net.ipv4.ip_forward=1
}

# A NAT of one ruleset: how it chooses ports, and what it does with a SYN that nobody asked for.
nat_rules() { # NODE ANSWER RULE...
    local node=$1 answer=$2
    shift 2
    inside "$node" sysctl -qw net.ipv4.ip_forward=1
    inside "$node" nft -f - <<RULES
table ip nat {
  chain out { type nat hook postrouting priority srcnat
    $(printf '%s\n' "$@")
  }
  chain in { type filter hook input priority filter
    iifname "wan" ct state new,invalid $answer
  }
}
RULES
}
