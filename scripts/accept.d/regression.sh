# shellcheck shell=bash disable=SC2034,SC2154
# A change is noticed where theory says, nothing else is; parts make the whole; other kernels; the container; workflows.

checks=(worse unchanged shards kernels image workflows)

suite=$root/scripts/accept.d/regression.toml
known=$work/known.toml

# What a run of the unchanged puncher found.
make_baseline() {
  [ ! -f "$known" ] || return 0
  quiet "$testbed" run "$suite" --seed 1 --keep none --out "$work/known"
  "$testbed" baseline update "$work/known" "$known" >/dev/null
}

# faulty FAULT: a puncher with this fault, as a program of its own; environments are not handed down to peers.
faulty() {
  printf '#!/bin/sh\nPUNCHER_FAULT=%s exec %s/puncher-faulty "$@"\n' "$1" "$work" >"$work/puncher-$1"
  chmod 755 "$work/puncher-$1"
}

# caught FAULT CONDITION LEAST: the changed cells all meet the condition on `c`, and are at least so many.
caught() {
  local run=$work/run-$1 changed wrong
  faulty "$1"
  quiet "$testbed" run "$suite" --keep none --puncher "$work/puncher-$1" --baseline "$known" --out "$run"
  changed=$(query "$run" "len([c for c in $punches if c['id'] in open('$run/comparison.md').read()])")
  wrong=$(query "$run" "len([c for c in $punches if c['id'] in open('$run/comparison.md').read() and not ($2)])")
  figure "puncher with the fault $1: exit code" "$code" "1" "code == 1"
  figure "… cells that changed" "$changed" "at least $3" "changed >= $3"
  figure "… of these, cells that theory says nothing happens to" "$wrong" "0" "wrong == 0"
}

check_worse() {
  cargo build --release --quiet --manifest-path "$root/Cargo.toml" --package puncher --features fault-injection --target-dir "$target/faulty"
  install -m 755 "$target/faulty/release/puncher" "$work/puncher-faulty"
  make_baseline
  caught wrong-delta "c['axes']['nat-a'] == 'sequential'" 4
  caught no-redial "c['axes']['nat-b'] == 'reset' and c['axes']['skew'] != '0ms'" 1
  caught early-drop True 8
}

check_unchanged() {
  local good=0 i times=${REPEATS:-50}
  quiet "$testbed" run classic --keep none --out "$work/classic"
  "$testbed" baseline update "$work/classic" "$work/classic.toml" >/dev/null
  for ((i = 1; i <= times; i++)); do
    quiet "$testbed" run classic --keep none --baseline "$work/classic.toml" --out "$work/classic-$i"
    if [ "$code" -eq 0 ]; then good=$((good + 1)); else tail -n 20 "$work/output" >&2; fi
    rm -rf "$work/classic-$i"
  done
  figure "an unchanged puncher, times in a row: nothing changed" "$good" "$times" "good == times"
}

# What does not depend on where and when a cell was run.
essence="sorted((c['id'], str(c['expected']), c['verdict'], str([t['seed'] for t in c['each']])) for c in $punches)"

check_shards() {
  local shard of=8 wanted=${SUITE:-full} trials=${TRIALS:-1} parts=()
  quiet "$testbed" run "$wanted" --trials "$trials" --seed 3 --keep none --out "$work/whole"
  for ((shard = 1; shard <= of; shard++)); do
    quiet "$testbed" run "$wanted" --trials "$trials" --seed 3 --keep none --shard "$shard/$of" --out "$work/part-$shard"
    parts+=("$work/part-$shard")
  done
  quiet "$testbed" merge "${parts[@]}" --out "$work/joined"
  query "$work/whole" "$essence" >"$work/essence"
  figure "$wanted in $of shards, joined: cells, seeds, expectations and verdicts as unsharded" \
    "$(query "$work/joined" "len($punches)") cells" "the same" "$(query "$work/joined" "$essence" | cmp -s - "$work/essence" && echo 1 || echo 0)"
}

check_kernels() {
  local run=$work/kernels known
  TESTBED_PROGRAMS=$work quiet "$root/scripts/kernels" -o "$run" 5.10 6.1 6.12 6.18 7.3
  tail -n 1 "$work/output"
  figure "five kernels" "$seconds s" "< 900 s, exit code 0" "${seconds%.*} < 900 && code == 0"
  known=$("$testbed" diff "$run/6.1" "$run/6.12" | grep -cE 'changed +kernel/(dnat-range|time-wait-eviction) ' || true)
  figure "6.1 and 6.12: the two known changes" "$known" "2" "known == 2"
}

check_image() {
  local first second without capability
  TESTBED_PROGRAMS=$work "$root/scripts/image" build 2>/dev/null
  first=$("$root/scripts/image" digest)
  TESTBED_PROGRAMS=$work "$root/scripts/image" build 2>/dev/null
  second=$("$root/scripts/image" digest)
  figure "the image, built twice" "$([ "$first" = "$second" ] && echo same || echo another) digest" "the same" \
    "$([ "$first" = "$second" ] && echo 1 || echo 0)"
  quiet "$root/scripts/image" try run matrix --trials 1 --keep none --allow undecided --out /tmp/run
  figure "run matrix in the image, with four capabilities: exit code" "$code" "0" "code == 0"
  for capability in sys_admin net_admin net_raw sys_time; do
    without=$(printf '%s\n' sys_admin net_admin net_raw sys_time | grep -vx "$capability" | paste -sd,)
    TESTBED_CAPABILITIES=$without quiet "$root/scripts/image" try run classic --trials 1 --keep none --out /tmp/run
    figure "… without $capability: exit code" "$code" "2" "code == 2"
  done
}

check_workflows() {
  quiet "$root/scripts/check-workflows"
  cat "$work/output" >&2
  figure "the workflows' linters: exit code" "$code" "0" "code == 0"
}
