# shellcheck shell=bash disable=SC2034,SC2154
# What verdicts rest on: theory held against packets, and no wrong verdict where the machine gives too little or stands still.

checks=(files processes memory stack addresses pauses load hidden redials tests monte_carlo)

check_monte_carlo() {
  quiet cargo test --release --manifest-path "$root/Cargo.toml" --package testbed --test monte_carlo -- --include-ignored
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "theory against a Monte Carlo, all cells of full: exit code" "$code" "0" "code == 0"
  figure "… seconds, with building" "$seconds" "at most 1200" "${seconds%.*} <= 1200"
}

# The tables of docs/judging.md against the tests that they describe, and 1,000 simulated runs at an error rate of 1e-2.
check_tests() {
  quiet cargo test --release --manifest-path "$root/Cargo.toml" --package testbed --lib -- report::power judge::verdict::simulated
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "power curves, sizes and simulated runs: exit code" "$code" "0" "code == 0"
  figure "… tests that ran" "$(grep -c '^test .* ok$' "$work/output")" "3" "$(grep -c '^test .* ok$' "$work/output") == 3"
}

# A process that may not raise its limits again, even as root.
meek=(setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource)

# What a sweep has seen: runs, cells that differ, runs that hung, runs that ended with an error and did not say why; and the reasons.
begin_sweep() {
  runs=0 differing=0 hangs=0 silent=0
  : >"$work/reasons"
}

end_sweep() {
  figure "$1: cells that differ, in $runs runs" "$differing" "0" "differing == 0"
  figure "… runs that hung" "$hangs" "0" "hangs == 0"
  figure "… errors without a reason" "$silent" "0" "silent == 0"
  say "the reasons, with their numbers:"
  sed -E 's/[0-9]+/N/g' "$work/reasons" | cut -c 1-160 | sort | uniq -c | sort -rn | sed -n 1,12p >&2
}

# ends_or_hangs COMMAND...: runs it as `quiet` does, and kills it with `hung` set once it has told of no progress for two minutes.
# A run tells of its progress every ten seconds.
ends_or_hangs() {
  local last='' now changed=$SECONDS watcher
  hung=0
  : >"$work/output"
  # A process group of its own, and no session: the kernel weighs sessions against each other, whatever their niceness is.
  set -m
  "$@" >"$work/output" 2>&1 &
  watcher=$!
  set +m
  code=0
  while kill -0 "$watcher" 2>/dev/null; do
    now=$(tail -n 1 "$work/output" | sed -E 's/, ([0-9]+ min )?[0-9]+ s left//')
    if [ "$now" != "$last" ]; then
      last=$now changed=$SECONDS
    elif ((SECONDS - changed >= 120)); then
      hung=1
      kill -KILL -- "-$watcher"
      break
    fi
    sleep 0.2
  done
  wait "$watcher" 2>/dev/null || code=$?
}

# limited COMMAND...: a run of `classic` below COMMAND, for the sweep. An error has a reason if the run said one of all, or each cell
# that is an error has its own.
limited() {
  local cells said
  rm -rf "$work/limited"
  ends_or_hangs "$@" "$testbed" run classic --trials 3 --keep none --out "$work/limited"
  runs=$((runs + 1))
  said=$(grep -E '^(testbed|error|fatal|runtime)[: ]|error while loading|annot' "$work/output" || true)
  if [ -f "$work/limited/results.json" ]; then
    cells=$(query "$work/limited" "sum(c['verdict'] == 'differs' for c in $punches)")
    differing=$((differing + cells))
    query "$work/limited" "'\n'.join(c['note'] for c in $punches if c['verdict'] == 'error')" | sed '/^$/d' >>"$work/reasons"
    cells=$(query "$work/limited" "sum(c['verdict'] == 'error' and not c['note'] for c in $punches)")
    silent=$((silent + cells))
  elif [ "$code" -ne 0 ] && [ -z "$said" ] && [ "$code" -ne 137 ]; then
    silent=$((silent + 1))
    cat "$work/output" >&2
  fi
  [ -f "$work/limited/results.json" ] || printf '%s\n' "${said:-killed: exit code $code}" >>"$work/reasons"
  hangs=$((hangs + hung))
  case $code in
    137) ;;
    0 | 1 | 2 | 3 | 4) ;;
    *) [ -n "$said" ] || silent=$((silent + 1)) ;;
  esac
}

