#!/usr/bin/env bash
# Two peers, each behind a NAT of its own, and a rendezvous server between them:
#
#   a 10.0.1.2 -- 10.0.1.1 nat-a 192.0.2.2 -- core -- 198.51.100.2 nat-b 10.1.1.1 -- 10.1.1.2 b
#                                        203.0.113.1, .2
#
# Runs one scenario and succeeds when it went as it should:  two-nats.sh SCENARIO NAT-A NAT-B
# Everything is in namespaces of the caller's, so that ending it ends all.
set -euo pipefail

: "${PUNCHER:?the program to try}"
scenario=$1 nat_a=$2 nat_b=$3
# shellcheck source=puncher/tests/namespaces.sh
. "$(dirname "${BASH_SOURCE[0]}")/namespaces.sh"

# The rule that chooses external ports.
allocation() { # KIND ADDRESS
    case $1 in
        preserving | reset) echo masquerade ;;
        random) echo masquerade random ;;
        sequential)
            local ports
            ports=$(for n in $(seq 0 999); do printf '%d : %d, ' "$n" $((20000 + n)); done)
            echo "snat to $2:numgen inc mod 1000 map { $ports }"
            ;;
    esac
}

# The answer to an unsolicited SYN.
answer() { # KIND
    if [[ $1 == reset ]]; then echo 'meta l4proto tcp reject with tcp reset'; else echo drop; fi
}

nat() { # NODE KIND ADDRESS
    nat_rules "$1" "$(answer "$2")" "oifname \"wan\" ip protocol tcp $(allocation "$2" "$3")"
}

nodes a nat-a core nat-b b
link a lan 10.0.1.2 nat-a lan0 10.0.1.1
link b lan 10.1.1.2 nat-b lan0 10.1.1.1
link nat-a wan 192.0.2.2 core wan-a 192.0.2.1
link nat-b wan 198.51.100.2 core wan-b 198.51.100.1
route a 10.0.1.1
route b 10.1.1.1
route nat-a 192.0.2.1
route nat-b 198.51.100.1
public_addresses
nat nat-a "$nat_a" 192.0.2.2
nat nat-b "$nat_b" 198.51.100.2

"$PUNCHER" key key
mkfifo listening
inside core "$PUNCHER" rendezvous --listen 203.0.113.1:7000 --listen 203.0.113.1:7001 \
    --listen 203.0.113.2:7000 --listen 203.0.113.2:7001 > listening &
read -r _ < listening

servers=(--rendezvous 203.0.113.1:7000 --rendezvous 203.0.113.2:7001)
peer() { # ROLE OPTIONS...
    local role=$1
    shift
    inside "$role" "$PUNCHER" connect "${servers[@]}" --meeting "${meeting:-lab}" --role "$role" --key-file key --deadline 10s "$@"
}

fail() {
    echo "$*" >&2
    exit 1
}

# Until a command succeeds, for 20 s.
until_it() {
    local end=$((SECONDS + 20))
    until "$@"; do
        ((SECONDS < end)) || fail "waited in vain for: $*"
        read -r -t 0.05 _ <> /run/never || true
    done
}
mkfifo /run/never

case $scenario in
    transfer)
        head -c 104857600 /dev/urandom > sent
        peer a < sent > answer &
        peer b < key > received
        wait $!
        cmp sent received
        cmp key answer
        ;;
    throughput)
        # Plain TCP and the encrypted stream over the same NATs in turns, by the program that tests the library; the ratio
        # counts, and wants a build with optimisation.
        : "${THROUGHPUT:?the program of examples/throughput.rs}"
        half() { inside "$1" "$THROUGHPUT" "$1" key "${MEBIBYTES:-1024}" 203.0.113.1:7000 203.0.113.2:7001; }
        half b > figures-b &
        half a | tee figures
        wait $!
        sed 's/^/the reader: /' figures-b
        awk '{ exit !($NF >= 0.6) }' figures || fail "the encrypted stream is slower than 0.6 of plain TCP"
        ;;
    own-channel)
        # The application's own server and channel, by examples/own_channel.rs; the rendezvous server above is not used.
        : "${OWN_CHANNEL:?the program of examples/own_channel.rs}"
        own=(203.0.113.1:9001 203.0.113.2:9002)
        mkfifo own-listening
        inside core "$OWN_CHANNEL" server "${own[@]}" > own-listening &
        read -r _ < own-listening
        inside b "$OWN_CHANNEL" b key "${own[@]}" > at-b &
        other=$!
        inside a "$OWN_CHANNEL" a key "${own[@]}" > at-a
        wait $other
        [[ $(cat at-a at-b) == $'hello from b\nhello from a' ]] || fail "heard $(cat at-a at-b)"
        ;;
    exec)
        peer b --exec 'tr a-z A-Z' &
        echo shout | peer a > heard
        wait $!
        [[ $(cat heard) == SHOUT ]] || fail "heard $(cat heard)"
        ;;
    forward)
        peer a --forward 10.0.1.2:8080 &
        forwarding=$!
        inside b python3 -c '
