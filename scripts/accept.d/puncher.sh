# shellcheck shell=bash disable=SC2034,SC2154
# The puncher gets through wherever it is possible: the table of reach, auto beside every method, and how long it takes. How much
# encryption costs, whether an application can do without our server, and what strangers, servers and crowds may try.

checks=(reach never auto timing throughput own_channel loads package hostile)

trials=${TRIALS:-200}
reach=$work/reach

# Runs the suite once, for all checks that look at it.
run_reach() {
  [ -d "$reach" ] || quiet "$testbed" run reach --trials "$trials" --out "$reach" --keep none
}

# in_part PART CONDITION: cells of a part of `reach` for which the condition on `c` holds.
in_part() { query "$reach" "len([c for c in $punches if c['id'].startswith('$1/') and $2])"; }

# all_of PART WHAT: every trial of every cell passed.
all_of() {
  local cells good
  cells=$(in_part "$1" True)
  good=$(in_part "$1" "c['passed'] == c['trials']")
  figure "reach, $2: cells that passed $trials/$trials" "$good of $cells" "all" "good == cells && cells > 0"
}

# at_least PART SHARE WHAT: every cell of the part passed so many trials in a thousand.
at_least() {
  local cells good worst
  cells=$(in_part "$1" True)
  good=$(in_part "$1" "c['passed'] * 1000 >= $2 * c['trials']")
  worst=$(query "$reach" "min(c['passed'] for c in $punches if c['id'].startswith('$1/'))")
  figure "reach, $3: cells with at least $2 in a thousand, the worst $worst of $trials" "$good of $cells" "all" \
    "good == cells && cells > 0"
}

check_reach() {
  run_reach
  all_of predictable "two predictable ports"
  at_least one-draws 995 "an endpoint-independent mapping against random ports"
  all_of open-filter "a filter by address at most against random ports"
  at_least one-counts-low 995 "sequential against random ports, low ports allowed"
  at_least both-draw-low 970 "random ports on both sides, low ports allowed"
  at_least competing 995 "sequential ports on both sides, others open connections meanwhile"
  all_of answers "NATs that answer, starts apart"
  local part
  for part in same-nat lan same-cgn layers far-server far-and-lossy; do
    at_least_theory "$part"
  done
}

# Parts in which theory says what is possible and what is not.
at_least_theory() {
  local cells good
  cells=$(in_part "$1" True)
  [ "$cells" -gt 0 ] || return 0
  good=$(in_part "$1" "c['verdict'] == 'as_expected'")
  figure "reach, $1: cells as theory says" "$good of $cells" "all" "good == cells"
}

check_never() {
  run_reach
  local differs longest
  differs=$(query "$reach" "len([c for c in $punches if c['verdict'] in ('differs', 'error')])")
  figure "reach: cells that differ from theory, or are errors" "$differs" "0" "differs == 0"
  longest=$(query "$reach" "int(max((t['took_ms'] for c in $punches if c['id'].startswith('both-draw/') for t in c['each']), default=0))")
  figure "reach, random ports on both sides: the longest trial" "$longest ms" "< 6000 ms" "longest < 6000"
}