check_files() {
  local files
  begin_sweep
  for files in $(seq 60 72) $(seq 195 10 305) 20 25 30 35 40 45 50 55 80 100 120 140 160 180 350 400 450 500 600 700; do
    limited prlimit --nofile="$files" "${meek[@]}"
  done
  end_sweep "limits of open files from 20 to 700"
}

# has_groups CONTROLLER KEY: whether a cgroup with this limit can be had here.
has_groups() {
  local group=/sys/fs/cgroup/$1/testbed-accept-$$ found=1
  [ -d "/sys/fs/cgroup/$1" ] || group=/sys/fs/cgroup/testbed-accept-$$
  if mkdir "$group" 2>/dev/null; then
    if [ -e "$group/$2" ]; then found=0; fi
    rmdir "$group"
  fi
  [ "$found" -eq 0 ] || figure "cgroups with $2" "none can be had here" "needed" "0"
  return "$found"
}

# in_group CONTROLLER KEY VALUE COMMAND...: in a cgroup of this check's own, which goes away afterwards.
in_group() {
  local group=/sys/fs/cgroup/$1/testbed-accept-$$ kind=$1 key=$2 value=$3
  [ -d "/sys/fs/cgroup/$kind" ] || group=/sys/fs/cgroup/testbed-accept-$$
  mkdir -p "$group"
  echo "$value" >"$group/$key" || return 1
  shift 3
  # shellcheck disable=SC2016 # That shell expands it.
  limited sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
  for _ in $(seq 50); do
    ! rmdir "$group" 2>/dev/null || break
    sleep 0.1
  done
}

check_processes() {
  local most
  has_groups pids pids.max || return 0
  begin_sweep
  for most in 3 4 5 6 8 10 12 14 16 20 24 28 32 40 50 60 80 100 140 200; do
    in_group pids pids.max "$most" env
  done
  end_sweep "pids.max from 3 to 200"
}

check_memory() {
  local most key=memory.limit_in_bytes
  [ -d /sys/fs/cgroup/memory ] || key=memory.max
  has_groups memory "$key" || return 0
  begin_sweep
  for most in 8 16 24 32 48 64 96 128 192 256; do
    in_group memory "$key" "${most}M" env
  done
  end_sweep "memory from 8 to 256 MB"
}

check_stack() {
  local most
  begin_sweep
  for most in 32 64 128 256 512 1024 2048 8192; do
    limited prlimit --stack=$((most << 10)) "${meek[@]}"
  done
  end_sweep "stacks from 32 kB to 8 MB"
}

check_addresses() {
  local most
  begin_sweep
  for most in 64 128 256 384 512 768 1024 1536 2048 4096; do
    limited prlimit --as=$((most << 20)) "${meek[@]}"
  done
  end_sweep "addresses from 64 MB to 4 GB"
}