import socket
listener = socket.create_server(("10.1.1.2", 8081))
open("serving", "w").close()
stream, _ = listener.accept()
stream.sendall(stream.recv(100).upper())' &
        serving=$!
        until_it test -e serving
        peer b --to 10.1.1.2:8081 &
        to=$!
        inside a python3 -c '
import socket, time
deadline = time.monotonic() + 20
while True:
    try:
        stream = socket.create_connection(("10.0.1.2", 8080))
        break
    except OSError:
        assert time.monotonic() < deadline
stream.sendall(b"over the hill")
stream.shutdown(socket.SHUT_WR)
answer = b""
while part := stream.recv(100):
    answer += part
assert answer == b"OVER THE HILL", answer'
        wait $serving
        wait $forwarding
        wait $to
        ;;
    keep-alive)
        # NATs that forget a silent connection after 4 s; 6 s of silence.
        for node in nat-a nat-b; do
            inside "$node" sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=4 net.netfilter.nf_conntrack_tcp_loose=0
        done
        talk() { # MEETING PATIENCE OPTIONS...
            local meeting=$1 patience=$2
            shift 2
            mkfifo "said-$meeting"
            peer a "$@" < "said-$meeting" > /dev/null 2> /dev/null &
            local speaker=$!
            peer b "$@" <> /run/never > "heard-$meeting" &
            local hearer=$!
            exec 3> "said-$meeting"
            echo early >&3
            until_it grep -q early "heard-$meeting"
            read -r -t 6 _ <> /run/never || true
            echo late >&3
            exec 3>&-
            local end=$((SECONDS + patience))
            until grep -q late "heard-$meeting" || ((SECONDS >= end)); do
                read -r -t 0.05 _ <> /run/never || true
            done
            kill $speaker $hearer 2> /dev/null || true
            grep -q late "heard-$meeting"
        }
        talk kept 20 --keep-alive 1s &
        kept=$!
        if talk silent 6; then fail "the NATs did not forget the silent connection: this proves nothing"; fi
        wait $kept || fail "the connection was not kept alive"
        ;;
    tickets)
        ticket() { inside "$1" "$PUNCHER" ticket --key-file key --start-in 1s --external "$2" --bind "$3" --keep "kept-$1"; }
        from_a=$(ticket a 192.0.2.2:4000 10.0.1.2:4000)
        from_b=$(ticket b 198.51.100.2:5000 10.1.1.2:5000)
        inside a "$PUNCHER" connect --key-file key --ticket kept-a --peer-ticket "$from_b" < key > at-a &
        inside b "$PUNCHER" connect --key-file key --ticket kept-b --peer-ticket "$from_a" < key > at-b
        wait $!
        cmp key at-a
        cmp key at-b
        ;;
    spray)
        peer a --method spray --low-ports never < key > at-a &
        peer b --method spray --low-ports never < key > at-b
        wait $!
        cmp key at-a
        cmp key at-b
        ;;
    competing)
        # Others behind the same NATs make mappings between the measurement and the punch.
        others() { # NODE COUNT
            inside "$1" python3 -c '
import socket, sys
kept = [socket.create_connection(("203.0.113.1", 7000)) for _ in range(int(sys.argv[1]))]' "$2"
        }
        measured() { [[ $(grep -c mapped "at-a-$1") -ge 6 && $(grep -c mapped "at-b-$1") -ge 6 ]]; }
        for number in 0 3 7; do
            meeting=m$number
            peer a --json --method sequential --start-delay 1s > "at-a-$number" &
            peer b --json --method sequential --start-delay 1s > "at-b-$number" &
            until_it measured "$number"
            others a "$number"
            others b "$((7 - number))"
            wait $!
            grep -q '"ok":true' "at-b-$number" || fail "$number: $(cat "at-b-$number")"
        done
        ;;
    late)
        # The early side is refused many times at once, and wants another round before the late one has begun.
        for meeting in m1 m2 m3 m4 m5; do
            peer a --json --start-delay 100ms > "at-a-$meeting" &
            peer b --json > "at-b-$meeting" || fail "$(cat "at-a-$meeting" "at-b-$meeting")"
            wait $!
        done
        ;;
    hopeless)
        peer a --low-ports never < /dev/null 2> error &
        if peer b --low-ports never < /dev/null; then fail "two random NATs were passed"; fi
        if wait $!; then fail "two random NATs were passed"; fi
        grep -q 'both ports are drawn.*a chance of' error || fail "$(cat error)"
        ;;
    probe)
        inside a "$PUNCHER" probe "${servers[@]}" --wait 500ms > class
        cat class
        case $nat_a in
            preserving) mapping='endpoint-independent' allocation='preserving' ;;
            sequential) mapping='address-and-port-dependent' allocation='sequential, +1' ;;
            # The kernel's draw favours its lowest ports, and a few dozen draws may or may not show it.
            random) mapping='address-and-port-dependent' allocation='random\(, the lowest ports more often\)\?' ;;
        esac
        grep -qx "mapping           $mapping" class
        grep -qx "allocation        $allocation" class
        grep -qx "filtering         address-and-port-dependent" class
        grep -qx "unsolicited SYN   silence" class
        ;;
    *) fail "unknown scenario $scenario" ;;
esac
