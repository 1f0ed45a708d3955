# shellcheck shell=bash disable=SC2034,SC2154
# The judge: an honest NAT is never called a liar, one that lies is called one, and the reference agrees with the kernel.

checks=(honest fuzz negated refuted mutated causes)

# Every suite at its default trials: no packet that an honest NAT handled is held against it, and nearly every packet is judged.
check_honest() {
  local suite run said bad=0 packets share bound
  for suite in classic matrix predictability order unsolicited cgn hairpin noise faults reach; do
    run=$work/$suite
    quiet "$testbed" run "$suite" --seed 1 --out "$run"
    said=$(grep -c 'does not do what it declares' "$work/output" || true)
    if [ "$said" -gt 0 ]; then
      # Its packets are kept for whoever looks into it.
      grep -A 4 'does not do what it declares' "$work/output" >&2
      rm -rf "$root/target/honest-$suite" && cp -r "$run" "$root/target/honest-$suite"
    fi
    bad=$((bad + said))
    # In hundredths of a percent: packets that could be handled either way or were not judged.
    share=$(query "$run" '(lambda p: round(1e4 * (p["either"] + p["not_judged"]) / max(1, p["judged"] + p["either"] + p["not_judged"])))(r["packets"])')
    packets=$(query "$run" '"%d packets, either %s, not judged %s" % (sum(r["packets"][k] for k in ("judged", "either", "not_judged")), r["packets"].get("either_by_reason", {}), r["packets"].get("not_judged_by_reason", {}))')
    figure "$suite: contradictions ($packets, in $seconds s)" "$said" "0" "said == 0"
    # Sprays fill small pools: a NAT of 1,000 ports let 442 of 3,388 SYNs of one side fall, in a trial of faults whose first round a
    # lost packet had ended.
    case $suite in
    cgn | faults | predictability | reach) bound=1000 ;;
    *) bound=100 ;;
    esac
    figure "$suite: share either or not judged, in hundredths of a percent" "$share" "<= $bound" "share <= bound"
  done
  figure "all suites: contradictions" "$bad" "0" "bad == 0"
}

# Random packets through each NAT of the catalogue, as long as 20,000 take.
check_fuzz() {
  local nat seconds_each=20 packets wrong=0 few=0
  for nat in $("$testbed" nat list | awk '/^[a-z]/ { print $1 }'); do
    quiet "$testbed" fuzz-nat "$nat" --seed 1 --for "${seconds_each}s"
    packets=$(sed -nE 's/.* ([0-9]+) packets judged.*/\1/p' "$work/output")
    if [ "$code" -ne 0 ]; then
      wrong=$((wrong + 1))
      cat "$work/output" >&2
    fi
    [ "${packets:-0}" -ge 20000 ] || few=$((few + 1))
    printf '        %s: %s packets\n' "$nat" "${packets:-0}"
  done
  figure "fuzz-nat: NATs with which the reference does not agree" "$wrong" "0" "wrong == 0"
  figure "fuzz-nat: NATs with fewer than 20,000 packets" "$few" "0" "few == 0"
}

# run_tests SECONDS NAME...: the tests of these names in a release build, those that are ignored too; what they print goes to `$work/output`.
run_tests() {
  local limit=$1
  shift
  (cd "$root" && cargo test --release --workspace --test tests --no-run)
  quiet timeout "$limit" env -C "$root" cargo test --release -p testbed --test tests -- --include-ignored --nocapture --test-threads=1 "$@"
}

# Every rule of the reference, turned round: the kernel contradicts it within a minute of random packets.
check_negated() {
  local found tried
  run_tests 1800 a_rule_that_is_turned_round_is_contradicted_by_the_kernel
  grep 'NOT FOUND' "$work/output" >&2 || true
  found=$(sed -nE 's/^([0-9]+) of [0-9]+ opposites are contradicted.*/\1/p' "$work/output")
  tried=$(sed -nE 's/^[0-9]+ of ([0-9]+) opposites are contradicted.*/\1/p' "$work/output")
  sed -nE 's/^found  (.*): ([0-9.]+) s, .*/\2 s  \1/p' "$work/output" | sort -rn | sed -n '1,5s/^/        the slowest: /p'
  figure "rules turned round that the kernel contradicts within 60 s, in $seconds s" "${found:-0} of ${tried:-0}" ">= 150, all" "${tried:-0} >= 150 && ${found:-0} == ${tried:-0}"
}

