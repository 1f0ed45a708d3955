# shellcheck shell=bash disable=SC2034,SC2154
# The NATs: each does what the catalogue declares, a NAT that lies is caught, and the matrix is as theory says.

checks=(proof lies conformance matrix wirings)

check_proof() {
  local good=0 slowest=0 i nats
  nats=$("$testbed" nat list | grep -c '^[a-z]')
  for ((i = 1; i <= 20; i++)); do
    quiet "$testbed" nat prove --all
    if [ "$code" -eq 0 ] && [ "$(grep -c ': behaves as declared' "$work/output")" -eq "$nats" ]; then
      good=$((good + 1))
    else
      grep -E 'expected|observed|not be measured|does not' "$work/output" >&2 || true
    fi
    slowest=$(awk -v a="$slowest" -v b="$seconds" 'BEGIN { print (a > b) ? a : b }')
  done
  figure "nat prove --all, 20 times: all $nats NATs behave as declared" "$good" "20" "good == 20"
  figure "nat prove --all: the slowest" "$slowest s" "< 20 s" "${slowest%.*} < 20"
}

# The test declares the wrong value for each axis in turn; the proof must name that axis.
check_lies() {
  quiet env TESTBED_REQUIRE_LAB=1 cargo test --quiet --manifest-path "$root/Cargo.toml" -p testbed --test tests -- nat_proof
  [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
  figure "a wrong value on any axis is caught: exit code of the tests" "$code" "0" "code == 0"
}

check_conformance() {
  quiet "$testbed" conformance --all
  figure "conformance --all: passes and fails as declared, exit code" "$code" "0" "code == 0"
}

check_matrix() {
  local run=$work/matrix a_side cells expected
  quiet "$testbed" run matrix --out "$run"
  [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
  cells=$(query "$run" "len($punches)")
  a_side=$(query "$run" "min(len({c['axes'][n] for c in $punches}) for n in ('nat-a', 'nat-b'))")
  expected=$(query "$run" "len([c for c in $punches if c['verdict'] == 'as_expected'])")
  figure "matrix: NATs a side" "$a_side" ">= 9" "a_side >= 9"
  figure "matrix: cells as expected" "$expected of $cells" "all" "expected == cells && cells > 0"
  figure "matrix: exit code" "$code" "0" "code == 0"
  figure "matrix: time" "$seconds s" "< 60 s" "${seconds%.*} < 60"
}

check_wirings() {
  local suite run cells bad
  for suite in predictability order unsolicited cgn hairpin noise; do
    run=$work/$suite
    quiet "$testbed" run "$suite" --out "$run"
    [ "$code" -eq 0 ] || tail -n 30 "$work/output" >&2
    cells=$(query "$run" "len($punches)")
    bad=$(query "$run" "len([c for c in $punches if c['verdict'] in ('differs', 'error')])")
    figure "$suite: cells that differ from theory or broke, in $seconds s" "$bad of $cells" "0" "bad == 0 && cells > 0"
  done
}