# Everything, the harness, one program, or the thread of the wires stands still for a while, ten times each.
check_pauses() {
  local what seconds_each said differing=0 hangs=0 unexplained=0 blamed=0 void=0 pauses=0 kinds=0
  for what in all harness program wire; do
    if [ "$what" = wire ] && [ ! -d /sys/fs/cgroup/freezer ]; then
      say "the thread of the wires cannot be frozen alone here: that takes a freezer of cgroup v1"
      continue
    fi
    for seconds_each in 0.2 1 4; do
      said=$(python3 "$folder/pause.py" "$testbed" "$what" "$seconds_each" 10 "$work/pause-$what-$seconds_each")
      say "pauses of $what for $seconds_each s: $said"
      kinds=$((kinds + 1))
      differing=$((differing + $(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["verdicts"].get("differs", 0))' "$said")))
      hangs=$((hangs + $(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["codes"].count(None))' "$said")))
      unexplained=$((unexplained + $(python3 -c 'import json, sys; print(sum(not n for n in json.loads(sys.argv[1])["notes"]))' "$said")))
      blamed=$((blamed + $(python3 -c 'import sys; print(sys.argv[1].count("does not do what it declares"))' "$said")))
      void=$((void + $(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["void"])' "$said")))
      pauses=$((pauses + $(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["pauses"])' "$said")))
    done
  done
  figure "pauses" "$pauses" "$((10 * kinds))" "pauses == 10 * kinds"
  figure "cells that differ, in $pauses pauses with $void void trials" "$differing" "0" "differing == 0"
  figure "… runs that hung" "$hangs" "0" "hangs == 0"
  figure "… errors without a reason" "$unexplained" "0" "unexplained == 0"
  figure "… errors that blame a NAT" "$blamed" "0" "blamed == 0"
}

# loops NUMBER COMMAND...: COMMAND beside so many busy loops.
loops() {
  local busy=() number=$1
  shift
  for _ in $(seq "$number"); do
    (while kill -0 $$ 2>/dev/null; do :; done) &
    busy+=($!)
  done
  "$@"
  kill "${busy[@]}"
  wait "${busy[@]}" 2>/dev/null || true
}

# Eight busy loops; and the lowest priority, with a busy loop of an ordinary one on each processor.
check_load() {
  begin_sweep
  for _ in 1 2 3; do loops 8 limited env; done
  for _ in 1 2 3; do loops "$(nproc)" limited nice -n 19; done
  end_sweep "eight busy loops, and nice 19 beside one a processor"
}

# A program that fails on purpose, and one that makes the machine slow when it does: no run may be green, with 60 trials of which
# one in five fails on purpose.
check_hidden() {
  local way
  cp "$root/testbed/tests/programs/hiding.py" "$work"
  for way in quiet burning; do
    cat >"$work/hiding.toml" <<SUITE
name = "hiding"
summary = "a program that fails on purpose"
topology = "pair"
trials = 60
deadline = "3s"
[axes]
nat-a = ["port-preserving"]
nat-b = ["port-preserving"]
method = ["simultaneous-open"]
[program]
peer = ["/usr/bin/python3", "{suite_dir}/hiding.py", "$way", "{role}", "{local_ip}", "{local_port}", "{peer_ip}", "{peer_port}", "{start_in_ms}", "{seed}"]
judge = "exit"
SUITE
    rm -rf "$work/hiding"
    quiet "$testbed" run "$work/hiding.toml" --seed 1 --out "$work/hiding"
    say "$way: $(tail -n 3 "$work/output" | tr '\n' ' ')"
    figure "a program that fails on purpose, $way: exit code" "$code" "1 or 2" "code == 1 || code == 2"
  done
}

# The NATs on side nat-a, or nat-b, of the cells of `full` in which dialling again decides: the interval of theory is wider than 1e-3.
redialing() {
  # shellcheck disable=SC2016 # Python expands it.
  "$testbed" plan full --json | python3 -c '
import json, sys
side, other, drawing = sys.argv[1:]
cells = [cell for cell in json.load(sys.stdin)["cells"] if "each refusal is followed" in (cell["expected"] or {}).get("because", "")]
cells = [cell for cell in cells if cell["expected"]["high"] - cell["expected"]["low"] > 1e-3]
print(",".join(sorted({cell["axes"][side] for cell in cells if cell["axes"][other] in drawing.split(",")})))' "$@"
}

# The cells whose redial term exceeds 1e-3: a side draws from few ports, and the other resets its dials.
check_redials() {
  local drawing=cloud-gateway,random-range methods=simultaneous-open,observed-port,sequential others cells=0 differing=0 errors=0 side
  for side in a b; do
    case $side in
      a) others=$(redialing nat-b nat-a $drawing) filters=(--filter "nat-a=$drawing" --filter "nat-b=$others") ;;
      b) others=$(redialing nat-a nat-b $drawing) filters=(--filter "nat-a=$others" --filter "nat-b=$drawing") ;;
    esac
    rm -rf "$work/redials"
    quiet "$testbed" run full --filter "method=$methods" "${filters[@]}" --trials 40 --keep none --out "$work/redials"
    cells=$((cells + $(query "$work/redials" "len($punches)")))
    differing=$((differing + $(query "$work/redials" "sum(c['verdict'] == 'differs' for c in $punches)")))
    errors=$((errors + $(query "$work/redials" "sum(c['verdict'] == 'error' for c in $punches)")))
    say "$(query "$work/redials" "'\n'.join(f\"{c['id']}: {c['passed']} of {c['trials']}, {c['verdict']}\" for c in $punches)")"
  done
  figure "cells whose redial term exceeds 1e-3" "$cells" "at least 60" "cells >= 60"
  figure "… that differ, with 40 trials each" "$differing" "0" "differing == 0"
  figure "… that are errors" "$errors" "0" "errors == 0"
}
