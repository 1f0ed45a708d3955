# shellcheck shell=bash disable=SC2034,SC2154
# Nothing breaks it: speed as promised, no growth, and whatever is killed, full or slow, results are correct or say error.

checks=(bench soak kill programs interrupt disk descriptors memory second suspended load)

# Runs whose verdicts are neither as expected nor an error have told something wrong.
wrong='len([c for c in r["cells"] if c["verdict"] not in ("as_expected", "undecided", "error")])'
judged='sum(c["passed"] + c["failed"] for c in r["cells"] if c["kind"] == "punch")'
errors='sum(c["error"] for c in r["cells"] if c["kind"] == "punch")'

# truth WHAT RUN: no cell of it says anything that is not so.
truth() {
  local told
  told=$(query "$2" "$wrong")
  figure "$1: wrong verdicts ($(query "$2" "$judged") trials judged, $(query "$2" "$errors") errors)" "$told" "0" "told == 0"
}

check_bench() {
  local figures=$work/bench.json
  # Each figure is also told as it comes.
  "$root/scripts/bench" --json >"$figures"
  ratio() { # WHAT SIDE BOUND: side is "least" or "most"
    local measured
    measured=$(python3 -c 'import json, sys
print(next(f["median"] for f in json.load(open(sys.argv[1]))["figures"] if f["what"] == sys.argv[2]))' "$figures" "$1")
    figure "$1" "$(printf %.3g "$measured")" "at $2 $3" \
      "$(awk -v a="$measured" -v b="$3" -v s="$2" 'BEGIN { print (s == "least" ? (a >= b) : (a <= b)) }')"
  }
  ratio "lab of 5 nodes, 2 masquerade NATs, 2 wires: build" most 10
  ratio "single commands against ours" least 15
  ratio "batches against ours" least 5
  ratio "trials with 32 at a time, 10 ms trip" least 150
  ratio "established, 20 ms trip, against 2 trips" most 1.05
  ratio "authenticated, 20 ms trip, against 3 trips" most 1.10
  ratio "wire of 5 ms, idle: over the asked delay" most 0.2
  ratio "memory of the harness for each of 100 labs" most 3
  ratio "memory of the kernel for each of 100 labs" most 3
}

check_soak() { soak "${SOAK_TRIALS:-20000}"; }

# soak TRIALS: as many trials as that in one run, watched from outside.
soak() {
  local each=$(($1 / 4)) run=$work/soak summary
  quiet "$testbed" run classic --trials 2 --out "$work/warm-up"
  host_state >"$work/before"
  summary=$(python3 "$root/scripts/accept.d/watch.py" $((each * 4)) "$testbed" run classic --trials "$each" \
    --filter nat-a=port-preserving,sequential --filter nat-b=port-preserving,sequential --keep none --out "$run" 2>/dev/null)
  host_state >"$work/after"
  say "$summary"
  value() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$summary" "$1"; }
  figure "soak of $1 trials: exit code" "$(value code)" "0" "$(value code) == 0"
  figure "soak: error outcomes" "$(query "$run" "$errors")" "0" "$(query "$run" "$errors") == 0"
  figure "soak: growth a trial over the last tenth" "$(value growth_bytes_per_trial) B" "< 1024 B" \
    "$(value growth_bytes_per_trial) < 1024"
  figure "soak: the host is as it was" "$(cmp -s "$work/before" "$work/after" && echo yes || echo no)" "yes" \
    "$(cmp -s "$work/before" "$work/after" && echo 1 || echo 0)"
}

check_kill() {
  local summary times=${KILLS:-200}
  summary=$(unshare --net python3 "$root/scripts/accept.d/kill.py" "$testbed" "$work" "$times")
  figure "kill -9 at $times moments: all gone within 5 s, slowest ${summary#* }" "${summary%% *}" "$times" \
    "${summary%% *} == $times"
}

# Kills a program of a run now and then: what it was part of is an error or a failure, and nothing else suffers.
check_programs() {
  local run=$work/programs killed
  "$testbed" run classic --trials 100 --out "$run" >"$work/output" 2>&1 &
  killed=$(python3 - $! <<'PYTHON'
import os, random, signal, sys, time
harness, killed = int(sys.argv[1]), 0

def descendants(pid):
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                parents.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
        except (OSError, IndexError):
            continue
    found, waiting = [], [pid]
    while waiting:
        waiting += (more := parents.get(waiting.pop(), []))
        found += more
    return found

for _ in range(60):
    time.sleep(random.uniform(0.02, 0.1))
    programs = []
    for pid in descendants(harness):
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith("puncher"):
                programs.append(pid)
        except OSError:
            continue
    if programs:
        try:
            os.kill(random.choice(programs), signal.SIGKILL)
            killed += 1
        except OSError:
            pass
print(killed)
PYTHON
  )
  wait $! || true
  truth "$killed peers and servers killed" "$run"
  figure "peers and servers killed" "$killed" "at least 20" "killed >= 20"
}

check_interrupt() {
  local signal run
  for signal in INT TERM; do
    run=$work/interrupt-$signal
    # A job of a script ignores Ctrl-C unless it is told otherwise.
    python3 -c 'import signal, subprocess, sys, time
process = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(2)
process.send_signal(getattr(signal, "SIG" + sys.argv[1]))
sys.exit(process.wait(20))' "$signal" "$testbed" run classic --trials 500 --out "$run" && code=0 || code=$?
    figure "SIG$signal: exit code" "$code" "3" "code == 3"
    truth "SIG$signal" "$run"
  done
}

check_disk() {
  local full=$work/full
  mkdir "$full"
  mount -t tmpfs -o size=300k tmpfs "$full"
  quiet "$testbed" run classic --trials 10 --keep all --out "$full/run"
  umount "$full"
  figure "a full disk: exit code" "$code" "2" "code == 2"
  figure "a full disk: it says so" "$(grep -c 'No space left' "$work/output")" "at least 1" \
    "$(grep -c 'No space left' "$work/output") > 0"
}

check_descriptors() {
  local limit run
  for limit in 40 100 300 600; do
    run=$work/descriptors-$limit
    (ulimit -n "$limit" && setpriv --bounding-set=-sys_resource "$testbed" run classic --trials 5 --out "$run") >"$work/output" 2>&1 && code=0 || code=$?
    if [ -f "$run/results.json" ]; then
      truth "$limit descriptors, exit $code" "$run"
    else
      figure "$limit descriptors: a clear refusal" "$(tail -n 1 "$work/output")" "exit 2" "code == 2"
    fi
  done
}

check_memory() {
  local limit run
  for limit in 60000 150000 400000; do
    run=$work/memory-$limit
    (ulimit -v "$limit" && "$testbed" run classic --trials 5 --out "$run") >"$work/output" 2>&1 && code=0 || code=$?
    if [ -f "$run/results.json" ]; then
      truth "$limit kB of address space, exit $code" "$run"
    else
      figure "$limit kB of address space: no result, and an error" "$code" "2" "code == 2"
    fi
  done
}

check_second() {
  "$testbed" run classic --trials 20 --out "$work/first" >/dev/null 2>&1 &
  quiet "$testbed" run classic --trials 20 --out "$work/second"
  figure "two at the same time: exit code of one" "$code" "0" "code == 0"
  wait $! && code=0 || code=$?
  figure "two at the same time: exit code of the other" "$code" "0" "code == 0"
}

check_suspended() {
  local run=$work/suspended
  "$testbed" run classic --trials 30 --out "$run" >/dev/null 2>&1 &
  local harness=$!
  for _ in 1 2 3; do
    sleep 0.7
    kill -STOP "$harness"
    sleep 0.5
    kill -CONT "$harness"
  done
  wait "$harness" && code=0 || code=$?
  figure "stopped three times for half a second: exit code" "$code" "0 or 2" "code == 0 || code == 2"
  truth "stopped three times for half a second" "$run"
}

check_load() {
  local loops=() run=$work/load
  for _ in 1 2 3 4 5 6; do
    (while :; do /bin/true; done) &
    loops+=($!)
  done
  quiet "$testbed" run classic --trials 20 --out "$run"
  kill "${loops[@]}"
  wait "${loops[@]}" 2>/dev/null || true
  truth "six loops of work beside it, exit $code" "$run"
}
