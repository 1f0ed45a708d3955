# shellcheck shell=bash disable=SC2034,SC2154
# How fast it is, on a machine that does nothing else. With AGAINST=DIR, which holds testbed and puncher of the build before,
# trials are measured in turns with those.

checks=(labs trials sandbox matrix reports timing spray wire memory sizes)

# bench PART...: measures these parts; `measured` reads from the result.
bench() {
  local words=(--json "$@")
  [ -z "${AGAINST:-}" ] || words=(--against "$AGAINST" "${words[@]}")
  "$root/scripts/bench" "${words[@]}" >"$work/figures.json" 2>"$work/output" || {
    cat "$work/output" >&2
    die "the measurement failed"
  }
}

# measured WHAT: the median of a figure; "none" if there is no such figure.
measured() {
  python3 - "$work/figures.json" "$1" <<'PYTHON'
import json, sys
found = [f["median"] for f in json.load(open(sys.argv[1]))["figures"] if f["what"] == sys.argv[2]]
print(f"{found[0]:.4g}" if found else "none")
PYTHON
}

# holds A RELATION B: whether it does, as 1 or 0; numbers may have fractions, and "none" never holds.
holds() { awk -v a="$1" -v b="$3" "BEGIN { print (a != \"none\" && a + 0 $2 b + 0) ? 1 : 0 }"; }

# at_least / at_most LABEL WHAT BOUND UNIT
at_least() {
  local value
  value=$(measured "$2")
  figure "$1" "$value $4" "at least $3 $4" "$(holds "$value" '>=' "$3") == 1"
}

at_most() {
  local value
  value=$(measured "$2")
  figure "$1" "$value $4" "at most $3 $4" "$(holds "$value" '<=' "$3") == 1"
}

# in_turns CHECK...: only where there is a build to compare with.
in_turns() {
  if [ -n "${AGAINST:-}" ]; then
    "$@"
  else
    say "not compared: $2 (AGAINST=DIR names the build before)"
  fi
}

check_labs() {
  bench lab
  at_most "a lab of 5 nodes, two masquerade NATs, two wires" "lab of 5 nodes, 2 masquerade NATs, 2 wires: build" 10 ms
  at_least "… against single commands" "single commands against ours" 20 times
  at_least "… against batches" "batches against ours" 8 times
}

check_trials() {
  bench trials
  at_least "trials a second, 32 at a time, 10 ms trip" "trials with 32 at a time, 10 ms trip" 50 /s
  in_turns at_least "… against the build before" "trials with 32 at a time, 10 ms trip, against the other build" 1.6 times
  in_turns at_most "a trial's processor time against the build before" \
    "trials with 32 at a time, 10 ms trip: processors' time of one, against the other build" 0.6 times
}

check_sandbox() {
  bench sandbox
  at_most "a trial's processor time against one without sandboxes" "a trial against one without sandboxes: processors' time" 1.1 times
}

check_matrix() {
  bench matrix
  figure "matrix, 20 trials a cell: seconds" "$(measured "trials of matrix, 20 a cell: the run")" "none" 1
  in_turns at_most "… against the build before" "trials of matrix, 20 a cell: the run, against the other build" 0.4 times
  figure "matrix, 4 trials a cell: seconds" "$(measured "trials of matrix, 4 a cell: the run")" "none" 1
  quiet "$testbed" run matrix --keep none --out "$work/matrix"
  figure "matrix: exit code" "$code" "0" "code == 0"
  quiet "$testbed" run matrix --keep none --out "$work/few" --trials 4 --jobs 250
  figure "matrix with 250 at a time: exit code" "$code" "0" "code == 0"
}

# A run of 3,000 cells, made from the cells of a small one.
check_reports() {
  quiet "$testbed" run classic --trials 3 --keep none --out "$work/small"
  for half in 1 2; do
    mkdir "$work/half-$half"
    python3 - "$work/small/results.json" "$work/half-$half/results.json" "$half" <<'PYTHON'
import json, sys
source, target, half = sys.argv[1], sys.argv[2], int(sys.argv[3])
results = json.load(open(source))
punches = [c for c in results["cells"] if c["kind"] == "punch"]
others = [c for c in results["cells"] if c["kind"] != "punch"]
cells = []
for number in range(1500):
    cell = json.loads(json.dumps(punches[number % len(punches)]))
    number += 1500 * (half - 1)
    cell["id"] += f"/delay={number + 1}ms"
    cell["axes"]["delay"] = f"{number + 1}ms"
    cells.append(cell)
results["cells"] = others + cells
results["part"] |= {"shard": half, "of": 2, "cells": 3000}
totals = dict.fromkeys(results["totals"], 0) | {"cells": len(cells), "proofs": len(others)}
for cell in cells:
    totals[cell["verdict"]] += 1
results["totals"] = totals
json.dump(results, open(target, "w"))
PYTHON
  done
  quiet "$testbed" merge "$work/half-1" "$work/half-2" --out "$work/whole"
  figure "merging 3,000 cells: exit code" "$code" "0" "code == 0"
  [ "$code" -eq 0 ] || cat "$work/output" >&2
  figure "… seconds" "$seconds" "at most 1.0" "$(holds "$seconds" '<=' 1.0) == 1"
  quiet "$testbed" report "$work/whole" --format html
  figure "a report of 3,000 cells: exit code" "$code" "0" "code == 0"
  figure "… seconds" "$seconds" "at most 1.0" "$(holds "$seconds" '<=' 1.0) == 1"
}

check_timing() {
  bench timing
  at_most "established, 20 ms trip, against 2 trips" "established, 20 ms trip, against 2 trips" 1.05 times
  at_most "authenticated, 20 ms trip, against 3 trips" "authenticated, 20 ms trip, against 3 trips" 1.1 times
}

check_spray() {
  bench spray
  figure "1,024 SYNs of one side: first to last, ms" "$(measured "spray: first to last of these guesses")" "none" 1
}

check_wire() {
  bench wire
  at_most "wire of 5 ms, idle: over the asked delay" "wire of 5 ms, idle: over the asked delay" 0.2 ms
}

check_memory() {
  bench memory
  at_most "memory of the harness for each of 100 labs" "memory of the harness for each of 100 labs" 3 MB
  at_most "memory of the kernel for each of 100 labs" "memory of the kernel for each of 100 labs" 3 MB
}

check_sizes() {
  local size program bound
  for program in testbed:9.0 puncher:2.5; do
    bound=${program#*:}
    program=${program%:*}
    size=$(stat -c %s "$target/release/$program" | awk '{ printf "%.1f", $1 / 1e6 }')
    figure "size of $program, MB" "$size" "at most $bound" "$(holds "$size" '<=' "$bound") == 1"
  done
}