# Every cause, provoked twenty times by programs, NATs, links and machines that do one thing wrong, and what it was named.
check_causes() {
  local cause named provoked wrong=0 seldom=0
  export CAUSES_REPEATS=20 TESTBED_REQUIRE_LAB=1
  run_tests 2400 causes::by_nats causes::by_programs causes::by_strangers causes::staged
  unset CAUSES_REPEATS TESTBED_REQUIRE_LAB
  [ "$code" -eq 0 ] || grep -E 'panicked|assertion|FAILED' "$work/output" >&2 || true
  while read -r cause; do
    read -r named provoked < <(awk -v of="cause $cause: " 'index($0, of) { split(substr($0, index($0, of) + length(of)), n, " "); named += n[1]; provoked += n[3] } END { print named + 0, provoked + 0 }' "$work/output")
    printf '        %-24s %s of %s\n' "$cause" "$named" "$provoked"
    wrong=$((wrong + provoked - named))
    [ "$provoked" -ge 20 ] || seldom=$((seldom + 1))
  done < <(sed -n '/^words!(Cause {/,/^});/s/.*=> "\(.*\)",/\1/p' "$root/testbed/src/model/cause.rs")
  figure "causes: exit code of the tests, in $seconds s" "$code" "0" "code == 0"
  figure "causes: trials that got another one than was provoked" "$wrong" "0" "wrong == 0"
  figure "causes: provoked less than 20 times" "$seldom" "0" "seldom == 0"
}

# A NAT that declares a new port for every connection and gives one endpoint the same port again: no packet shows it.
check_refuted() {
  local folder=$work/refuted said
  mkdir -p "$folder"
  cat >"$folder/keeps.nft" <<'NFT'
table ip nat {
  map known { type ipv4_addr . inet_service : inet_service; flags dynamic,timeout; size 65535; }
  chain learn {
    type filter hook postrouting priority 101
    oifname "wan" ip daddr 203.0.113.0/24 ct direction original meta l4proto tcp add @known { ct original ip saddr . ct original proto-src timeout 100s : tcp sport }
  }
  chain post {
    type nat hook postrouting priority srcnat
    oifname "wan" ip daddr 198.51.100.0/24 meta l4proto tcp snat to 192.0.2.2 : ip saddr . tcp sport map @known
    oifname "wan" meta l4proto tcp masquerade fully-random
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
}
NFT
  cat >"$folder/nats.toml" <<'TOML'
[nat.keeps]
summary = "says that it draws a port for every connection, and keeps the port towards the other peer"
ruleset-file = "keeps.nft"
mapping = "address-and-port-dependent"
allocation = "random"
TOML
  cat >"$folder/suite.toml" <<'TOML'
name = "keeps"
summary = "one NAT that does not draw"
topology = "pair"
trials = 12
[axes]
nat-a = ["keeps"]
nat-b = ["port-preserving"]
method = ["simultaneous-open"]
TOML
  quiet "$testbed" run "$folder/suite.toml" --nats "$folder/nats.toml" --out "$folder/run"
  said=$(grep -c 'NAT "keeps" in "nat-a" does not do what it declares (allocation' "$work/output" || true)
  figure "a NAT that does not draw: exit code" "$code" "2" "code == 2"
  figure "a NAT that does not draw: lines that name it with its axis" "$said" ">= 1" "said >= 1"
}

# NATs that are not what they were proved to be: after all probes, each gets the rules of each other one.
check_mutated() {
  local limit=${MUTATED_SECONDS:-900} pairs caught
  (cd "$root" && cargo test --release --workspace --test tests --no-run)
  local tests=(cargo test --release -p testbed --test tests -- --include-ignored --nocapture --test-threads=1)
  quiet timeout "$limit" env -C "$root" "${tests[@]}" a_nat_with_the_rules_of_another_is_found_out
  grep -E '^(error|not seen|no axis|DIFFERS|SLIP|   )' "$work/output" || true
  caught=$(sed -nE 's/^([0-9]+) of [0-9]+ pairs are errors.*/\1/p' "$work/output")
  pairs=$(sed -nE 's/^[0-9]+ of ([0-9]+) pairs are errors.*/\1/p' "$work/output")
  figure "mutated: exit code of the test (124: more than $limit s), in $seconds s" "$code" "0" "code == 0"
  figure "mutated: pairs that are errors and name the axis" "${caught:-0} of ${pairs:-0}" "all but the 16 that no packet of these trials shows" "${pairs:-0} > 0 && ${pairs:-0} - ${caught:-0} <= 16"
  quiet timeout "$limit" env -C "$root" "${tests[@]}" a_proof_of_a_nat_with_the_rules_of_another_fails
  grep -E 'pairs are refused|refused by $' "$work/output" || true
  figure "mutated: exit code of the proofs" "$code" "0" "code == 0"
}