# On no pair may auto be worse than the best method by more than chance explains: 1e-5 for the whole run. Where auto always
# passes nothing can be better, so the methods are tried on the other pairs.
check_auto() {
  local pairs always others compared worse
  quiet "$testbed" run auto-vs-methods --filter method=auto --trials "$trials" --out "$work/auto" --keep none
  pairs=$(query "$work/auto" "len($punches)")
  always=$(query "$work/auto" "len([c for c in $punches if c['passed'] == c['trials']])")
  others=$(query "$work/auto" "','.join(c['id'].rsplit('/', 1)[0] + '/*' for c in $punches if c['passed'] < c['trials'])")
  say "auto passes $trials/$trials on $always of $pairs pairs; on the others: every method"
  compared=0 worse=0
  if [ -n "$others" ]; then
    quiet "$testbed" run auto-vs-methods --filter "cell=$others" --trials "$trials" --out "$work/methods" --keep none
    compared=$(python3 "$root/scripts/accept.d/auto_vs_methods.py" "$work/methods/results.json")
    worse=${compared#* }
    compared=${compared% *}
  fi
  figure "auto-vs-methods: pairs with every method tried, of which a named one beats auto" "$compared with, $worse worse" \
    "$((pairs - always)) with, 0 worse" "pairs > 0 && compared == pairs - always && worse == 0"
}

check_timing() {
  quiet "$testbed" run timing --jobs 2 --out "$work/timing" --keep none
  local established authenticated
  established=$(query "$work/timing" "int(max(c['established_ms']['median'] for c in $punches) * 1000)")
  authenticated=$(query "$work/timing" "int(max(c['authenticated_ms']['median'] for c in $punches) * 1000)")
  figure "established, 20 ms a trip: the slowest median" "$established us" "<= 1.05 x two trips" "established <= 42000"
  figure "authenticated, 20 ms a trip: the slowest median" "$authenticated us" "<= 1.10 x three trips" \
    "authenticated <= 66000"
}

# lab SCENARIO VARIABLE EXAMPLE: a scenario of the puncher's own lab, with a program of its examples.
lab() {
  cargo build --quiet --release --manifest-path "$root/Cargo.toml" --package puncher --example "$3"
  quiet env PUNCHER="$work/puncher" "$2=$target/release/examples/$3" unshare --net --mount --pid --fork --kill-child --mount-proc \
    bash "$root/puncher/tests/two-nats.sh" "$1" preserving sequential
}

check_throughput() {
  lab throughput THROUGHPUT throughput
  figure "encrypted beside plain TCP, across two NATs" "$(grep -m 1 -o 'plain.*' "$work/output" || tail -n 1 "$work/output")" \
    "ratio >= 0.6" "code == 0"
}

check_own_channel() {
  lab own-channel OWN_CHANNEL own_channel
  figure "two peers that meet by the application's own channel and servers, exit code" "$code" "0" "code == 0"
}

# Honest pairs, one after the other, while a server bears a load from other networks; and what the server takes for it.
check_loads() {
  local load
  for load in joined full knocks unread halves churn flood babble; do
    quiet timeout 120 unshare --net --pid --fork --kill-child --mount-proc bash -c 'ip link set lo up; exec "$@"' loads \
      python3 "$root/scripts/accept.d/server_loads.py" "$work/puncher" "$load"
    load_figures "$load"
  done
}

# load_figures LOAD: memory is bounded by 12 MiB, 4 KiB a connection, and 32 MiB of messages that wait; the kernel's queues by what
# it grants one send buffer (twice 16 KiB, and the packet that exceeds it).
load_figures() {
  local met=0 of=0 slowest=0 connections=0 memory=0 queued=0 later=0 descriptors=0 limit=0
  read -r met of slowest connections memory queued later descriptors limit < <(tail -n 1 "$work/output" | tr -cd '0-9 ') || true
  figure "server under load \"$1\": honest pairs that met" "$met of $of, the slowest in $slowest ms" "all, within 2000 ms" \
    "of > 0 && met == of && slowest <= 2000"
  local most_memory=$((12288 + 4 * connections)) most_queued=$((36864 * (connections + 100)))
  case $1 in unread | flood | knocks) most_memory=$((most_memory + 32768)) ;; esac
  figure "server under load \"$1\": memory for $connections connections" "$memory KiB" "<= $most_memory KiB" \
    "of > 0 && memory <= most_memory"
  figure "server under load \"$1\": bytes in the kernel's send queues" "$queued" "<= $most_queued" "queued <= most_queued"
  [ "$1" != unread ] || figure "the same once nobody has read for 5 s" "$later" "0" "later == 0"
  figure "server under load \"$1\": descriptors" "$descriptors" "<= $limit" "descriptors <= limit"
}

# The package holds all that it needs: it builds and tests itself where it was unpacked.
check_package() {
  rm -rf "$target"/package/puncher-*
  quiet cargo package --manifest-path "$root/Cargo.toml" --package puncher --allow-dirty --target-dir "$target"
  figure "cargo package, which builds what it has packed, exit code" "$code" "0" "code == 0"
  local warnings
  warnings=$(grep -c '^warning' "$work/output" || true)
  figure "its warnings: metadata that is missing, files that are not packed" "$warnings" "0" "warnings == 0"
  # Without the folder above it, which is a workspace.
  mkdir "$work/package"
  tar -C "$work/package" --strip-components 1 -xf "$target"/package/puncher-*.crate
  quiet env CARGO_TARGET_DIR="$target" TESTBED_REQUIRE_LAB=1 cargo test --manifest-path "$work/package/Cargo.toml" --quiet
  figure "the tests of the package, run from it" "exit code $code, $(grep -c '^test result: ok' "$work/output") parts ok" "0" \
    "code == 0"
}

# What a lying server, a stranger, a crowd and a broken path may try: the tests that the threat model names.
check_hostile() {
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" --package puncher --test tests
  figure "tests of the threat model and of honest pairs among crowds" \
    "$(sed -nE 's/^test result: [a-z]+\. ([0-9]+ passed; [0-9]+ failed).*/\1/ip' "$work/output" | sed -n 1p)" "0 failed" "code == 0"
}
