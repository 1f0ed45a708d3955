# shellcheck shell=bash disable=SC2034,SC2154
# Every outcome comes with its reason: each way to succeed is named when it is brought about, no failure is without a cause, other
# readers of the packets agree, capturing costs little, and a red cell leads to its packet. `judge causes` provokes each cause.

checks=(successes all cost witnesses page explain shell)

export TESTBED_REQUIRE_LAB=1

prepare() {
  need tshark tshark
  need chromium chromium
  need script bsdutils
}

# passed FILTER: runs the tests of that name; how many passed as `$passed`, how many failed as `$failed`.
passed() {
  quiet cargo test --manifest-path "$root/Cargo.toml" -p testbed --test tests -- "$@"
  passed=$(sed -nE 's/^test result: .* ([0-9]+) passed.*/\1/p' "$work/output")
  failed=$(sed -nE 's/^test result: .* ([0-9]+) failed.*/\1/p' "$work/output")
  [ "$code" -eq 0 ] || tail -n 60 "$work/output" >&2
}

check_successes() {
  cargo build --quiet --manifest-path "$root/Cargo.toml" --workspace
  export CAUSES_REPEATS=20
  passed causes::successes
  figure "ways to succeed brought about 20 times each and named right" "$passed" "5, 0 wrong" \
    "passed == 5 && failed == 0"
  unset CAUSES_REPEATS
}

# Some trials of every cell of every suite that comes with testbed.
check_all() {
  local suite cells=0 failed=0 unknown=0 unlike=0 run trials_each
  for suite in $("$testbed" list | sed -nE '/^suites/,/^topologies/s/^  ([^ ]+).*/\1/p'); do
    run=$work/all-$suite
    # What the kernel does is checked, not punched.
    trials_each=(--trials 3)
    [ "$suite" != kernel ] || trials_each=()
    quiet "$testbed" run "$suite" "${trials_each[@]}" --keep none --out "$run"
    [ -f "$run/results.json" ] || { tail -n 5 "$work/output" >&2 && unknown=$((unknown + 1)) && continue; }
    cells=$((cells + $(query "$run" 'len([c for c in r["cells"] if c["kind"] == "punch"])')))
    failed=$((failed + $(query "$run" "len($trials)")))
    unknown=$((unknown + $(query "$run" "len([t for t in $trials if not t.get('how') or not t.get('detail') or 'no reason' in t['detail']])")))
    unlike=$((unlike + $(query "$run" "len([t for t in $trials if 'what it declares' in t.get('detail', '') or 'see the packets' in t.get('detail', '')])")))
  done
  figure "cells of all suites" "$cells" ">= 300" "cells >= 300"
  figure "of $failed trials that did not pass, without a cause" "$unknown" "0" "unknown == 0"
  figure "trials whose outcome the oracle contradicts" "$unlike" "0" "unlike == 0"
}
trials='[t for c in r["cells"] if c["kind"] == "punch" for t in c["each"] if t["outcome"] not in ("passed", "skipped")]'

# Pairs one after the other, so that what else the machine does hits both; the median of the ratios counts.
check_cost() {
  local i none ratios=()
  for ((i = 1; i <= 7; i++)); do
    quiet "$testbed" run classic --trials 60 --keep none --out "$work/none-$i"
    none=$seconds
    quiet "$testbed" run classic --trials 60 --keep all --out "$work/all-$i"
    ratios+=("$(awk -v a="$seconds" -v b="$none" 'BEGIN { printf "%d", (a / b - 1) * 100 }')")
    rm -rf "$work/none-$i" "$work/all-$i"
  done
  local median
  median=$(printf '%s\n' "${ratios[@]}" | sort -n | sed -n 4p)
  figure "keeping everything costs, of the trial rate" "$median % (${ratios[*]})" "< 15 %" "median < 15"
}

check_witnesses() {
  passed causes::witness wire::captured
  figure "independent readers of captures agree with the judgement" "$passed" ">= 5, 0 wrong" \
    "passed >= 5 && failed == 0"
}

check_page() {
  passed cli::page
  figure "the page of a run fits a phone and a desk in a browser" "$passed" "1" "passed == 1 && failed == 0"
}

check_explain() {
  passed cli::explain
  figure "a red cell leads to its packet in two commands" "$passed" ">= 4, 0 wrong" "passed >= 4 && failed == 0"
}

check_shell() {
  passed cli::shell
  figure "shells and commands in labs" "$passed" ">= 3, 0 wrong" "passed >= 3 && failed == 0"
}
